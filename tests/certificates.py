"""Certificates for tests, made by the same command that makes one for people: `make dev-cert`."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A new certificate for localhost, and its key."""
    subprocess.run(
        ["make", "--silent", "dev-cert", f"CERT_DIR={folder}"], cwd=ROOT, check=True, capture_output=True, timeout=60
    )
    return folder / "cert.pem", folder / "key.pem"
