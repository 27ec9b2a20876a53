"""The names of the models, and their aliases."""

from __future__ import annotations

import pytest

from app.config.load import load_settings
from app.config.settings import SettingsError
from app.generation.models import ServedModels
from app.server.wiring import no_embedder
from protocol.errors import Fault, TwowireError

MODELS = ServedModels(
    ("local", "claude-own"), no_embedder("off"), [("claude-*-mini", "local"), ("claude-*", "default"), ("a.c", "local")]
)


@pytest.mark.parametrize(
    ("name", "served"),
    [
        ("local", "local"),
        ("claude-own", "claude-own"),
        ("claude-9-mini", "local"),
        ("claude-sonnet-9\n", "local"),
        ("claude-", "local"),
        ("a.c", "local"),
    ],
)
def test_a_name_or_an_alias_stands_for_a_served_name(name: str, served: str) -> None:
    assert (MODELS.check(name), MODELS.check(name, None)) == (served, served)


@pytest.mark.parametrize("name", ["claude", "Claude-own", "abc", "xclaude-1", "default", ""])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(TwowireError) as refused:
        MODELS.check(name)
    assert refused.value.fault is Fault.MODEL_NOT_FOUND


def test_an_alias_is_for_chats_alone() -> None:
    with pytest.raises(TwowireError):
        MODELS.check("claude-1", "embeddings")


def test_aliases_are_not_listed() -> None:
    assert list(MODELS.types) == ["local", "claude-own"]


@pytest.mark.parametrize("alias", ["claude-*=default", "claude-*=guide", "a=guide,b=default"])
def test_an_alias_is_for_a_name_of_the_text_model(alias: str) -> None:
    assert load_settings(["--model-alias", alias], {}).names.aliases


@pytest.mark.parametrize("alias", ["claude-*", "=guide", "claude-*=", "a=guide,a=default", "claude-*=other"])
def test_other_aliases_stop_the_start(alias: str) -> None:
    with pytest.raises(SettingsError, match="--model-alias"):
        load_settings(["--model-alias", alias], {})
