"""Describes the routes that load and unload adapters."""

from __future__ import annotations

from app.openapi.route import BODY_FAULTS, Route, json_body, text_answer
from protocol.adapters import LoadAdapterRequest, UnloadAdapterRequest
from protocol.errors import Fault

_OFF = "Needs the server's admin key in place of an API key; 404 on a server that has none."
_FAULTS = (*BODY_FAULTS, Fault.UNKNOWN_URL)

ADAPTER_ROUTES = (
    Route(
        path="/v1/load_lora_adapter",
        method="post",
        name="loadAdapter",
        tag="Models",
        summary="Load an adapter",
        description=f"Checks a LoRA adapter, loads it, and serves it as a model. {_OFF}",
        body=json_body(LoadAdapterRequest, {"Load": {"lora_name": "sql", "lora_path": "/srv/adapters/sql"}}),
        answers={200: text_answer("It is served.", "text/plain")},
        faults=(*_FAULTS, Fault.INVALID_ADAPTER, Fault.ENGINE_NOT_READY, Fault.ENGINE_DIED, Fault.DRAINING),
    ),
    Route(
        path="/v1/unload_lora_adapter",
        method="post",
        name="unloadAdapter",
        tag="Models",
        summary="Unload an adapter",
        description=f"Serves an adapter no more. Requests that use it run to their end. {_OFF}",
        body=json_body(UnloadAdapterRequest, {"Unload": {"lora_name": "sql"}}),
        answers={200: text_answer("New requests for it are refused.", "text/plain")},
        faults=(*_FAULTS, Fault.MODEL_NOT_FOUND),
    ),
)
