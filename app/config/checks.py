"""What options must be beside one another, and what follows from several of them."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import fields, replace

from app.config.models import DEFAULT_NAME
from app.config.ranks import check_ranks
from app.config.settings import Settings
from app.config.values import FieldError, is_wildcard, read_keys
from app.security.tls import CertificateError, server_context
from app.stores.responses.base import SHARED
from engine.adapters.api import AdapterError
from engine.adapters.config import AdapterConfig


def checked(settings: Settings, given: Collection[str], *, is_follower: bool = False) -> Settings:
    """`settings`, completed with what follows from several options. Raises `FieldError`.

    `given`: the names of the options that were set. `is_follower`: of `twowire engine`, which uses no
    options of the server alone.
    """
    _check_engine_args(settings)
    if is_follower:
        # Its file or environment may be the leader's as well. Adapters do not work with followers.
        return _linked(_with_ranks(replace(settings, adapters=AdapterConfig()), given, is_follower=True))
    settings = _with_keys_of_the_file(settings)
    _check_keys(settings, given)
    settings = _with_ranks(settings, given, is_follower=False)
    adapters = _check_adapters(settings)
    _check_aliases(settings, adapters)
    _check_certificate(settings)
    if "*" in settings.access.cors_origins and len(settings.access.cors_origins) > 1:
        raise FieldError("cors_origins", "* allows every origin, so it must stand alone")
    if settings.listening.api_server_count > 1 and sys.platform != "linux":
        raise FieldError("api_server_count", "more than one needs Linux")
    if settings.responses.store == SHARED and not settings.store.is_shared:
        raise FieldError("responses_store", "shared needs --store to name a store that servers share")
    if settings.relay.port is not None and not settings.store.is_shared:
        raise FieldError("relay_port", "needs --store, where servers find each other")
    if settings.relay.port is not None and settings.relay.secret is None:
        raise FieldError("relay_port", "needs TWOWIRE_RELAY_SECRET, the same on all servers")
    _check_relay_address(settings)
    return _linked(settings)


def _check_relay_address(settings: Settings) -> None:
    relay = settings.relay
    if relay.port is not None and relay.address is None and is_wildcard(relay.host):
        raise FieldError(
            "relay_host", f"others cannot reach this server at {relay.host}; give --relay-address, where they can"
        )


def _with_keys_of_the_file(settings: Settings) -> Settings:
    access = settings.access
    if access.admin_api_key_file is not None:
        admin_keys = read_keys(access.admin_api_key_file, "admin_api_key_file")
        access = replace(access, admin_api_key=(*access.admin_api_key, *admin_keys))
        settings = replace(settings, access=access)
    if access.api_keys_file is None:
        return settings
    return replace(settings, access=replace(access, keys_of_file=tuple(read_keys(access.api_keys_file))))


def _check_keys(settings: Settings, given: Collection[str]) -> None:
    access, host = settings.access, settings.listening.host
    if "api_keys" in given and not access.api_keys:
        raise FieldError("api_keys", "holds no key; leave it out to serve without keys")
    if not (settings.listening.is_loopback or access.keys() or access.allow_unauthenticated):
        raise FieldError(
            "host",
            f"other machines can reach {host}, and no API key is set; set TWOWIRE_API_KEYS or "
            "--api-keys-file, or give --allow-unauthenticated to serve everybody",
        )


def _check_adapters(settings: Settings) -> Collection[str]:
    """The names of the adapters that are served from the start."""
    options, access = settings.adapters, settings.access
    if access.admin_api_key:
        name = "admin_api_key" if access.admin_api_key_file is None else "admin_api_key_file"
        if set(access.admin_keys()) & set(access.keys()):
            raise FieldError(name, "the admin key must not be one of the API keys")
        if not options.is_enabled:
            raise FieldError(name, "it is for adapters; give --enable-lora, --lora or --lora-dir as well")
    try:
        names = options.named().keys()
    except AdapterError as error:
        raise FieldError("lora_dir", str(error).removeprefix("--lora-dir: ")) from None
    others = {*settings.engine.names, *settings.embeddings.models, *settings.embeddings.rerankers}
    for name in names:
        if name in others:
            is_flags = any(one.startswith(f"{name}=") for one in options.lora)
            raise FieldError("lora" if is_flags else "lora_dir", f"the name {name!r} is used by another model as well")
    if options.max_cpu_loras is not None and len(names) > options.max_cpu_loras:
        raise FieldError("max_cpu_loras", f"must be at least {len(names)}, the number of adapters that are named")
    return names


def _check_engine_args(settings: Settings) -> None:
    own = {field.name for part in (settings.engine, settings.adapters, settings.ranks) for field in fields(part)} - {
        "extra"
    }
    for name in settings.engine.extra:
        if name in own:
            raise FieldError("engine_args", f"{name!r} has its own option, --{name.replace('_', '-')}")


def _with_ranks(settings: Settings, given: Collection[str], *, is_follower: bool) -> Settings:
    ranks = check_ranks(
        settings.ranks,
        tensor_parallel_size=settings.engine.tensor_parallel_size,
        arguments=settings.engine.extra,
        api_server_count=settings.listening.api_server_count,
        given=given,
        has_adapters=settings.adapters.is_enabled,
        is_follower=is_follower,
    )
    return replace(settings, ranks=ranks)


def _check_aliases(settings: Settings, adapters: Collection[str]) -> None:
    for pattern, name in settings.names.aliases:
        if name not in (DEFAULT_NAME, *settings.engine.names, *adapters):
            served = ", ".join((*settings.engine.names, *adapters))
            raise FieldError(
                "model_alias", f"{pattern}={name}: the text model is served as {served}, or {DEFAULT_NAME}"
            )


def _check_certificate(settings: Settings) -> None:
    certfile, keyfile = settings.tls.certfile, settings.tls.keyfile
    if certfile is not None and keyfile is not None:
        try:
            server_context(certfile, keyfile)
        except CertificateError as error:
            raise FieldError("certfile", str(error)) from None
    elif (certfile is None) != (keyfile is None):
        raise FieldError("keyfile" if keyfile is None else "certfile", "--certfile and --keyfile need each other")


def _linked(settings: Settings) -> Settings:
    """The sections' fields that are not options of their own, and defaults that depend on other options."""
    # Each copy of the model computes so many.
    slots = settings.engine.max_num_seqs * settings.ranks.data_parallel_size
    has_several_keys = len(settings.access.keys()) > 1
    per_client = settings.admission.running_per_client
    if per_client is None and has_several_keys:
        # If one key could hold all slots, another key's first request would wait for one of the first key's to end.
        per_client = max(1, slots - max(1, slots // 8))
    adapters = replace(settings.adapters, can_change=bool(settings.access.admin_api_key))
    return replace(
        settings,
        engine=replace(
            settings.engine,
            grammar=settings.grammar,
            media=settings.media,
            adapters=adapters,
            speech=settings.speech,
            ranks=settings.ranks,
        ),
        admission=replace(settings.admission, running=slots, running_per_client=per_client),
        channel=replace(
            settings.channel,
            resume_grace_max_s=settings.resume.grace_max_s,
            max_prefills=settings.channel.max_prefills if settings.engine.enable_prefix_caching else 0,
        ),
        # As with the embedder's queue, one of several keys may have half.
        resume=replace(
            settings.resume, owner_max_bytes=settings.resume.logs_max_bytes // 2 if has_several_keys else None
        ),
    )
