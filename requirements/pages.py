"""Installs the pages' libraries from npm into `static/vendor`, and the tools that check their scripts into `.node`.

It does nothing if nothing has changed. Without the libraries, the chat shows plain text and `/docs` links to the
document, so a missing npm is only a warning for them; for the tools it is a failure.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MANIFESTS = (ROOT / "static" / "package.json", ROOT / "static" / "package-lock.json")
NODE = ROOT / ".node"
MODULES = NODE / "node_modules"
VENDOR = ROOT / "static" / "vendor"

LIBRARIES = {
    "marked.js": "marked/lib/marked.esm.js",
    "purify.js": "dompurify/dist/purify.es.mjs",
    "qr.js": "lean-qr/index.mjs",
    "qr-svg.js": "lean-qr/extras/svg.mjs",
    "mermaid.js": "@mermaid-js/tiny/dist/mermaid.tiny.js",
    "highlight/core.js": "@highlightjs/cdn-assets/es/core.min.js",
    "katex/katex.min.js": "katex/dist/katex.min.js",
    "katex/katex.min.css": "katex/dist/katex.min.css",
    "swagger-ui/swagger-ui-bundle.js": "swagger-ui-dist/swagger-ui-bundle.js",
    "swagger-ui/swagger-ui.css": "swagger-ui-dist/swagger-ui.css",
}
"""Files in `static/vendor`, and their sources."""

LICENCES = {
    # It brings no file of its own for it: this one names its licence and its author.
    "json-schema": "@cfworker/json-schema/package.json",
    "marked": "marked/LICENSE",
    "dompurify": "dompurify/LICENSE",
    "highlight.js": "@highlightjs/cdn-assets/LICENSE",
    "katex": "katex/LICENSE",
    "lean-qr": "lean-qr/LICENSE",
    "mermaid": "@mermaid-js/tiny/LICENSE",
    "swagger-ui": "swagger-ui-dist/LICENSE",
    "swagger-ui-notice": "swagger-ui-dist/NOTICE",
    "swagger-ui-bundle": "swagger-ui-dist/swagger-ui-bundle.js.LICENSE.txt",
}
"""Files in `static/vendor/licences`, without `.txt`, and their sources."""

# Each is loaded when a code block names it. Keep this list short, and the same as in `static/chat/text/code.js`.
# fmt: off
LANGUAGES = (
    "bash", "c", "cpp", "csharp", "css", "diff", "dockerfile", "go", "ini", "java", "javascript", "json", "kotlin",
    "lua", "makefile", "markdown", "php", "python", "ruby", "rust", "shell", "sql", "swift", "typescript",
    "xml", "yaml",
)
# fmt: on


def fingerprint() -> str:
    """A digest of everything that the folders are made from."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in (*MANIFESTS, Path(__file__)))).hexdigest()


def stamped(stamp: Path, text: str) -> bool:
    return stamp.exists() and stamp.read_text() == text


def fetch(*, tools: bool) -> str | None:
    """Install the lock's packages into `.node`; returns what went wrong."""
    stamp, wanted = NODE / ".installed", f"{fingerprint()} all"
    if stamped(stamp, wanted) or (not tools and stamped(stamp, wanted.replace(" all", " libraries"))):
        return None
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed"
    NODE.mkdir(exist_ok=True)
    stamp.unlink(missing_ok=True)
    for manifest in MANIFESTS:
        shutil.copy(manifest, NODE)
    # No package needs its install scripts, and some of them send statistics.
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--loglevel=error"]
    command += [] if tools else ["--omit=dev"]
    print("+", " ".join(["npm", *command[1:]]), flush=True)
    if subprocess.run(command, cwd=NODE, check=False).returncode != 0:
        return "npm failed; see above"
    stamp.write_text(wanted if tools else wanted.replace(" all", " libraries"))
    return None


def copy_libraries() -> str | None:
    """Make `static/vendor`; returns what went wrong."""
    stamp, wanted = VENDOR / ".made", fingerprint()
    if stamped(stamp, wanted):
        return None
    problem = fetch(tools=False)
    if problem is not None:
        return problem
    shutil.rmtree(VENDOR, ignore_errors=True)
    languages = {f"highlight/{name}.js": f"@highlightjs/cdn-assets/es/languages/{name}.min.js" for name in LANGUAGES}
    # Every browser that the pages run in takes this format.
    fonts = {f"katex/fonts/{path.name}": path for path in (MODULES / "katex/dist/fonts").glob("*.woff2")}
    validator = {f"json-schema/{path.name}": path for path in (MODULES / "@cfworker/json-schema/dist/esm").glob("*.js")}
    licences = {f"licences/{name}.txt": source for name, source in LICENCES.items()}
    for target, source in (LIBRARIES | languages | fonts | validator | licences).items():
        (VENDOR / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(MODULES / source, VENDOR / target)
    stamp.write_text(wanted)
    return None


def libraries() -> int:
    problem = copy_libraries()
    if problem is not None:
        print(f"make install: {problem}: the chat will show plain text, and /docs no API", file=sys.stderr)
    return 0


def check() -> int:
    if os.environ.get("WITHOUT_NPM"):
        print("WITHOUT_NPM is set: the pages' scripts are not checked")
        return 0
    problem = fetch(tools=True)
    if problem is None:
        scripts = ["static", "clients/javascript", "tests/js", "tests/clients/javascript"]
        programs = (["biome", "lint", "--error-on-warnings", *scripts], ["tsc", "-p", "."])
        # Run both, to report everything at once.
        results = [passes(words) for words in programs]
        return 0 if all(results) else 1
    print(
        f"make check: {problem}: the pages' scripts cannot be checked (WITHOUT_NPM=1 leaves them out)", file=sys.stderr
    )
    return 1


def passes(words: list[str]) -> bool:
    print("+", *words, flush=True)
    return subprocess.run([MODULES / ".bin" / words[0], *words[1:]], cwd=ROOT, check=False).returncode == 0


def main(what: str) -> int:
    # Of two commands at once, the second waits for the first.
    with MANIFESTS[0].open() as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        match what:
            case "libraries":
                return libraries()
            case "check":
                return check()
            case "tools":
                problem = fetch(tools=True)
                print(problem or "", end="\n" if problem else "", file=sys.stderr)
                return 1 if problem else 0
    print(f"pages.py: {what!r} is none of libraries, tools, check", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
