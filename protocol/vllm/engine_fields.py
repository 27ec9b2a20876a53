"""vLLM's fields that all APIs share: when a request runs, who shares its cache, what logits processors are given."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from protocol.extras import NO_EXTRAS, Extras
from protocol.validation.request import NO_NUL, ApiRequest, at_most_entries

MAX_SALT_CHARS = 1024
MAX_XARGS = 64
MAX_XARG_CHARS = 4096
MAX_XARG_ITEMS = 256

Salt = Annotated[str, Field(min_length=1, max_length=MAX_SALT_CHARS), NO_NUL]
XArg = Annotated[str, Field(max_length=MAX_XARG_CHARS)] | int | float
XArgs = dict[str, XArg | Annotated[list[XArg], Field(max_length=MAX_XARG_ITEMS, fail_fast=True)]]

_FIELDS = frozenset({"cache_salt", "priority", "vllm_xargs"})


class EngineFields(ApiRequest):
    """Extra fields of vLLM's that have the same meaning for each API."""

    cache_salt: Salt | None = Field(
        default=None, description="Share cached prompts only with requests that have the same salt."
    )
    priority: int = Field(
        default=0,
        ge=-(2**31),
        le=2**31 - 1,
        description="Lower runs earlier, where the server has `--scheduling-policy priority`.",
    )
    vllm_xargs: Annotated[XArgs, at_most_entries(MAX_XARGS)] | None = Field(
        default=None, description="Arguments for logits processors; only the names that the server allows."
    )

    @property
    def extras(self) -> Extras:
        """What else is asked of the engine."""
        if not self.model_fields_set & _FIELDS:
            return NO_EXTRAS
        return Extras(cache_salt=self.cache_salt, priority=self.priority, xargs=self.vllm_xargs or None)
