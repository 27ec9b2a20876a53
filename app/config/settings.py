"""Which options exist: their names, defaults, limits and help texts, in one model.

Does not know where a value came from (a flag, a variable, a file): `app.config.load` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app.config.connections import ConnectionOptions
from app.config.embeddings import EmbeddingOptions
from app.config.field import CHANNEL, CONFIGURATION, ENGINE, LIMITS, LISTENING, LOGGING, MODEL, option
from app.config.limits import LimitOptions
from app.config.values import (
    FieldError,
    Host,
    JsonObject,
    Keys,
    Names,
    Origins,
    Template,
    read_keys,
)
from app.config.watchdog import WatchOptions
from app.security.hosts import is_loopback


class SettingsError(Exception):
    """The server cannot start with these settings; the message is one line that names the value to change."""


class Settings(LimitOptions, ConnectionOptions, EmbeddingOptions, WatchOptions, BaseSettings):
    """Everything that can be configured. Made once, at the start, by `app.config.load.load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix="TWOWIRE_", frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )

    host: Host = option(
        LISTENING,
        "127.0.0.1",
        "The address or host name to listen on. Other machines can reach anything but a loopback address, so "
        "that needs API keys.",
        metavar="ADDRESS",
    )
    port: int = option(LISTENING, 8000, "The TCP port to listen on; 0 takes any free one.", ge=0, le=65535)
    api_keys_file: Path | None = option(
        LISTENING,
        None,
        "A file with one API key per line; blank lines and lines that begin with # are ignored. It is read "
        "at the start, and its keys are added to those of TWOWIRE_API_KEYS.",
        shown="none",
    )
    api_keys: Keys = option(
        LISTENING,
        [],
        "The API keys that clients may send as `Authorization: Bearer KEY`, separated by commas. There is no "
        "flag, because other users of a machine can read its command lines.",
        shown="none",
        repr=False,
    )
    allow_unauthenticated: bool = option(
        LISTENING, False, "Listen on an address that other machines can reach although no API key is set."
    )
    cors_origins: Origins = option(
        LISTENING,
        [],
        "The origins whose web pages may call this server from a browser, such as https://chat.example.com. "
        "A single * allows every page, without credentials.",
        shown="none",
        metavar="ORIGIN",
    )
    allowed_hosts: Names = option(
        LISTENING,
        [],
        "Further host names to answer to where no API key is set and the address is a loopback one, such as "
        "that of a proxy in front. Any other name is refused, so that no web page can reach the server through "
        "a name of its own (DNS rebinding).",
        shown="loopback names",
        metavar="NAME",
    )
    public_metrics: bool = option(LISTENING, False, "Answer /metrics without a key when API keys are set.")

    model: str | None = option(
        MODEL,
        None,
        "The model to serve: a folder, or its name on the Hugging Face hub.",
        shown="the bundled model",
        metavar="MODEL",
        min_length=1,
    )
    served_model_name: Names = option(
        MODEL,
        [],
        "The names under which clients may ask for the model. Answers carry the one that was asked for.",
        shown="the model's own name",
        metavar="NAME",
    )
    chat_template: Template | None = option(
        MODEL,
        None,
        "The chat template to use in place of the model's own: a file, or the text of a Jinja template.",
        shown="the model's own",
        metavar="TEMPLATE",
    )
    allowed_template_kwargs: Names = option(
        MODEL,
        ["enable_thinking"],
        "The names that a request's chat_template_kwargs may set.",
        metavar="NAME",
    )

    max_model_len: int | None = option(
        ENGINE,
        None,
        "The longest context, prompt and answer together, in tokens.",
        shown="the model's own limit",
        ge=1,
    )
    max_num_seqs: int = option(ENGINE, 256, "How many sequences the engine computes at a time.", ge=1)
    gpu_memory_utilization: float | None = option(
        ENGINE,
        None,
        "The share of each GPU's memory that the engine may take, above 0 and up to 1.",
        shown="vLLM's own",
        metavar="SHARE",
        gt=0,
        le=1,
    )
    tensor_parallel_size: int = option(ENGINE, 1, "Over how many GPUs each layer of the model is divided.", ge=1)
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] = option(
        ENGINE, "auto", "The number format to compute in; auto takes what the model was saved in."
    )
    enable_prefix_caching: bool = option(
        ENGINE,
        True,
        "Keep the computed beginnings of prompts, and use them again for prompts that begin alike.",
    )
    enforce_eager: bool | None = option(
        ENGINE,
        None,
        "Run the model without compiling it first: the server starts sooner and generates more slowly.",
        shown="true on a CPU, else vLLM's own",
    )
    cpu_kv_cache_gib: int = option(
        ENGINE, 2, "The memory for the KV cache, in GiB, when the model runs on a CPU.", ge=1
    )
    engine_args: JsonObject = option(
        ENGINE,
        {},
        'Further arguments of vLLM\'s AsyncEngineArgs as a JSON object, such as {"seed":1}. Names that vLLM '
        "does not know stop the start.",
        shown="none",
        metavar="JSON",
        repr=False,
    )

    max_queued: int = option(
        LIMITS,
        256,
        "How many sequences may wait for the engine beyond those that it computes; further requests are refused.",
        ge=0,
    )
    max_body_bytes: int = option(LIMITS, 16 * 1024 * 1024, "The largest request body, in bytes.", metavar="BYTES", ge=1)
    body_timeout_s: float = option(
        LIMITS,
        60.0,
        "How many seconds a request's body may take to arrive.",
        metavar="SECONDS",
        gt=0,
    )
    keepalive_s: float = option(
        LIMITS,
        15.0,
        "After how many silent seconds a stream gets a comment line, so that no proxy cuts it off.",
        metavar="SECONDS",
        gt=0,
    )
    drain_timeout_s: float = option(
        LIMITS,
        30.0,
        "How many seconds running requests get to finish when the server is told to stop.",
        metavar="SECONDS",
        ge=0,
    )

    ws_max_message_bytes: int = option(
        CHANNEL, 8 * 1024 * 1024, "The largest message that a WebSocket may receive.", metavar="BYTES", ge=1024
    )
    ws_max_messages_per_s: int = option(
        CHANNEL, 200, "How many messages a second a WebSocket may receive, twice as many in a burst.", ge=1
    )
    ws_max_running: int = option(
        CHANNEL, 16, "How many generations of one WebSocket run at a time; further ones wait.", ge=1
    )
    ws_max_waiting: int = option(
        CHANNEL, 32, "How many generations of one WebSocket may wait for their turn; further ones are refused.", ge=0
    )
    ws_max_connections: int = option(CHANNEL, 8192, "How many WebSockets the server holds.", ge=1)
    ws_max_connections_per_key: int = option(
        CHANNEL, 4096, "How many WebSockets one API key may hold; where there are no keys, all clients together.", ge=1
    )
    ws_ping_interval_s: float = option(
        CHANNEL, 25.0, "How often the server sends a ping message.", metavar="SECONDS", gt=0
    )
    ws_idle_timeout_s: float = option(
        CHANNEL, 60.0, "After how long without a message a WebSocket is closed.", metavar="SECONDS", gt=0
    )
    ws_send_timeout_s: float = option(
        CHANNEL,
        15.0,
        "After how long a WebSocket that takes no data is cut, and its generations ended.",
        metavar="SECONDS",
        gt=0,
    )
    ws_unused_timeout_s: float = option(
        CHANNEL,
        86_400.0,
        "After how long a WebSocket is closed on which nothing runs and nothing is asked for, heartbeats aside.",
        metavar="SECONDS",
        gt=0,
    )
    ws_max_age_s: float = option(
        CHANNEL, 86_400.0, "After how long a WebSocket is closed whatever it does.", metavar="SECONDS", gt=0
    )
    resume_grace_max_s: float = option(
        CHANNEL,
        120.0,
        "The longest that a resumable generation runs on without a reader, whatever its client asked for.",
        metavar="SECONDS",
        gt=0,
    )
    resume_keep_finished_s: float = option(
        CHANNEL, 120.0, "How long the chunks of a finished resumable generation are kept.", metavar="SECONDS", gt=0
    )
    resume_log_max_bytes: int = option(
        CHANNEL, 4 * 1024 * 1024, "The memory for one resumable generation.", metavar="BYTES", ge=4096
    )
    resume_logs_max_bytes: int = option(
        CHANNEL, 256 * 1024 * 1024, "The memory for all resumable generations.", metavar="BYTES", ge=4096
    )

    log_format: Literal["auto", "json", "console"] = option(
        LOGGING, "auto", "How log lines look; auto is console on a terminal and json elsewhere."
    )
    log_level: Literal["debug", "info", "warning", "error"] = option(
        LOGGING, "info", "The least severe level that is logged."
    )

    config: Path | None = option(
        CONFIGURATION, None, "A TOML file with any of these settings, under the same names.", shown="none"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the caller passes: the library's sources forget where a value stood; errors say it."""
        return (init_settings,)

    @property
    def is_loopback(self) -> bool:
        """Only this machine can reach the address that the server listens on."""
        return is_loopback(self.host)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_as_a_number(cls, value: object, info: ValidationInfo) -> object:
        # In Python true is 1, so `port = true` in a file would be port 1.
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and field.annotation not in (bool, bool | None):
            raise ValueError("must not be true or false")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_star_alone(cls, origins: list[str]) -> list[str]:
        if "*" in origins and len(origins) > 1:
            raise ValueError("* allows every origin, so it must stand alone")
        return origins

    @field_validator("api_keys")
    @classmethod
    def _add_keys_of_the_file(cls, keys: list[SecretStr], info: ValidationInfo) -> list[SecretStr]:
        path = info.data.get("api_keys_file")  # Present because it is declared before this field.
        return list(dict.fromkeys(keys + (read_keys(path) if path else [])))

    @field_validator("engine_args")
    @classmethod
    def _refuse_twins(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        for name in arguments:
            field = cls.model_fields.get(name)
            extra = field.json_schema_extra if field else None
            if isinstance(extra, dict) and extra["group"] in (MODEL, ENGINE):
                raise ValueError(f"{name!r} has an option of its own, --{name.replace('_', '-')}")
        return arguments

    @model_validator(mode="after")
    def _refuse_an_open_door(self) -> Self:
        if "api_keys" in self.model_fields_set and not self.api_keys:
            raise FieldError("api_keys", "holds no key; leave it out to serve without keys")
        if not (self.is_loopback or self.api_keys or self.allow_unauthenticated):
            raise FieldError(
                "host",
                f"other machines can reach {self.host}, and no API key is set; set TWOWIRE_API_KEYS or "
                "--api-keys-file, or give --allow-unauthenticated to serve everybody",
            )
        return self
