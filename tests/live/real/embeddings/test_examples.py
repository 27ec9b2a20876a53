"""examples/rag.py with the bundled embeddings and a small reranker; the chat model is the counting engine."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import httpx
import pytest

from tests.examples.commands import ended, started
from tests.live.servers.dialogue import THE_REQUEST, Dialogue
from tests.live.servers.server import START_TIMEOUT_S, Server

pytest.importorskip("sentence_transformers", reason="the extra `embeddings` is not installed")

pytestmark = [pytest.mark.timeout(2 * START_TIMEOUT_S)]

NOTES = """# Notes

The sky is blue because the air scatters short waves of light more than long ones.

Grass is green because of the chlorophyll in its leaves, which takes up red light.

The cable under the Atlantic was laid in 1858, and failed after three weeks.

Bread rises because yeast makes carbon dioxide while it eats the sugar in the dough.

A year has 365 days, and every fourth year, with few exceptions, has one day more.
"""


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    file = tmp_path / "notes.md"
    file.write_text(NOTES, "utf-8")
    return file


def test_the_nearest_notes_are_ranked_and_asked_about(embedder: Server, notes: Path) -> None:
    question = f"Why does bread dough rise? {Dialogue(THE_REQUEST)}"
    code, output = ended(started("rag.py", question, "--file", str(notes), "--url", embedder.url))
    assert code == 0, output
    ranking, *shown, asked = output.splitlines()
    assert ranking == "ranked by rank"
    assert len(shown) == 3
    prompt = json.loads(asked)["messages"][-1]["content"]
    for line in shown:
        assert line.partition("] ")[2] in prompt
    assert "Question: Why does bread dough rise?" in prompt


def test_without_a_reranker_the_nearest_note_comes_first(
    embedder: Server, notes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # In this process: a program of its own would import LangChain anew.
    from examples import rag

    with httpx.Client(base_url=f"{embedder.url}/v1") as api:
        models = rag.served(api)
    assert models == {"chat": "guide", "embeddings": "all-MiniLM-L6-v2", "rerank": "rank"}
    del models["rerank"]
    monkeypatch.setattr(rag, "served", lambda api: models)
    given = argparse.Namespace(question="Why does bread dough rise?", file=notes, url=embedder.url, api_key="unused")
    rag.main(given)
    first, *shown, answer = capsys.readouterr().out.splitlines()
    assert first == "the server has no reranker: the order is that of the embeddings"
    assert shown[0].startswith("[1] Bread rises")
    # The counting engine's answer to whatever it is asked.
    assert answer.startswith("0 1 2 3 ")
    del models["embeddings"]
    with pytest.raises(SystemExit, match="no embedding model"):
        rag.main(given)
