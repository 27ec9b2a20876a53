"""The server of a typical tutorial: FastAPI, with one `encode` per request.

    python -m bench.embeddings.textbook FOLDER PORT THREADS {async,threads}

With `async` the handler encodes in the event loop, with `threads` FastAPI's pool of threads does.
"""

from __future__ import annotations

import base64
import sys
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer


class Embed(BaseModel):
    """What is asked."""

    model: str
    input: str | list[str]
    encoding_format: str = "float"


def make_app(folder: str, kind: str) -> FastAPI:
    model = SentenceTransformer(folder, device="cpu")
    app = FastAPI()

    def answer(asked: Embed) -> dict[str, Any]:
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        vectors = model.encode(texts)
        if asked.encoding_format == "base64":
            shown: list[Any] = [base64.b64encode(vector.tobytes()).decode() for vector in vectors]
        else:
            shown = vectors.tolist()
        items = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(shown)]
        return {"object": "list", "data": items, "model": asked.model, "usage": {"prompt_tokens": 0, "total_tokens": 0}}

    if kind == "threads":
        app.post("/v1/embeddings")(answer)
    else:

        @app.post("/v1/embeddings")
        async def embed(asked: Embed) -> dict[str, Any]:
            return answer(asked)

    return app


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    uvicorn.run(make_app(sys.argv[1], sys.argv[4]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
