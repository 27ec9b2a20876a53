"""The app for a hypercorn of your own: `hypercorn app.asgi:app`, configured by `TWOWIRE_…` variables.

What hypercorn can configure itself is left to its own options: sockets, keep-alive, workers (only one works).
"""

from __future__ import annotations

import multiprocessing
import os

from app.config.load import SettingsError, load_settings
from app.factory import create_app
from app.hypercorn import install
from app.observability.logs import set_up_logs
from app.server.wiring import build_services

# hypercorn 0.18 starts its workers as daemons, which may not start processes as vLLM must. There is no public way to
# undo that from within. Test: `tests/live/real/processes/test_command.py::test_hypercorn_itself_serves_the_app`.
multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]  # not public

_settings = load_settings([], os.environ)
if _settings.listening.api_server_count > 1:
    raise SettingsError("TWOWIRE_API_SERVER_COUNT: only `twowire serve` can start several")
if _settings.adapters.is_enabled:
    raise SettingsError("TWOWIRE_LORA, TWOWIRE_LORA_DIR, TWOWIRE_ENABLE_LORA: only `twowire serve` serves adapters")
set_up_logs(_settings.logging.log_format, _settings.logging.log_level)
install()
app = create_app(build_services(_settings))
