"""A hostile connection that can be played again: kept as a file of JSON, with why it was kept."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.connections import Ending

CORPUS = Path(__file__).parent / "corpus"
"""What found a defect once; every run begins with it."""


@dataclass(eq=False)
class Case:
    """One connection: what it was made from, and what was sent on it."""

    kind: str
    name: str
    """Such as `http1-7-250`: the kind, the seed of the run, the number of the connection."""
    ending: Ending
    sent: list[bytes] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def save(self, folder: Path) -> Path:
        """Write it into `folder`, which is made where it is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.name}.json"
        content = {"kind": self.kind, "ending": self.ending, "complaints": self.complaints}
        content["sent"] = [base64.b64encode(chunk).decode() for chunk in self.sent]
        file.write_text(json.dumps(content, indent=1) + "\n")
        return file


def load(file: Path) -> Case:
    """A case that was saved."""
    content = json.loads(file.read_text())
    sent = [base64.b64decode(chunk) for chunk in content["sent"]]
    return Case(content["kind"], file.stem, content["ending"], sent)
