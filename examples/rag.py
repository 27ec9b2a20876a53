"""Answer questions from your own texts with LangChain: embed, find, rank and answer, all on one server.

    .venv/bin/python examples/rag.py
    .venv/bin/python examples/rag.py "Who may report a weakness?" --file SECURITY.md

The paragraphs of a file are embedded by the bundled model and kept in memory. The nearest are ranked again where the
server has a reranker (`twowire serve --reranker NAME=FOLDER`, a cross-encoder; none is bundled), and the best go into
the prompt. The bundled guide is too small to read them: serve a real model for answers that are worth something.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import httpx
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import APIError

TEXTS = Path(__file__).parents[1] / "docs/guides/chat.md"
NEAREST, BEST = 8, 3
PROMPT = "Answer from these notes only. Say so if they do not have the answer.\n\n{notes}\n\nQuestion: {question}"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="?", default="What happens to a running answer when I reload the page?")
    parser.add_argument("--file", type=Path, default=TEXTS, help="Markdown or plain text")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--api-key", default="unused")
    return parser.parse_args()


def served(api: httpx.Client) -> dict[str, str]:
    """A model for each purpose that the server has: chat, embeddings, rerank."""
    models = api.get("/models").raise_for_status().json()["data"]
    return {model["type"]: model["id"] for model in reversed(models)}


def ranked(api: httpx.Client, reranker: str, question: str, texts: list[str]) -> list[str]:
    """The texts, the best answer to the question first."""
    body = {"model": reranker, "query": question, "documents": texts}
    results = api.post("/rerank", json=body).raise_for_status().json()["results"]
    return [texts[result["index"]] for result in results]


def main(given: argparse.Namespace) -> None:
    common: dict[str, Any] = {"base_url": f"{given.url}/v1", "api_key": given.api_key}
    headers = {"Authorization": f"Bearer {given.api_key}"}
    with httpx.Client(base_url=common["base_url"], headers=headers, timeout=60) as api:
        models = served(api)
        if "embeddings" not in models:
            sys.exit("error: the server has no embedding model: start it without --no-embeddings")
        # LangChain sends texts with this setting, otherwise the token ids of OpenAI's own models.
        more: Any = common | {"model": models["embeddings"], "check_embedding_ctx_length": False}
        store = InMemoryVectorStore(OpenAIEmbeddings(**more))
        paragraphs = [text.strip() for text in given.file.read_text("utf-8").split("\n\n")]
        store.add_texts([text for text in paragraphs if not text.startswith("#") and len(text) > 40])
        found = [document.page_content for document in store.similarity_search(given.question, NEAREST)]
        if "rerank" in models:
            found = ranked(api, models["rerank"], given.question, found)
            print(f"ranked by {models['rerank']}")
        else:
            print("the server has no reranker: the order is that of the embeddings")
    for number, text in enumerate(found[:BEST], 1):
        print(f"[{number}] {' '.join(text.split())[:100]}")
    chat = ChatOpenAI(**common | {"model": models["chat"], "max_completion_tokens": 512})
    prompt = PROMPT.format(notes="\n\n".join(found[:BEST]), question=given.question)
    for chunk in chat.stream(prompt):
        print(chunk.text, end="", flush=True)
    print()


if __name__ == "__main__":
    try:
        main(options())
    except (APIError, httpx.HTTPError) as error:
        sys.exit(f"error: {error}")
