"""Ray, in a folder beside the other packages: where it is installed, vLLM imports it, and starts half a second later.

`python -m tests.live.servers.programs.ray_packages` installs it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.certificates import ROOT

LOCK = ROOT / "requirements" / "ray.txt"
FOLDER = ROOT / ".venv" / "ray"
STAMP = FOLDER / ".installed"
MISSING = "Ray is not installed: python -m tests.live.servers.programs.ray_packages"


def is_installed() -> bool:
    """Whether the folder holds what the lock says."""
    return STAMP.is_file() and STAMP.read_text() == LOCK.read_text()


def pinned(lock: Path) -> set[str]:
    """The lines of a lock that name a package."""
    return {line for line in lock.read_text().splitlines() if line and not line.lstrip().startswith("#")}


def main() -> int:
    if is_installed():
        return 0
    added = sorted(pinned(LOCK) - pinned(ROOT / "requirements" / "cpu.txt"))
    uv = Path(sys.executable).with_name("uv")
    command: list[str | Path] = [uv, "pip", "install", "--quiet", "--no-deps", "--compile-bytecode"]
    command += ["--python", sys.executable, "--target", FOLDER, *added]
    print("+", " ".join(str(part) for part in command), flush=True)
    if not uv.exists() or subprocess.run(command, check=False).returncode != 0:
        print("Ray could not be installed; its tests are skipped")
        return 0
    STAMP.write_text(LOCK.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
