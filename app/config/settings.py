"""All settings: a section for each component, which is given to it as it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from app.config.channel import ChannelCapacity, ChannelLimits, ResumeLimits
from app.config.connections import ConnectionLimits, DeadlineLimits, RatesPerMinute, RequestLimits
from app.config.embeddings import EmbeddingOptions
from app.config.listening import Access, Listening, TlsFiles
from app.config.logging import Logging
from app.config.models import ModelNames
from app.config.relay import RelayOptions
from app.stores.base import StoreOptions
from app.stores.responses.base import ResponsesOptions
from engine.adapters.config import AdapterConfig
from engine.admission.admission import AdmissionLimits
from engine.config import EngineConfig
from engine.embeddings.api import EmbedderConfig
from engine.grammar.constraint import CompileLimits
from engine.media.limits import MediaLimits
from engine.option import Option
from engine.ranks.config import RankOptions
from engine.speech.limits import SpeechLimits
from engine.watchdog import WatchdogLimits


class SettingsError(Exception):
    """The server cannot start with these settings; the message is one line that names the value to change."""


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """The file that other settings were read from."""

    config: Annotated[
        Path | None, Option("A TOML file with any of these settings, under the same names.", shown="none")
    ] = None


@dataclass(frozen=True, slots=True)
class Section:
    """Metadata of a section: its title in the help, and what its options' names begin with."""

    title: str
    prefix: str = ""


ENGINE, EMBEDDINGS, LIMITS, CHANNEL = "Model and engine", "Embeddings", "Limits", "WebSocket and resuming"


@dataclass(frozen=True, slots=True)
class Settings:
    """Read once, at startup, by `app.config.load.load_settings`. Titles appear in the help in this order.

    To add an option, add a field with an `Option` to a section. To add a section, add a field here.
    """

    listening: Annotated[Listening, Section("Listening")] = field(default_factory=Listening)
    access: Annotated[Access, Section("Listening")] = field(default_factory=Access)
    tls: Annotated[TlsFiles, Section("TLS")] = field(default_factory=TlsFiles)
    engine: Annotated[EngineConfig, Section(ENGINE)] = field(default_factory=EngineConfig)
    names: Annotated[ModelNames, Section(ENGINE)] = field(default_factory=ModelNames)
    adapters: Annotated[AdapterConfig, Section("Adapters")] = field(default_factory=AdapterConfig)
    ranks: Annotated[RankOptions, Section("Ranks and machines")] = field(default_factory=RankOptions)
    watchdog: Annotated[WatchdogLimits, Section(ENGINE)] = field(default_factory=WatchdogLimits)
    embeddings: Annotated[EmbeddingOptions, Section(EMBEDDINGS)] = field(default_factory=EmbeddingOptions)
    embedder: Annotated[EmbedderConfig, Section(EMBEDDINGS, "embedding_")] = field(default_factory=EmbedderConfig)
    admission: Annotated[AdmissionLimits, Section(LIMITS)] = field(default_factory=AdmissionLimits)
    rates: Annotated[RatesPerMinute, Section(LIMITS)] = field(default_factory=RatesPerMinute)
    deadlines: Annotated[DeadlineLimits, Section(LIMITS)] = field(default_factory=DeadlineLimits)
    grammar: Annotated[CompileLimits, Section(LIMITS, "grammar_")] = field(default_factory=CompileLimits)
    media: Annotated[MediaLimits, Section(LIMITS, "media_")] = field(default_factory=MediaLimits)
    requests: Annotated[RequestLimits, Section(LIMITS)] = field(default_factory=RequestLimits)
    speech: Annotated[SpeechLimits, Section("Recordings", "audio_")] = field(default_factory=SpeechLimits)
    connections: Annotated[ConnectionLimits, Section("Connections")] = field(default_factory=ConnectionLimits)
    channel: Annotated[ChannelLimits, Section(CHANNEL, "ws_")] = field(default_factory=ChannelLimits)
    channels: Annotated[ChannelCapacity, Section(CHANNEL, "ws_")] = field(default_factory=ChannelCapacity)
    resume: Annotated[ResumeLimits, Section(CHANNEL, "resume_")] = field(default_factory=ResumeLimits)
    responses: Annotated[ResponsesOptions, Section("Responses", "responses_")] = field(default_factory=ResponsesOptions)
    store: Annotated[StoreOptions, Section("Several servers")] = field(default_factory=StoreOptions)
    relay: Annotated[RelayOptions, Section("Several servers", "relay_")] = field(default_factory=RelayOptions)
    logging: Annotated[Logging, Section("Logging")] = field(default_factory=Logging)
    file: Annotated[ConfigurationFile, Section("Configuration file")] = field(default_factory=ConfigurationFile)
