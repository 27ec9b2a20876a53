"""Translates what vLLM raises into `TwowireError`. Written for vLLM 0.32."""

from __future__ import annotations

import structlog
from vllm.exceptions import GracefulHTTPError, VLLMClientError, VLLMValidationError
from vllm.renderers.chat_utils import ChatTemplateResolutionError
from vllm.v1.engine.exceptions import EngineDeadError

from engine.vllm.outputs.stream import engine_died
from protocol.errors import Fault, TwowireError

log = structlog.get_logger(__name__)


def first_line(error: BaseException) -> str:
    """An error's first useful line: pydantic begins with a headline that says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith(tuple("0123456789")) and "validation error" in lines[0]:
        lines = lines[1:]
    return " ".join(lines[:2])[:400] if lines else type(error).__name__


def refusal(error: Exception, param: str | None = None) -> TwowireError:
    """Translate an error of vLLM. An unforeseen one is logged here, once, and becomes a plain 500."""
    if isinstance(error, TwowireError):
        return error
    if isinstance(error, EngineDeadError):
        return engine_died()
    if isinstance(error, ChatTemplateResolutionError):
        return TwowireError(
            Fault.INVALID_VALUE,
            "The model has no chat template, so it cannot chat; use /v1/completions, or start the server with"
            " --chat-template.",
            param=param,
        )
    if isinstance(error, GracefulHTTPError):
        return TwowireError(Fault.QUEUE_FULL, error.message, retry_after_s=1)
    if isinstance(error, VLLMValidationError) and error.parameter in ("input_tokens", "input_text"):
        unit = "tokens" if error.parameter == "input_tokens" else "characters"
        return TwowireError(
            Fault.CONTEXT_LENGTH_EXCEEDED,
            f"The prompt is longer than the model's context: it has {error.value} {unit} or more. {error.args[0]}"[
                :400
            ],
            param=param,
        )
    if isinstance(error, VLLMClientError | ValueError | TypeError):
        message = str(error.args[0]) if error.args else first_line(error)
        return TwowireError(Fault.INVALID_VALUE, message[:600], param=getattr(error, "parameter", None) or param)
    log.error("engine_error", exc_info=error)
    return TwowireError(Fault.INTERNAL, "The engine failed; the server's log says why.")
