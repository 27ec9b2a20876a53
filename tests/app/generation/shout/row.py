"""The row of the toy API, as it would stand in `app/generation/table.py`."""

from __future__ import annotations

from app.generation.api import ApiDescription, GenerationApi
from tests.app.generation.shout.request import ShoutRequest
from tests.app.generation.shout.response import Shout, ShoutCollector, ShoutEncoder, error_body

SHOUT = GenerationApi(
    name="shout",
    path="/v1/shout",
    request=ShoutRequest,
    generation_request=ShoutRequest.generation_request,
    id_prefix="shout-",
    encoder=lambda request, answer_id, created: ShoutEncoder(),
    collector=lambda request, answer_id, created, choices: ShoutCollector(),
    error_body=error_body,
    end_of_stream=b"",
    has_websocket=True,
    description=ApiDescription(
        operation_id="createShout",
        channel_operation_id="openShoutChannel",
        summary="Shout",
        description="Answers in capitals.",
        response=Shout,
        chunk=Shout,
        examples={"Whole": {"question": "Why is the sky blue?"}},
    ),
)
