"""The response object and the items that stand in it, as plain JSON values.

A response has all members that OpenAI and Open Responses require; what a request left to the server has the default
that OpenAI documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

from protocol.chat.content import RefusalPart
from protocol.encoder import logprob_objects
from protocol.errors import TwowireError
from protocol.images import ImageUrlPart, InputImagePart
from protocol.output import TokenLogprob, Usage
from protocol.responses.input.items import (
    AnyItem,
    CallOutputItem,
    CompactionItem,
    CustomCallItem,
    FunctionCallItem,
    MessageItem,
    ReasoningItem,
)
from protocol.responses.request import ResponseRequest
from protocol.responses.tools import CustomTool, FunctionTool, HostedTool, NamespaceTool
from protocol.sounds import AudioUrlPart, InputAudioPart

Object = dict[str, Any]
ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]

ID_PREFIX = "resp_"


def response_object(request: ResponseRequest, answer_id: str, created: int) -> Object:
    """A response that is in progress: no output yet."""
    conversation = request.conversation_id
    known: Object = {
        "id": answer_id,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
        "model": request.model,
        "background": request.background,
        "store": request.store,
        "previous_response_id": request.previous_response_id,
        "instructions": request.instructions,
        "tools": [_tool(tool) for tool in request.tools or () if not isinstance(tool, HostedTool)],
        "tool_choice": _tool_choice(request),
        "parallel_tool_calls": request.parallel_tool_calls,
        "max_tool_calls": request.max_tool_calls,
        "max_output_tokens": request.max_output_tokens,
        "text": _text(request),
        "reasoning": {"effort": request.reasoning.effort if request.reasoning else None, "summary": None},
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "presence_penalty": request.presence_penalty or 0.0,
        "frequency_penalty": request.frequency_penalty or 0.0,
        "top_logprobs": request.top_logprobs or 0,
        "truncation": request.truncation or "disabled",
        "service_tier": "default",
        "prompt_cache_key": request.prompt_cache_key,
        "safety_identifier": request.safety_identifier,
        "metadata": request.metadata or {},
    }
    if request.user is not None:
        known["user"] = request.user
    if conversation is not None:
        known["conversation"] = {"id": conversation}
    return known


def _tool(tool: FunctionTool | CustomTool | NamespaceTool | HostedTool) -> Object:
    if isinstance(tool, FunctionTool):
        return tool.model_dump()
    if isinstance(tool, NamespaceTool):
        members = [_tool(member) for member in tool.tools]
        return {"type": tool.type, "name": tool.name, "description": tool.description or "", "tools": members}
    return tool.model_dump(exclude_none=True)


def _tool_choice(request: ResponseRequest) -> Any:
    choice = request.tool_choice
    return choice or "auto" if choice is None or isinstance(choice, str) else choice.model_dump(exclude_none=True)


def _text(request: ResponseRequest) -> Object:
    options = request.text
    form = options.format if options is not None else None
    shown: Object = {"format": {"type": form.type if form is not None else "text"}}
    if form is not None and form.type == "json_schema":
        shown["format"] |= {"name": form.name, "schema": form.definition, "strict": form.strict}
        shown["format"] |= {"description": form.description}
    # Open Responses takes no null for it.
    return shown if options is None or options.verbosity is None else shown | {"verbosity": options.verbosity}


def usage_of(usage: Usage) -> Object:
    """OpenAI's `ResponseUsage`."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0}
        | ({"image_tokens": usage.image_tokens} if usage.image_tokens else {})
        | ({"audio_tokens": usage.audio_tokens} if usage.audio_tokens else {}),
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def error_of(error: TwowireError) -> Object:
    """OpenAI's `ResponseError`, which has few codes."""
    if error.fault.status == 429:
        code = "rate_limit_exceeded"
    else:
        code = "server_error" if error.fault.status >= 500 else "invalid_prompt"
    return {"code": code, "message": error.message}


def text_part(text: str, logprobs: Iterable[TokenLogprob] = ()) -> Object:
    """A part of an answer's message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprob_objects(logprobs)}


def item_object(item: AnyItem, new_id: Callable[[str], str]) -> Object:
    """An item of the input as it is listed and stored: whole, and with an id.

    `new_id` makes an id with a prefix, for an item that has none. The object is read again by the model that `item` is
    of, and means the same to it.
    """
    match item:
        case MessageItem():
            return {
                "id": item.id or new_id("msg"),
                "type": "message",
                "status": "completed",
                "role": item.role,
                "content": _parts(item),
            } | ({"phase": item.phase} if item.phase else {})
        case FunctionCallItem() | CustomCallItem():
            prefix = "fc" if isinstance(item, FunctionCallItem) else "ctc"
            return {"id": item.id or new_id(prefix), "status": "completed"} | item.model_dump(exclude_none=True)
        case CallOutputItem():
            prefix = "fco" if item.type == "function_call_output" else "ctco"
            return {"id": item.id or new_id(prefix), "status": "completed"} | item.model_dump(exclude_none=True)
        case CompactionItem():
            return {"id": item.id or new_id("cmp")} | item.model_dump(exclude_none=True)
        case ReasoningItem():
            return {"id": item.id or new_id("rs")} | item.model_dump(exclude_none=True)
        case _:
            return item.model_dump(exclude_none=True)


def _parts(item: MessageItem) -> list[Object]:
    is_answer = item.role == "assistant"
    parts: list[Object] = []
    for part in [item.content] if isinstance(item.content, str) else item.content:
        if isinstance(part, RefusalPart):
            parts.append({"type": "refusal", "refusal": part.refusal})
        elif isinstance(part, ImageUrlPart | InputImagePart):
            parts.append({"type": "input_image", "image_url": part.url, "detail": "auto"})
        elif isinstance(part, InputAudioPart | AudioUrlPart):
            form = part.input_audio.format if isinstance(part, InputAudioPart) else None
            parts.append({"type": "input_audio", "input_audio": {"data": part.base64, "format": form or "wav"}})
        else:
            text = part if isinstance(part, str) else part.text
            parts.append(text_part(text) if is_answer else {"type": "input_text", "text": text})
    return parts
