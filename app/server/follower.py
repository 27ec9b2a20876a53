"""Runs `twowire engine`: ranks of an engine whose server is on another machine. It listens on nothing."""

from __future__ import annotations

import asyncio
import signal
import sys

from app.config.settings import Settings
from app.observability.logs import set_up_logs
from app.server.process_end import skip_the_last_collection
from app.version import installed_version
from engine.api import EngineStartError
from engine.config import EngineConfig
from engine.ranks.follower import Leader, follow
from engine.registry import check_text_model, check_vllm, start_ranks
from engine.startup.digest import engine_digest

FAILED = 1
"""The exit code when a rank died, or the leader's engine is another one: a supervisor starts the command again."""


def run(settings: Settings) -> int:
    """Run ranks until a signal, or until they are of no more use; returns the exit code."""
    set_up_logs(settings.logging.log_format, settings.logging.log_level)
    assert settings.ranks.leader_url is not None  # Checked with the settings.
    try:
        check_text_model(settings.engine)
        check_vllm()
        leader = Leader(settings.ranks.leader_url, engine_digest(settings.engine, installed_version()))
        reason = asyncio.run(_follow(settings.engine, leader))
    except EngineStartError as error:
        reason = str(error)
    if reason is not None:
        sys.stderr.write(f"twowire: error: {reason}\n")
    code = 0 if reason is None else FAILED
    skip_the_last_collection(code)
    return code


async def _follow(config: EngineConfig, leader: Leader) -> str | None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await follow(leader, lambda: start_ranks(config), stop)
