"""How responses are kept in Redis: one script, and what its keys hold.

All keys begin with `twowire:responses:`.

| Key | Holds |
|---|---|
| `entry:OWNER:ID` | A hash: body, parent, bytes |
| `entry:OWNER:ID:items`, `…:output` | A list of items: the id, a line feed, the JSON |
| `item:OWNER:ITEM` | The set of ids of the entries that have the item |
| `of:OWNER` | The owner's entries, by when they were used |
| `used` | All entries, as OWNER:ID, by when they were used |
| `owners` | The owners, by their bytes |
| `bytes` | The bytes of all entries |
| `last` | When an entry was used last. A time is never used twice, so there is one order |

An owner has no colon in it: it is a digest, or empty. An item's id is quoted as in URLs, so it has no line feed.
"""

from __future__ import annotations

from app.stores.redis import PREFIX, Script

SCRIPT = Script(
    f"local P = '{PREFIX}responses:'"
    """
local op, owner, id = ARGV[1], ARGV[2], ARGV[3]
local now, keep_s, max_per_key, max_bytes = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local call = redis.call
if not now then
    local time = call('TIME')
    now = time[1] + time[2] / 1000000
end

local function key_of(owner, id)
    return P .. 'entry:' .. owner .. ':' .. id
end

local function item_id(item)
    return string.sub(item, 1, string.find(item, '\\n', 1, true) - 1)
end

local function is_kept(owner, id)
    local used_at = call('ZSCORE', P .. 'of:' .. owner, id)
    return used_at and tonumber(used_at) > now - keep_s
end

local function use(owner, id)
    local last = tonumber(call('GET', P .. 'last') or 0)
    local at = string.format('%.6f', math.max(now, last + 0.000001))
    call('SET', P .. 'last', at)
    call('ZADD', P .. 'of:' .. owner, at, id)
    call('ZADD', P .. 'used', at, owner .. ':' .. id)
end

local function add_bytes(owner, id, bytes)
    call('HINCRBY', key_of(owner, id), 'bytes', bytes)
    call('ZINCRBY', P .. 'owners', bytes, owner)
    call('INCRBY', P .. 'bytes', bytes)
end

local function items_of(owner, id, kind)
    return call('LRANGE', key_of(owner, id) .. kind, 0, -1)
end

local function drop(owner, id)
    local key = key_of(owner, id)
    local bytes = call('HGET', key, 'bytes')
    if not bytes then
        return 0
    end
    for _, kind in ipairs({':items', ':output'}) do
        for _, item in ipairs(items_of(owner, id, kind)) do
            call('SREM', P .. 'item:' .. owner .. ':' .. item_id(item), id)
        end
        call('DEL', key .. kind)
    end
    call('DEL', key)
    call('ZREM', P .. 'of:' .. owner, id)
    call('ZREM', P .. 'used', owner .. ':' .. id)
    call('INCRBY', P .. 'bytes', -bytes)
    if call('EXISTS', P .. 'of:' .. owner) == 1 then
        call('ZINCRBY', P .. 'owners', -bytes, owner)
    else
        call('ZREM', P .. 'owners', owner)
    end
    return 1
end

-- Drop the owner's oldest entry that is not the one to keep.
local function drop_oldest(of, kept)
    for _, oldest in ipairs(call('ZRANGE', P .. 'of:' .. of, 0, 1)) do
        if not (of == owner and oldest == kept) then
            return drop(of, oldest)
        end
    end
    return 0
end

local function make_room(kept)
    for _, name in ipairs(call('ZRANGEBYSCORE', P .. 'used', '-inf', now - keep_s)) do
        local at = string.find(name, ':', 1, true)
        drop(string.sub(name, 1, at - 1), string.sub(name, at + 1))
    end
    while call('ZCARD', P .. 'of:' .. owner) > max_per_key and drop_oldest(owner, kept) == 1 do end
    while tonumber(call('GET', P .. 'bytes')) > max_bytes do
        local has_dropped = false
        for _, of in ipairs(call('ZREVRANGE', P .. 'owners', 0, 1)) do
            if drop_oldest(of, kept) == 1 then
                has_dropped = true
                break
            end
        end
        if not has_dropped then
            return
        end
    end
end

local function add_items(kind, first, last)
    for number = first, last do
        local item = ARGV[number]
        call('RPUSH', key_of(owner, id) .. kind, item)
        call('SADD', P .. 'item:' .. owner .. ':' .. item_id(item), id)
    end
end

local function read(owner, id)
    local found = call('HMGET', key_of(owner, id), 'body', 'parent')
    return {id, found[1], found[2] or '', items_of(owner, id, ':items'), items_of(owner, id, ':output')}
end

-- ARGV from 8: body, parent, bytes, the number of items, the items, the output.
local function put()
    local bytes = tonumber(ARGV[10])
    if bytes > max_bytes then
        return 0
    end
    drop(owner, id)
    call('HSET', key_of(owner, id), 'body', ARGV[8], 'parent', ARGV[9], 'bytes', 0)
    add_bytes(owner, id, bytes)
    local last = 11 + tonumber(ARGV[11])
    add_items(':items', 12, last)
    add_items(':output', last + 1, #ARGV)
    use(owner, id)
    make_room(id)
    return 1
end

local function get()
    return is_kept(owner, id) and read(owner, id) or false
end

local function head()
    if not is_kept(owner, id) then
        return false
    end
    local found = call('HMGET', key_of(owner, id), 'body', 'parent')
    return {id, found[1], found[2] or '', {}, {}}
end

local function chain()
    local found, wanted = {}, id
    while wanted ~= '' do
        if not is_kept(owner, wanted) then
            return false
        end
        table.insert(found, 1, read(owner, wanted))
        wanted = found[1][3]
    end
    for _, entry in ipairs(found) do
        use(owner, entry[1])
    end
    return found
end

local function find_item()
    for _, entry in ipairs(call('SMEMBERS', P .. 'item:' .. owner .. ':' .. id)) do
        if is_kept(owner, entry) then
            for _, kind in ipairs({':items', ':output'}) do
                for _, item in ipairs(items_of(owner, entry, kind)) do
                    if item_id(item) == id then
                        return string.sub(item, #id + 2)
                    end
                end
            end
        end
    end
    return false
end

-- Whether the entry is there, and may grow by so many bytes; then it has grown.
local function grow(bytes)
    if not is_kept(owner, id) or tonumber(call('HGET', key_of(owner, id), 'bytes')) + bytes > max_bytes then
        return false
    end
    add_bytes(owner, id, bytes)
    use(owner, id)
    return true
end

-- ARGV[8]: the new body.
local function replace()
    local old = call('HSTRLEN', key_of(owner, id), 'body')
    if not grow(#ARGV[8] - old) then
        return 0
    end
    call('HSET', key_of(owner, id), 'body', ARGV[8])
    make_room(id)
    return 1
end

-- ARGV from 8: the bytes of the items, the items.
local function append()
    if not grow(tonumber(ARGV[8])) then
        return 0
    end
    add_items(':items', 9, #ARGV)
    make_room(id)
    return 1
end

-- ARGV from 8: the item's id, what an item takes beyond its JSON.
local function remove_item()
    if not is_kept(owner, id) then
        return 0
    end
    for _, item in ipairs(items_of(owner, id, ':items')) do
        if item_id(item) == ARGV[8] then
            local removed = call('LREM', key_of(owner, id) .. ':items', 0, item)
            grow(-removed * (#item - #ARGV[8] - 1 + tonumber(ARGV[9])))
            local is_in_output = false
            for _, other in ipairs(items_of(owner, id, ':output')) do
                is_in_output = is_in_output or item_id(other) == ARGV[8]
            end
            if not is_in_output then
                call('SREM', P .. 'item:' .. owner .. ':' .. ARGV[8], id)
            end
            return 1
        end
    end
    return 0
end

local function delete()
    local was_kept = is_kept(owner, id)
    -- A client chooses the id, and `ID:items` is the key of a list.
    if call('ZSCORE', P .. 'of:' .. owner, id) then
        drop(owner, id)
    end
    return was_kept and 1 or 0
end

local operations = {
    put = put, get = get, head = head, chain = chain, find_item = find_item, replace = replace, append = append,
    remove_item = remove_item, delete = delete,
}
local reply = operations[op]()
return {call('ZCARD', P .. 'used'), tonumber(call('GET', P .. 'bytes') or 0), reply}
"""
)
"""ARGV: the operation, the owner, the id of an entry or item, the time, three limits, and what the operation takes.

An empty time stands for the store's own, so that the servers' clocks may differ.

Replies with the number of all entries, their bytes, and the operation's own reply.
"""
