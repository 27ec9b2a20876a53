"""Runs Python files in one process, each as a program: `python -m tests.docs_blocks.scripts FILE…`."""

from __future__ import annotations

import runpy
import sys

SEPARATOR = "\f"
"""Printed before what each file prints."""


def main(files: list[str]) -> None:
    for file in files:
        print(end=SEPARATOR, flush=True)
        runpy.run_path(file, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
