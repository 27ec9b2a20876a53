"""The `twowire` command: `twowire serve`, `twowire engine`, `twowire version`, and a short overview.

Imports options and server only when needed, because the engine's processes import this module again when they start.
"""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches

from app.version import installed_version
from engine.processes.parent_watch import end_with_the_parent

# Only has an effect in the engine's processes.
end_with_the_parent()

_OVERVIEW = """\
usage: twowire COMMAND [options]

One language model over OpenAI's HTTP routes and a WebSocket, run by vLLM.

Commands:
  serve     Start the server. `twowire serve --help` lists its options.
  engine    Run part of a server's engine on another machine. `twowire engine --help` lists its options.
  version   Print the version.

Examples:
  twowire serve
      Serve the bundled model on http://127.0.0.1:8000/v1, for this machine only.
  twowire serve --model ./my-model --host 0.0.0.0 --api-keys-file keys.txt
      Serve the model in a folder to anyone with one of the keys in keys.txt.
"""

USAGE_ERROR = 2
"""The exit code for wrong usage, as in most Unix commands."""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code. `serve --help` raises SystemExit(0), as argparse does."""
    arguments = sys.argv[1:] if argv is None else argv
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    match command:
        case "serve":
            return _serve(rest)
        case "engine":
            return _engine(rest)
        case "version" | "--version":
            print(f"twowire {installed_version()}")
            return 0
        case "help" | "--help" | "-h":
            print(_OVERVIEW, end="")
            return 0
    if command.startswith("-"):
        return _fail(f"{command.partition('=')[0]}: options come after the command, as in `twowire serve --port 8000`")
    near = get_close_matches(command, ["serve", "engine", "version"], n=1)
    hint = f"did you mean {near[0]!r}?" if near else "see `twowire --help`"
    return _fail(f"unknown command {command!r} ({hint})")


def _serve(argv: list[str]) -> int:
    from app.config.load import SettingsError, load_settings

    try:
        settings = load_settings(argv, os.environ)
    except SettingsError as error:
        return _fail(str(error))
    # Imported late, so that a wrong flag is reported without waiting for the web framework.
    from app.server.run import run

    return run(settings)


def _engine(argv: list[str]) -> int:
    from app.config.load import SettingsError, load_settings

    try:
        settings = load_settings(argv, os.environ, is_follower=True)
    except SettingsError as error:
        return _fail(str(error))
    from app.server.follower import run

    return run(settings)


def _fail(message: str) -> int:
    print(f"twowire: error: {message}", file=sys.stderr)
    return USAGE_ERROR
