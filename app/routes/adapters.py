"""The routes that load and unload adapters while the server runs. They need the admin key, and are off without one."""

from __future__ import annotations

from quart import Blueprint, Response

from app.routes.shared.http import parsed_body
from app.services import Services
from protocol.adapters import LoadAdapterRequest, UnloadAdapterRequest
from protocol.errors import Fault, TwowireError

BLUEPRINT = "adapters"
ENDPOINTS = frozenset({f"{BLUEPRINT}.load", f"{BLUEPRINT}.unload"})


def adapter_routes(services: Services) -> Blueprint:
    """`POST /v1/load_lora_adapter` and `POST /v1/unload_lora_adapter`."""
    routes = Blueprint(BLUEPRINT, __name__)
    body_timeout_s = services.settings.requests.body_timeout_s

    @routes.post("/v1/load_lora_adapter")
    async def load() -> Response:
        """Serve an adapter. vLLM's route of that name."""
        _check_enabled()
        asked = await parsed_body(LoadAdapterRequest, services.parser, body_timeout_s)
        services.manager.check_open()
        await services.adapters.load(asked.lora_name, asked.lora_path, replaces=asked.load_inplace)
        return _success(f"LoRA adapter '{asked.lora_name}' added successfully.")

    @routes.post("/v1/unload_lora_adapter")
    async def unload() -> Response:
        """Serve an adapter no more. vLLM's route of that name."""
        _check_enabled()
        asked = await parsed_body(UnloadAdapterRequest, services.parser, body_timeout_s)
        await services.adapters.unload(asked.lora_name)
        return _success(f"LoRA adapter '{asked.lora_name}' removed successfully.")

    def _check_enabled() -> None:
        if not services.admin:
            raise TwowireError(
                Fault.UNKNOWN_URL, "This server does not load adapters at run time: it has no admin key."
            )

    return routes


def _success(message: str) -> Response:
    return Response(f"Success: {message}", content_type="text/plain; charset=utf-8")
