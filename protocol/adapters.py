"""The bodies of the routes that load and unload adapters; the fields are vLLM's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from protocol.validation.request import NO_NUL, RequestModel

Name = Annotated[str, Field(min_length=1, max_length=128), NO_NUL]


class LoadAdapterRequest(RequestModel):
    """Load an adapter."""

    lora_name: Name = Field(description="The name by which clients will ask for it.")
    lora_path: Annotated[str, Field(min_length=1, max_length=4096), NO_NUL] = Field(
        description="Its folder, in PEFT's format, on the server's machine. It is copied."
    )
    load_inplace: bool = Field(default=False, description="Replace the adapter that has the name now, if any.")
    is_3d_lora_weight: Literal[False] = Field(default=False, description="Only false is supported.")


class UnloadAdapterRequest(RequestModel):
    """Unload an adapter."""

    lora_name: Name = Field(description="Its name.")
    lora_int_id: int | None = Field(default=None, description="Ignored.")
