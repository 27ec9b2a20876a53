"""Describes every route in OpenAPI's terms: what it is for, what it takes, what it answers when all is well.

Does not know what all routes share (keys, labels, errors): `app.openapi.document` adds that. A test holds the list
against the app's own, so a route that is missing here fails it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from app.generation.api import GenerationApi
from app.openapi.channel import channel_routes
from app.openapi.embeddings import EMBEDDING_ROUTES
from app.openapi.route import REQUEST_TIMEOUT_PARAMETER, Route, json_answer, path_parameter, ref, strings, text_answer
from protocol import sse
from protocol.errors import Fault
from protocol.output import Delta, Usage
from protocol.validation.parse import request_from_object

_STREAM = """\
With `stream: true`. Server-sent events, each one line `data: …` and an empty line:

- Each event's data is a `{chunk}` in JSON; a choice's last chunk has its `finish_reason` and nothing else.
- With `stream_options.include_usage`, one more chunk follows, with the usage and no choices.
- A line that begins with `:` is a comment: it keeps a connection alive that was silent for a while.
- When generating fails midway, an event with an `ErrorResponse` takes the place of further chunks.
- The last event is always `data: [DONE]`.
- With the header `Twowire-Resume-Grace` (chats alone), each event has an `id:` line, and the answer's header
  `Twowire-Resume-Token` lets the client read on after it has lost its connection."""


def _generation_route(api: GenerationApi[Any], model: str) -> Route:
    whole, streamed = _examples(api, model)
    about = api.description
    data = [ref(about.chunk.__name__), ref("ErrorResponse"), {"const": "[DONE]"}]
    requests = {name: {"value": {"model": model, **body}} for name, body in about.examples.items()}
    return Route(
        path=api.path,
        method="post",
        name=about.operation_id,
        tag="Generation",
        summary=about.summary,
        description=about.description,
        generates=True,
        is_metered=api.is_metered,
        parameters=(REQUEST_TIMEOUT_PARAMETER,),
        body={
            "required": True,
            "description": "JSON in UTF-8, not compressed.",
            "content": {"application/json": {"schema": ref(api.request.__name__), "examples": requests}},
        },
        answers={
            200: {
                "description": "The answer, in the form that `stream` asked for.",
                "content": {
                    "application/json": {"schema": ref(about.response.__name__), "example": whole},
                    "text/event-stream": {
                        "schema": {"type": "string", "description": _STREAM.format(chunk=about.chunk.__name__)},
                        # OpenAPI has words for the items of a stream (`itemSchema`) only from 3.2 on.
                        "x-event-data": {"oneOf": data},
                        "example": streamed,
                    },
                },
            }
        },
    )


def _examples(api: GenerationApi[Any], model: str) -> tuple[dict[str, Any], str]:
    """A response and the same as a stream, made by what makes the real ones."""
    deltas = [Delta(0, "Blue light", 2), Delta(0, " scatters most.", 3, "stop")]
    usage = Usage(prompt_tokens=21, completion_tokens=5)
    about = next(iter(api.description.examples.values()))
    options = {"stream": True, "stream_options": {"include_usage": True}}
    request = request_from_object(api.request, {"model": model, **about, **options})
    head = (api.answer_id("3f0c5d9a"), 1767225600)
    collector = api.collector(request, *head, 1)
    collector.add(deltas)
    encoder = api.encoder(request, *head)
    encoded = [chunk for delta in deltas for chunk in encoder.encode(delta)]
    chunks = [*encoder.opening(1), *encoded, *encoder.closing(usage)]
    whole: dict[str, Any] = orjson.loads(collector.body(usage))
    return whole, (b"".join(map(sse.event, chunks)) + api.end_of_stream).decode()


_MODELS = (
    Route(
        path="/v1/models",
        method="get",
        name="listModels",
        tag="Models",
        summary="List the models",
        description="All names that this server answers to. They are known before the engine is ready.",
        answers={200: json_answer("The models.", ref("ModelList"))},
    ),
    Route(
        path="/v1/models/{model}",
        method="get",
        name="retrieveModel",
        tag="Models",
        summary="Look up one model",
        description="A name may contain slashes, written as they are or as `%2F`.",
        answers={200: json_answer("The model.", ref("Model"))},
        faults=(Fault.MODEL_NOT_FOUND,),
        parameters=(path_parameter("model", "A name from `/v1/models`."),),
    ),
)

_SERVER = (
    Route(
        path="/health",
        method="get",
        name="health",
        tag="Server",
        summary="Can it generate now?",
        description="For a load balancer, and for who waits for the model. Tells the state and its reason.",
        is_public=True,
        answers={
            200: json_answer("A token could be generated now.", ref("Health")),
            503: json_answer("Not now; `state` and `reason` say why.", ref("Health")),
        },
    ),
    Route(
        path="/livez",
        method="get",
        name="livez",
        tag="Server",
        summary="Does it live?",
        description="For a supervisor: restart the server only when this does not answer.",
        is_public=True,
        answers={200: json_answer("The event loop turns.", strings(status={"const": "ok"}))},
    ),
    Route(
        path="/version",
        method="get",
        name="version",
        tag="Server",
        summary="Which version is it?",
        description="The version of twowire.",
        is_public=True,
        answers={200: json_answer("The version.", strings(version={"examples": ["0.1.0"]}))},
    ),
    Route(
        path="/metrics",
        method="get",
        name="metrics",
        tag="Server",
        summary="Figures for Prometheus",
        description="This server's figures, whose names begin with `twowire_`, and vLLM's own.",
        answers={200: text_answer("Prometheus' text format.", "text/plain")},
    ),
)


def _page(path: str, name: str, summary: str, description: str, answer: dict[str, Any], **more: Any) -> Route:
    answers = {200: answer, 304: {"description": "What `If-None-Match` names is still right; no body."}}
    return Route(path, "get", name, "Pages", summary, description, answers, is_public=True, **more)


_PAGES = (
    _page(
        "/",
        "chatPage",
        "The browser chat",
        "A page to talk to the model with.",
        text_answer("The page.", "text/html"),
    ),
    _page(
        "/docs",
        "docsPage",
        "This document, to read",
        "Shows `/openapi.json` without asking any other host for anything.",
        text_answer("The page.", "text/html"),
    ),
    _page(
        "/openapi.json",
        "openapi",
        "This document",
        "OpenAPI 3.1.",
        json_answer("The document.", {"type": "object"}),
    ),
    _page(
        "/static/{name}",
        "staticFile",
        "What the pages are made of",
        "Scripts, styles and images.",
        text_answer("The file.", "*/*"),
        faults=(Fault.UNKNOWN_URL,),
        parameters=(path_parameter("name", "The file's path."),),
    ),
)


def routes(model: str, apis: Sequence[GenerationApi[Any]]) -> tuple[Route, ...]:
    """Every route, in the order in which to read them. Examples ask for `model`."""
    generation = tuple(_generation_route(api, model) for api in apis)
    return (*generation, *EMBEDDING_ROUTES, *channel_routes(apis), *_MODELS, *_SERVER, *_PAGES)
