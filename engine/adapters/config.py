"""Which adapters are served from the start, and how many there may be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from engine.adapters.api import Adapter, AdapterError, check_name
from engine.option import Option

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM 0.32 allows for `max_lora_rank`."""
DEFAULT_RANK = 16
SPARE_PLACES = 8
"""How many adapters can be loaded at run time by default, beside those named at the start."""


def _check_named(adapters: tuple[str, ...]) -> tuple[str, ...]:
    """Each is NAME=FOLDER, and no name stands twice."""
    names = []
    for adapter in adapters:
        name, mark, folder = adapter.partition("=")
        if not mark or not folder:
            raise ValueError(f"must be NAME=FOLDER, got {adapter!r}")
        try:
            check_name(name)
        except AdapterError as error:
            raise ValueError(f"{error}, got {adapter!r}") from None
        if name in names:
            raise ValueError(f"names {name!r} twice")
        names.append(name)
    return adapters


def _check_rank(rank: int) -> int:
    if rank not in RANKS:
        raise ValueError(f"must be one of {', '.join(map(str, RANKS))}, got {rank}")
    return rank


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """LoRA adapters of the text model. The names are those of vLLM's arguments where it has one."""

    lora: Annotated[
        tuple[str, ...],
        Option(
            "LoRA adapters of the model, each with the name that clients use for it and its folder, in PEFT's format.",
            shown="none",
            metavar="NAME=FOLDER",
            check=_check_named,
        ),
    ] = ()
    lora_dir: Annotated[
        Path | None,
        Option("A folder whose subfolders are further adapters, named after them.", shown="none", metavar="FOLDER"),
    ] = None
    enable_lora: Annotated[
        bool,
        Option(
            "Prepare the engine for adapters even if none is given, so that they can be loaded later with the admin "
            "key."
        ),
    ] = False
    max_loras: Annotated[
        int,
        Option(
            "The number of adapters that the engine uses at a time; requests for others wait. On a CPU it can use all "
            "of them.",
            ge=1,
            le=1024,
        ),
    ] = 4
    max_lora_rank: Annotated[
        int | None,
        Option(
            "The maximum rank of an adapter: 1, 8, 16, 32, 64, 128, 256, 320 or 512.",
            shown="that of the adapters named at the start, at least 16",
            check=_check_rank,
        ),
    ] = None
    max_cpu_loras: Annotated[
        int | None,
        Option(
            "How many adapters there may be. The engine keeps them all in memory.",
            shown="those named at the start; 8 more with an admin key",
            ge=1,
            le=1024,
        ),
    ] = None
    can_change: bool = False
    """Adapters may be loaded and unloaded at run time."""
    folder: Path | None = None
    """The server's own folder, with a copy of each adapter."""
    loaded: tuple[Adapter, ...] = ()
    """Those named at the start, copied there and checked."""

    @property
    def is_enabled(self) -> bool:
        return bool(self.lora) or self.lora_dir is not None or self.enable_lora

    def named(self) -> dict[str, str]:
        """The folders of the adapters named at the start, by name. Raises `AdapterError`."""
        found = {name: folder for name, _, folder in (one.partition("=") for one in self.lora)}
        for folder in self._in_lora_dir():
            if folder.name in found:
                raise AdapterError(f"--lora-dir: the name {folder.name!r} is another adapter's, too")
            check_name(folder.name)
            found[folder.name] = str(folder)
        return found

    def _in_lora_dir(self) -> list[Path]:
        if self.lora_dir is None:
            return []
        try:
            return sorted(path for path in self.lora_dir.iterdir() if path.is_dir() and not path.name.startswith("."))
        except OSError as error:
            raise AdapterError(f"--lora-dir: cannot read {str(self.lora_dir)!r}: {error.strerror}") from None

    @property
    def limit(self) -> int:
        """How many adapters there may be."""
        if self.max_cpu_loras is not None:
            return self.max_cpu_loras
        return max(1, len(self.loaded) + (SPARE_PLACES if self.can_change else 0))

    @property
    def places(self) -> int:
        """How many the engine must be able to hold: while one is replaced, both."""
        return self.limit + 1 if self.can_change else self.limit

    @property
    def rank(self) -> int:
        """The largest rank that the engine is started for."""
        if self.max_lora_rank is not None:
            return self.max_lora_rank
        largest = max((adapter.rank for adapter in self.loaded), default=0)
        return next((rank for rank in RANKS if rank >= max(largest, DEFAULT_RANK)), RANKS[-1])
