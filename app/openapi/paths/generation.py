"""Describes the routes that generate, from the table of APIs."""

from __future__ import annotations

from typing import Any

import orjson

from app.generation.api import GenerationApi
from app.openapi.route import REQUEST_TIMEOUT_PARAMETER, Route, json_body
from protocol import sse
from protocol.output import Delta, Usage
from protocol.validation.parse import request_from_object


def generation_route(api: GenerationApi[Any], model: str) -> Route:
    """The route of one API, whose examples ask for `model`."""
    whole, streamed = _examples(api, model)
    about = api.description
    return Route(
        path=api.path,
        method="post",
        name=about.operation_id,
        tag="Generation",
        summary=about.summary,
        description=about.description,
        generates=True,
        is_metered=api.is_metered,
        error=about.error,
        parameters=(REQUEST_TIMEOUT_PARAMETER,),
        body=json_body(api.request, {name: {"model": model, **body} for name, body in about.examples.items()}),
        answers={
            200: {
                "description": "The answer, streamed or not, as `stream` asks.",
                "content": {
                    "application/json": {"schema": about.response, "example": whole},
                    "text/event-stream": {
                        "schema": {"type": "string", "description": about.stream.format(chunk=about.chunk.__name__)},
                        # OpenAPI describes the items of a stream (`itemSchema`) only from 3.2 on.
                        "x-event-data": {"oneOf": _event_data(api)},
                        "example": streamed,
                    },
                },
            }
        },
    )


def _event_data(api: GenerationApi[Any]) -> list[Any]:
    """What the data of an event may be."""
    about = api.description
    return [about.chunk, about.error, *([{"const": "[DONE]"}] if api.end_of_stream == sse.DONE else [])]


def _examples(api: GenerationApi[Any], model: str) -> tuple[dict[str, Any], str]:
    """A response, whole and as a stream, made by the API's own collector and encoder."""
    deltas = [Delta(0, "Blue light", 2), Delta(0, " scatters most.", 3, "stop")]
    usage = Usage(prompt_tokens=21, completion_tokens=5)
    about = next(iter(api.description.examples.values()))
    options = api.description.stream_options
    request = request_from_object(api.request, {"model": model, **about, "stream": True, **options})
    head = (api.answer_id("3f0c5d9a"), 1767225600)
    collector = api.collector(request, *head, 1)
    collector.add(deltas)
    encoder = api.encoder(request, *head)
    encoded = [chunk for delta in deltas for chunk in encoder.encode(delta)]
    chunks = [*encoder.opening(1, usage), *encoded, *encoder.closing(usage)]
    whole: dict[str, Any] = orjson.loads(collector.body(usage))
    return whole, (b"".join(map(sse.event, chunks)) + api.end_of_stream).decode()
