"""Makes request bodies with Hypothesis: from OpenAPI documents, and chats that are to follow a random JSON schema.

The documents are this server's own, and OpenAI's where it lies beside the checkout. Schemathesis makes bodies that fit
a document, and bodies that do not; most are then put, a few fields at a time, into a request that is right, so that
they get past the first check. Run as `python -m tests.fuzz.bodies KIND SEED`, which writes one request a line (its
path, and its body in Base64) until nobody reads: that takes a processor of its own, and must not delay the fuzzer's
connections.
"""

from __future__ import annotations

import base64
import contextlib
import json
import random
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from app.openapi.document import openapi_document
from tests.fuzz.requests import BASES, CHAT_PATH
from tests.fuzz.schemas import schemas

OPENAI = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "openapi.json"
ROUND = 12
"""Bodies of each route and kind that Hypothesis makes at a time; the first of each round are the simplest."""
MAX_TOKENS, SCHEMA_TOKENS = 8, 40
COSTLY = {"max_tokens": MAX_TOKENS, "max_completion_tokens": MAX_TOKENS, "n": 2, "best_of": 2}
"""Fields that only make an answer long, and the most that is sent: an answer that takes a minute finds nothing."""


def documents() -> list[dict[str, Any]]:
    """This server's own document, and OpenAI's with the same routes alone."""
    own = openapi_document(version="0", model="guide", keys_required=False, public_metrics=True)
    found = [own]
    if OPENAI.is_file():
        theirs = json.loads(OPENAI.read_bytes())
        theirs["paths"] = {f"/v1{path}": item for path, item in theirs["paths"].items() if f"/v1{path}" in BASES}
        found.append(theirs)
    return found


def requests(kind: str, seed: int) -> Iterator[tuple[str, bytes]]:
    """Endless requests: path and body. The same seed makes the same ones, with the same versions of the libraries."""
    return _chats_with_schemas(seed) if kind == "schemas" else _by_documents(seed)


def _chats_with_schemas(seed: int) -> Iterator[tuple[str, bytes]]:
    rng = random.Random(seed)
    while True:
        for schema in _made(schemas(), rng.getrandbits(32)):
            wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
            yield CHAT_PATH, encoded(BASES[CHAT_PATH] | {"response_format": wanted, "max_tokens": SCHEMA_TOKENS})


def _by_documents(seed: int) -> Iterator[tuple[str, bytes]]:
    rng = random.Random(seed)
    described = [schemathesis.openapi.from_dict(document) for document in documents()]
    operations: list[Any] = [found.ok() for one in described for found in one.get_all_operations()]  # type: ignore[union-attr]  # or it raises
    posts = [one for one in operations if one.method.lower() == "post" and one.path in BASES]
    while True:
        one, mode = rng.choice(posts), rng.choice(list(schemathesis.GenerationMode))
        for case in _made(one.as_strategy(generation_mode=mode), rng.getrandbits(32)):
            yield one.path, encoded(spliced(rng, one.path, case.body))


def _made(strategy: Any, seed: int) -> list[Any]:
    made: list[Any] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=ROUND,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def take(one: Any) -> None:
        made.append(one)

    # Some schemas leave nothing to make that breaks them.
    with contextlib.suppress(Unsatisfiable):
        take()
    return made


def spliced(rng: random.Random, path: str, body: Any) -> Any:
    """Some fields of `body` in a request that is right; at times `body` itself."""
    if not isinstance(body, dict):
        return body
    if rng.random() < 0.8:
        names = rng.sample(sorted(body), k=min(len(body), rng.randint(1, 4)))
        body = BASES[path] | {name: body[name] for name in names}
    if rng.random() < 0.9:
        body["model"] = BASES[path]["model"]
    if "max_tokens" in BASES[path] and body.get("max_tokens") is None and body.get("max_completion_tokens") is None:
        body["max_tokens"] = MAX_TOKENS
    for name, most in COSTLY.items():
        value = body.get(name)
        if isinstance(value, int | float) and value > most:
            body[name] = most
    return body


def encoded(body: Any) -> bytes:
    """As JSON, also where JSON has no word for it (NaN, half a character); bytes as they are."""
    if isinstance(body, bytes):
        return body
    return json.dumps(body, default=lambda _: None).encode()


def main() -> None:
    warnings.simplefilter("ignore")
    try:
        for path, body in requests(sys.argv[1], int(sys.argv[2])):
            print(path, base64.b64encode(body).decode(), flush=True)
    except BrokenPipeError:
        sys.stderr.close()  # Nobody reads any more, and Python would complain about that, too.


if __name__ == "__main__":
    main()
