"""Times torch and OpenVINO in turn, in one process, for batches of short texts: `python -m bench.embeddings.backends`.

Prints Markdown: the median of each round's fastest call, and the median of the rounds' ratios to torch in float32.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from bench.embeddings.__main__ import MODEL, make_texts
from engine.embeddings import loading
from engine.embeddings.api import EmbedderConfig
from engine.embeddings.models import Wanted
from engine.registry import bundled_embedding_model

SIZES = (1, 8, 64)
CALLS = 12
CONTENDERS: tuple[tuple[Any, Any], ...] = (
    ("torch", "float32"),
    ("openvino", "float32"),
    ("torch", "bfloat16"),
    ("openvino", "bfloat16"),
)


def fastest_ms(model: Any, tokens: Any, wanted: list[Wanted]) -> float:
    def once() -> float:
        begun = time.perf_counter()
        model.compute(tokens, wanted)
        return (time.perf_counter() - begun) * 1000

    return min(once() for _ in range(CALLS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="of each batch, as the server has them under load")
    options = parser.parse_args()
    loading.set_threads(options.threads)
    models = {
        (backend, dtype): loading.load_models(
            EmbedderConfig(
                {MODEL: str(bundled_embedding_model())}, backend=backend, dtype=dtype, threads=options.threads
            )
        )[0][MODEL]
        for backend, dtype in CONTENDERS
    }
    print("| Texts | " + " | ".join(f"{backend}, {dtype}" for backend, dtype in CONTENDERS) + " |")
    print("|---" * (len(CONTENDERS) + 1) + "|")
    for size in SIZES:
        texts, wanted = make_texts("short")[:size], [Wanted()] * size
        rounds = [
            [fastest_ms(model, model.tokens(texts, Wanted()), wanted) for model in models.values()]
            for _ in range(options.rounds)
        ]
        cells = [
            f"{statistics.median(column):.1f} ms **{statistics.median(one[at] / one[0] for one in rounds):.2f}**"
            for at, column in enumerate(zip(*rounds, strict=True))
        ]
        print(f"| {size} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
