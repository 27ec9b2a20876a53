"""What the operator reads of a start: on a terminal, and where a program reads it."""

from __future__ import annotations

import pytest

from app.config.load import load_settings
from app.server.announce import line, stage, summary
from app.server.wiring import make_services
from app.services import Services
from engine.admission.admission import AdmissionLimits
from engine.api import AnswerFormats, Progress
from engine.manager import EngineManager
from tests.engine.fakes import FakeFactory

KEYS = {"TWOWIRE_API_KEYS": "key-number-1,key-number-2"}


def services(*flags: str, environment: dict[str, str] | None = None) -> Services:
    manager = EngineManager(FakeFactory(), AdmissionLimits(1, 1))
    manager.formats = AnswerFormats("hermes", None)
    return make_services(load_settings(["--served-model-name", "m", *flags], environment or {}), manager)


def test_the_summary_begins_with_the_pages_address() -> None:
    assert summary(services(), "http://127.0.0.1:8000", 31.4) == (
        "\n"
        "Ready after 31 s.\n"
        "\n"
        "  Chat        http://127.0.0.1:8000/\n"
        "  Docs        http://127.0.0.1:8000/docs\n"
        "  API         http://127.0.0.1:8000/v1\n"
        "  Model       m\n"
        "  Tool calls  hermes\n"
        "  API keys    none; only this machine has access\n"
        "  Embeddings  none; it was started without them\n"
        "\n"
    )


@pytest.mark.parametrize(
    ("flags", "environment", "url", "shown"),
    [
        (["--host", "0.0.0.0"], KEYS, "http://0.0.0.0:8000", ["http://127.0.0.1:8000/docs", "2; requests need one"]),
        (["--host", "::"], KEYS, "https://[::]:8000", ["https://[::1]:8000/docs"]),
        (
            ["--host", "0.0.0.0", "--allow-unauthenticated"],
            {},
            "http://0.0.0.0:8000",
            ["none; everybody has access"],
        ),
    ],
)
def test_the_summary_has_addresses_that_open_and_says_who_may_come_in(
    flags: list[str], environment: dict[str, str], url: str, shown: list[str]
) -> None:
    text = summary(services(*flags, environment=environment), url, 1)
    for part in shown:
        assert part in text


def test_a_program_reads_one_line() -> None:
    assert line(services(), "http://127.0.0.1:8000") == (
        "twowire: ready: http://127.0.0.1:8000 (model: m, tools: hermes, thoughts: none)."
        " Chat: http://127.0.0.1:8000/ Docs: http://127.0.0.1:8000/docs\n"
    )


@pytest.mark.parametrize(
    ("progress", "shown"),
    [
        (None, "Loading it"),
        (Progress(1, 4, "files"), "Loading it: 1 of 4 files"),
        (Progress(0, 1, "files"), "Loading it"),
        (Progress(21_040_000_000, 140_000_000_000, "bytes"), "Loading it: 21.0 of 140.0 GB, 15%"),
        (Progress(0, 64_000_000, "bytes"), "Loading it: 0 of 64 MB, 0%"),
    ],
)
def test_a_stage_says_how_far_it_is(progress: Progress | None, shown: str) -> None:
    assert stage("loading it", progress) == shown
