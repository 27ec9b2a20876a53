"""Describes the routes that do not generate: models, health, metrics, and the pages."""

from __future__ import annotations

from typing import Any

from app.openapi.route import Route, json_answer, path_parameter, text_answer
from app.openapi.schemas import Health, Liveness, Model, ModelList, Version
from protocol.errors import Fault

MODEL_ROUTES = (
    Route(
        path="/v1/models",
        method="get",
        name="listModels",
        tag="Models",
        summary="List the models",
        description="All names that this server accepts as `model`. They are listed before the engine is ready.",
        answers={200: json_answer("The models.", ModelList)},
    ),
    Route(
        path="/v1/models/{model}",
        method="get",
        name="retrieveModel",
        tag="Models",
        summary="Get one model",
        description="A name may contain slashes, as they are or as `%2F`.",
        answers={200: json_answer("The model.", Model)},
        faults=(Fault.MODEL_NOT_FOUND,),
        parameters=(path_parameter("model", "A name from `/v1/models`."),),
    ),
)

SERVER_ROUTES = (
    Route(
        path="/health",
        method="get",
        name="health",
        tag="Server",
        summary="Check readiness",
        description="For load balancers, and for clients that wait for the model.",
        is_public=True,
        answers={
            200: json_answer("The server can generate now.", Health),
            503: json_answer("The server cannot generate now; `state` and `reason` say why.", Health),
        },
    ),
    Route(
        path="/livez",
        method="get",
        name="livez",
        tag="Server",
        summary="Check liveness",
        description="For supervisors: restart the server only if this does not answer.",
        is_public=True,
        answers={200: json_answer("The server is running.", Liveness)},
    ),
    Route(
        path="/version",
        method="get",
        name="version",
        tag="Server",
        summary="Get the version",
        description="The version of twowire.",
        is_public=True,
        answers={200: json_answer("The version.", Version)},
    ),
    Route(
        path="/metrics",
        method="get",
        name="metrics",
        tag="Server",
        summary="Get metrics for Prometheus",
        description="This server's metrics, whose names begin with `twowire_`, and vLLM's.",
        answers={200: text_answer("Metrics in Prometheus' text format.", "text/plain")},
    ),
)


def _page(path: str, name: str, summary: str, description: str, answer: dict[str, Any], **more: Any) -> Route:
    answers = {200: answer, 304: {"description": "Not changed since `If-None-Match`; no body."}}
    return Route(path, "get", name, "Pages", summary, description, answers, is_public=True, **more)


PAGE_ROUTES = (
    _page(
        "/", "chatPage", "Chat in the browser", "A page to chat with the model.", text_answer("The page.", "text/html")
    ),
    _page(
        "/docs",
        "docsPage",
        "Read and try the API",
        "A page that shows `/openapi.json` and sends requests. It loads nothing from other hosts.",
        text_answer("The page.", "text/html"),
    ),
    _page(
        "/openapi.json",
        "openapi",
        "Get this document",
        "OpenAPI 3.1.",
        json_answer("The document.", {"type": "object"}),
    ),
    _page(
        "/static/{name}",
        "staticFile",
        "Get a file of the pages",
        "Scripts, styles and images.",
        text_answer("The file.", "*/*"),
        faults=(Fault.UNKNOWN_URL,),
        parameters=(path_parameter("name", "The file's path."),),
    ),
    _page(
        "/manifest.webmanifest",
        "manifest",
        "Get the chat page's manifest",
        "Its name and icon, for browsers that install it.",
        text_answer("The manifest.", "application/manifest+json"),
    ),
    _page(
        "/service-worker.js",
        "serviceWorker",
        "Get the chat page's service worker",
        "A script that opens the chat page without a network.",
        text_answer("The script.", "text/javascript"),
    ),
)
