"""Fields of Anthropic's Messages that are known but not honoured."""

from __future__ import annotations

from collections.abc import Mapping

from protocol.validation.unsupported_fields import ACCEPTED, UNTRUSTED, FieldRule, only

_RUNS_NO_TOOLS = "is not supported: this server runs no tools; remove it."

MESSAGES_FIELDS: Mapping[str, FieldRule] = {
    # Where, how and for whom a request is computed: the answer stays the same.
    "cache_control": ACCEPTED,
    "metadata": ACCEPTED,
    "service_tier": ACCEPTED,
    "inference_geo": ACCEPTED,
    "speed": ACCEPTED,
    "diagnostics": ACCEPTED,
    "user_profile_id": ACCEPTED,
    "workspace_id": ACCEPTED,
    "betas": ACCEPTED,
    "anthropic_beta": ACCEPTED,
    "anthropic_version": ACCEPTED,
    # What to drop from a chat that is too long. Nothing is dropped here; the client has to shorten it.
    "context_management": ACCEPTED,
    "container": FieldRule(predicate=_RUNS_NO_TOOLS),
    "mcp_servers": FieldRule(accepted=([],), predicate=_RUNS_NO_TOOLS),
    # Of OpenAI's APIs, and vLLM's.
    "n": only(1),
    "chat_template": UNTRUSTED,
    "chat_template_kwargs": FieldRule(accepted=({},), predicate="is not supported; thinking and output_config say it."),
    "kv_transfer_params": only({}),
    "ec_transfer_params": only({}),
    "watermarking": only(False),
}
