"""The fork server, started by a program of its own: what its processes inherit, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from tests.certificates import ROOT

PRELOAD = """
import os
ATE = os.environ["COURSE"]
"""
PROGRAM = """
import json, os, sys, threading, time
from engine.processes.fork_server import *
from engine.processes.fork_server import FORKED

def child(pipe):
    now, later = os.environ.get("COURSE"), os.environ["LATER"]
    pipe.send({"parent": os.getppid(), "ate": sys.modules["preloaded"].ATE, "now": now, "later": later})

if __name__ == "__main__":
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(start_fork_server("preloaded", {})))
    thread.start(); thread.join()
    assert outcomes == [False] and not is_fork_server_started()
    assert start_fork_server("preloaded", {"COURSE": "soup"}) and wait_for_fork_server()
    assert start_fork_server("preloaded", {"COURSE": "ice"}), "it runs already"
    os.environ["LATER"] = "yes"
    ours, theirs = FORKED.Pipe()
    process = FORKED.Process(target=child, args=(theirs,))
    process.start()
    lasting = FORKED.Process(target=time.sleep, args=(600,))
    lasting.start()
    print(json.dumps(ours.recv() | {"lasting": lasting.pid}), flush=True)
    process.join()
    if input() == "stop":
        stop_fork_server()
        print(json.dumps({"stopped": True}), flush=True)
        input()
    os._exit(0)
"""


def started(tmp_path: Path) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    (tmp_path / "preloaded.py").write_text(PRELOAD)
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py")],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, hear(process)


def hear(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    heard: dict[str, Any] = json.loads(process.stdout.readline())
    return heard


def say(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{text}\n")
    process.stdin.flush()


def test_processes_have_what_it_imported_and_the_environment_of_their_parent(tmp_path: Path) -> None:
    process, found = started(tmp_path)
    fork_server = psutil.Process(found["parent"])
    assert fork_server.parent() == psutil.Process(process.pid)
    assert (found["ate"], found["now"], found["later"]) == ("soup", None, "yes")
    say(process, "stop")
    assert hear(process) == {"stopped": True}
    assert not fork_server.is_running()
    assert not list(tmp_path.glob("twowire-*"))
    say(process, "end")
    assert process.wait(30) == 0


def test_neither_it_nor_its_processes_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    process, found = started(tmp_path)
    fork_server, lasting = psutil.Process(found["parent"]), psutil.Process(found["lasting"])
    process.kill()
    process.wait(30)
    fork_server.wait(30)
    lasting.wait(30)
