"""Fixes what hypercorn 0.18 gets wrong for a streaming server: all of it here, in a file for each protocol.

Does not know the app. Each fix names what it is for and the test that fails without it; a newer hypercorn may need
none of them, so the version is pinned.
"""

from __future__ import annotations

from hypercorn.asyncio.tcp_server import TCPServer

from app.hypercorn.connection import (
    abort_connection,
    contain_crashes,
    count_connections,
    create_sockets,
    cut_who_does_not_read,
    let_the_app_abort,
    write_before_waiting,
)
from app.hypercorn.fast_write import FastWriter, fast_writer_of, let_the_app_write
from app.hypercorn.http1 import (
    close_after_two_lengths,
    end_slow_headers,
    ignore_h2c_upgrades,
    join_connection_headers,
    read_on_while_answering,
    tell_of_an_early_end,
)
from app.hypercorn.http1_requests import (
    let_the_app_miss_the_host,
    refuse_odd_targets,
    skip_empty_lines,
    tell_what_is_malformed,
)
from app.hypercorn.http2 import (
    discard_what_comes_late,
    end_what_the_app_left_open,
    go_idle_after_resets,
    ignore_priorities,
    refuse_odd_requests,
    wait_for_the_window,
)
from app.hypercorn.http2_limits import bound_headers_and_settings, go_idle_from_the_preface_on, limit_frames
from app.hypercorn.idle import forget_closed_connections, time_idle_connections
from app.hypercorn.shutdown import stop_with_open_connections
from app.hypercorn.websocket import (
    close_with_a_code,
    drop_what_nobody_reads,
    hold_what_comes_early,
    leave_the_handshake_to_the_app,
    never_compress,
)
from app.hypercorn.write_buffer import gather_writes

__all__ = ["FastWriter", "abort_connection", "apply", "create_sockets", "fast_writer_of"]


def apply() -> None:
    """Apply the fixes to hypercorn in this process. May be called again."""
    if hasattr(TCPServer, "_twowire_mended"):
        return
    TCPServer._twowire_mended = True  # type: ignore[attr-defined]  # a mark of ours
    # Connections
    let_the_app_abort()
    let_the_app_write()
    gather_writes()
    time_idle_connections()
    write_before_waiting()
    cut_who_does_not_read()
    forget_closed_connections()
    contain_crashes()
    count_connections()
    # HTTP/1.1
    skip_empty_lines()
    let_the_app_miss_the_host()
    refuse_odd_targets()
    tell_what_is_malformed()
    read_on_while_answering()
    close_after_two_lengths()
    join_connection_headers()
    tell_of_an_early_end()
    end_slow_headers()
    ignore_h2c_upgrades()
    # HTTP/2
    wait_for_the_window()
    end_what_the_app_left_open()
    discard_what_comes_late()
    refuse_odd_requests()
    ignore_priorities()
    go_idle_after_resets()
    go_idle_from_the_preface_on()
    bound_headers_and_settings()
    limit_frames()
    # WebSocket
    leave_the_handshake_to_the_app()
    hold_what_comes_early()
    never_compress()
    close_with_a_code()
    drop_what_nobody_reads()
    # The end
    stop_with_open_connections()
