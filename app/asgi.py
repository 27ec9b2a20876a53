"""The app for those who bring their own hypercorn: `hypercorn app.asgi:app`, configured by `TWOWIRE_…` variables.

Does not open a port: what hypercorn itself can set (sockets, keep-alive, workers: one only) is up to its configuration.
"""

from __future__ import annotations

import multiprocessing
import os

from app.config.load import SettingsError, load_settings
from app.factory import create_app
from app.hypercorn import install
from app.observability.logs import set_up_logs
from app.server.run import build_services

# hypercorn 0.18 starts its workers as daemons, which may not start processes, and vLLM must; there is no public way to
# undo that from within. Test: `tests/live/test_command.py::test_hypercorn_itself_serves_the_app`.
multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]  # not public

_settings = load_settings([], os.environ)
if _settings.api_server_count > 1:
    raise SettingsError("TWOWIRE_API_SERVER_COUNT: only `twowire serve` can start several")
set_up_logs(_settings.log_format, _settings.log_level)
install()
app = create_app(build_services(_settings))
