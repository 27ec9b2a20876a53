"""Every error a client can see: one table, one exception, one shape on the wire.

The shape is OpenAI's `ErrorResponse`: `message`, `type`, `param` and `code` are always present; `param` and `code` are
a string or null.
"""

from __future__ import annotations

from enum import Enum

import orjson


class Fault(Enum):
    """The error table. A row: HTTP status, OpenAI `type`, OpenAI `code`."""

    # The bytes of the request.
    MALFORMED_REQUEST = (400, "invalid_request_error", "malformed_request")
    NOT_IMPLEMENTED = (501, "invalid_request_error", "not_implemented")
    INVALID_JSON = (400, "invalid_request_error", "invalid_json")
    BODY_TOO_LARGE = (413, "invalid_request_error", "request_too_large")
    UNSUPPORTED_MEDIA_TYPE = (415, "invalid_request_error", "unsupported_media_type")
    HEADERS_TOO_LARGE = (431, "invalid_request_error", "headers_too_large")
    REQUEST_TIMEOUT = (408, "invalid_request_error", "request_timeout")
    # The fields of the request.
    MISSING_FIELD = (400, "invalid_request_error", "missing_required_parameter")
    INVALID_TYPE = (400, "invalid_request_error", "invalid_type")
    INVALID_VALUE = (400, "invalid_request_error", "invalid_value")
    UNSUPPORTED_FIELD = (400, "invalid_request_error", "unsupported_parameter")
    UNSUPPORTED_CONTENT = (400, "invalid_request_error", "unsupported_content")
    # The codes of images are OpenAI's.
    INVALID_IMAGE = (400, "invalid_request_error", "image_parse_error")
    IMAGE_TOO_LARGE = (400, "invalid_request_error", "image_too_large")
    INVALID_IMAGE_URL = (400, "invalid_request_error", "invalid_image_url")
    INVALID_SCHEMA = (400, "invalid_request_error", "invalid_json_schema")
    CHAT_TEMPLATE_REFUSED = (400, "invalid_request_error", "chat_template_refused")
    CONTEXT_LENGTH_EXCEEDED = (400, "invalid_request_error", "context_length_exceeded")
    INVALID_ADAPTER = (400, "invalid_request_error", "invalid_adapter")
    # Who asks, and for what.
    INVALID_API_KEY = (401, "invalid_request_error", "invalid_api_key")
    INVALID_HOST = (400, "invalid_request_error", "invalid_host")
    FORBIDDEN_HOST = (403, "invalid_request_error", "forbidden_host")
    UNKNOWN_URL = (404, "invalid_request_error", "unknown_url")
    MODEL_NOT_FOUND = (404, "invalid_request_error", "model_not_found")
    METHOD_NOT_ALLOWED = (405, "invalid_request_error", "method_not_allowed")
    # The channel, and resuming.
    FORBIDDEN_ORIGIN = (403, "invalid_request_error", "forbidden_origin")
    INVALID_HANDSHAKE = (400, "invalid_request_error", "invalid_handshake")
    UNSUPPORTED_WEBSOCKET_VERSION = (426, "invalid_request_error", "unsupported_websocket_version")
    UNKNOWN_SUBPROTOCOL = (400, "invalid_request_error", "unknown_subprotocol")
    FORBIDDEN_STATS = (403, "invalid_request_error", "forbidden_stats")
    STREAM_NOT_FOUND = (404, "invalid_request_error", "stream_not_found")
    COMPLETION_NOT_FOUND = (404, "invalid_request_error", "completion_not_found")
    TAKEN_OVER = (409, "invalid_request_error", "taken_over")
    CHUNKS_GONE = (410, "invalid_request_error", "chunks_gone")
    CONNECTION_TOO_OLD = (408, "invalid_request_error", "connection_too_old")
    CONNECTION_UNUSED = (408, "invalid_request_error", "connection_unused")
    TOO_MANY_STREAMS = (429, "rate_limit_error", "too_many_streams")
    TOO_MANY_CONNECTIONS = (503, "server_error", "too_many_connections")
    # Stored responses and conversations. The codes of sockets and continued responses are OpenAI's.
    RESPONSE_NOT_FOUND = (404, "invalid_request_error", "response_not_found")
    PREVIOUS_RESPONSE_NOT_FOUND = (404, "invalid_request_error", "previous_response_not_found")
    CONVERSATION_NOT_FOUND = (404, "invalid_request_error", "conversation_not_found")
    ITEM_NOT_FOUND = (404, "invalid_request_error", "item_not_found")
    INVALID_STREAM_ID = (400, "invalid_request_error", "invalid_stream_id")
    STREAM_LIMIT_REACHED = (400, "invalid_request_error", "websocket_stream_limit_reached")
    CONNECTION_LIMIT_REACHED = (400, "invalid_request_error", "websocket_connection_limit_reached")
    TOO_MANY_BACKGROUND = (429, "rate_limit_error", "too_many_background_responses")
    STORE_FAILED = (503, "server_error", "store_failed")
    # The state of the server. All of these are safe to retry.
    QUEUE_FULL = (503, "server_error", "queue_full")
    ENGINE_NOT_READY = (503, "server_error", "engine_not_ready")
    ENGINE_DIED = (503, "server_error", "engine_died")
    DRAINING = (503, "server_error", "server_draining")
    # What a client may have in a minute. The types, and the code that they share, are OpenAI's.
    TOO_MANY_REQUESTS = (429, "requests", "rate_limit_exceeded")
    TOO_MANY_TOKENS = (429, "tokens", "rate_limit_exceeded")
    # The time that a request may take.
    FIRST_TOKEN_TIMEOUT = (504, "server_error", "first_token_timeout")
    DEADLINE_EXCEEDED = (504, "server_error", "deadline_exceeded")
    # Ours.
    INTERNAL = (500, "server_error", "internal_error")
    # The model's fault: in streams of an API whose calls must be JSON.
    INVALID_TOOL_CALL = (500, "server_error", "invalid_tool_call")

    def __init__(self, status: int, error_type: str, code: str) -> None:
        self.status = status
        self.error_type = error_type
        self.code = code


class TwowireError(Exception):
    """The one exception that reaches a client.

    `message` is for the client: it says what to change, with the number that was exceeded. `param` names the field
    (`messages[0].content`), or is None where no single field is at fault. `retry_after_s` becomes `Retry-After`.
    """

    def __init__(
        self, fault: Fault, message: str, *, param: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


def error_object(error: TwowireError) -> dict[str, dict[str, str | None]]:
    """OpenAI's `ErrorResponse` for `error`, as a plain dict."""
    return {
        "error": {
            "message": error.message,
            "type": error.fault.error_type,
            "param": error.param,
            "code": error.fault.code,
        }
    }


def error_bytes(error: TwowireError, request_id: str | None = None) -> bytes:
    """OpenAI's `ErrorResponse` for `error`, as JSON bytes. It has no place for the request's id."""
    return orjson.dumps(error_object(error))
