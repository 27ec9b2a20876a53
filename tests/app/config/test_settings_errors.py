"""Wrong settings: each is named in one line with what is wrong, and no line shows a key."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from app.config.load import SettingsError, load_settings
from app.config.options import OPTIONS

KEY = "first-key-0123456789"
BALANCED = "removed: the system spreads connections, and any API server finds a client's state; leave it out"


def error_of(*argv: str, **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(argv, environ)
    message = str(caught.value)
    assert "\n" not in message
    return message


def write(folder: Path, text: str, name: str = "twowire.toml") -> str:
    path = folder / name
    path.write_text(text, "utf-8")
    return str(path)


# What a wrong value is told

ORIGIN = "must be an origin, scheme://host[:port] without a path, or *"
WRONG_FLAGS = [
    ("--port 70000", "--port: must be at most 65535, got 70000"),
    ("--port -1", "--port: must be at least 0, got -1"),
    ("--port http", "--port: must be an integer, got 'http'"),
    ("--port 1.5", "--port: must be an integer, got '1.5'"),
    ("--port", "--port: expected one argument"),
    ("--prot 1", "--prot: unknown option (did you mean '--port'?)"),
    ("--api-key-file x", "--api-key-file: unknown option (did you mean '--api-keys-file'?)"),
    ("--xyzzy", "--xyzzy: unknown option"),
    ("llama", "unexpected argument 'llama'"),
    ("--api-server-count 0", "--api-server-count: must be at least 1, got 0"),
    ("--api-server-count 65", "--api-server-count: must be at most 64, got 65"),
    ("--api-server-balance-by connection", f"--api-server-balance-by: {BALANCED}"),
    ("--front-ends 2", "--front-ends: renamed to --api-server-count"),
    ("--front-ends-by=address", f"--front-ends-by: {BALANCED}"),
    ("--max-model-len 0", "--max-model-len: must be at least 1, got 0"),
    ("--gpu-memory-utilization 0", "--gpu-memory-utilization: must be greater than 0, got 0"),
    ("--gpu-memory-utilization 1.1", "--gpu-memory-utilization: must be at most 1, got 1.1"),
    ("--gpu-memory-utilization lots", "--gpu-memory-utilization: must be a number, got 'lots'"),
    ("--keepalive-s inf", "--keepalive-s: must be a number, got 'inf'"),
    ("--keepalive-s 0", "--keepalive-s: must be greater than 0, got 0"),
    (
        "--dtype int8",
        "--dtype: must be one of 'auto', 'half', 'float16', 'bfloat16', 'float' or 'float32', got 'int8'",
    ),
    ("--host unix:/run/x", "--host: must be an address or a host name without a port, got 'unix:/run/x'"),
    ("--host 127.0.0.1:80", "--host: must be an address or a host name without a port, got '127.0.0.1:80'"),
    ("--host=", "--host: must be an address or a host name, got ''"),
    ("--host http//x", "--host: must be an address or a host name, got 'http//x'"),
    ("--model=", "--model: must not be empty, got ''"),
    ("--engine-args x", '--engine-args: must be a JSON object, such as {"seed":1}'),
    ("--engine-args [1]", '--engine-args: must be a JSON object, such as {"seed":1}'),
    ("--engine-args " + "[" * 100_000, '--engine-args: must be a JSON object, such as {"seed":1}'),
    ('--engine-args {"dtype":"half"}', "--engine-args: 'dtype' has its own option, --dtype"),
    (
        "--chat-template nowhere.jinja",
        "--chat-template: must be a file or the text of a Jinja template, got 'nowhere.jinja'",
    ),
    ("--config nowhere.toml", "--config: cannot read 'nowhere.toml': No such file or directory"),
    (
        "--cors-origins https://a.example b.example",
        f"--cors-origins: item 2: {ORIGIN}, got 'b.example'",
    ),
    (
        "--cors-origins https://a.example/",
        f"--cors-origins: item 1: {ORIGIN}, got 'https://a.example/'",
    ),
    (
        "--embedding-truncate cut",
        "--embedding-truncate: must be end or refuse, or NAME=end or NAME=refuse, got 'cut'",
    ),
    ("--embedding-truncate end,refuse", "--embedding-truncate: has two values for all models"),
    ("--cors-origins * https://a.example", "--cors-origins: * allows every origin, so it must stand alone"),
]


@pytest.mark.parametrize(("line", "message"), WRONG_FLAGS, ids=[line[:40] for line, _ in WRONG_FLAGS])
def test_a_wrong_flag_is_named_with_what_is_wrong(line: str, message: str) -> None:
    assert error_of(*line.split(" ")) == message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TWOWIRE_MAX_QUEUED", "x", "TWOWIRE_MAX_QUEUED: must be an integer, got 'x'"),
        ("TWOWIRE_PORT", "", "TWOWIRE_PORT: must be an integer, got ''"),
        ("TWOWIRE_PUBLIC_METRICS", "maybe", "TWOWIRE_PUBLIC_METRICS: must be true or false, got 'maybe'"),
        ("TWOWIRE_PROT", "1", "TWOWIRE_PROT: unknown variable (did you mean 'TWOWIRE_PORT'?)"),
        ("twowire_port", "1", "twowire_port: unknown variable (did you mean 'TWOWIRE_PORT'?)"),
        ("TWOWIRE_API_KEY", KEY, "TWOWIRE_API_KEY: unknown variable (did you mean 'TWOWIRE_API_KEYS'?)"),
        ("TWOWIRE_API_SERVER_BALANCE_BY", "address", f"TWOWIRE_API_SERVER_BALANCE_BY: {BALANCED}"),
        ("TWOWIRE_MODEL", "", "TWOWIRE_MODEL: must not be empty, got ''"),
    ],
)
def test_a_wrong_variable_is_named_with_what_is_wrong(name: str, value: str, message: str) -> None:
    assert error_of(**{name: value}) == message


def test_every_unknown_variable_is_named() -> None:
    message = error_of(TWOWIRE_MODLE="x", TWOWIRE_LIMIT="1")
    assert message.startswith("TWOWIRE_LIMIT, TWOWIRE_MODLE: unknown variable")


def test_the_variables_that_kubernetes_adds_are_explained() -> None:
    message = error_of(TWOWIRE_SERVICE_HOST="10.0.0.1", TWOWIRE_PORT="tcp://10.0.0.1:8000")
    assert message.startswith("TWOWIRE_SERVICE_HOST: Kubernetes sets this")
    assert "enableServiceLinks: false" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("front-ends = 2", "front-ends: renamed to api-server-count"),
        ("api-server-balance-by = 'address'", f"api-server-balance-by: {BALANCED}"),
        ("prot = 1", "unknown key 'prot' (did you mean 'port'?)"),
        ("max_quued = 1", "unknown key 'max_quued' (did you mean 'max-queued'?)"),
        ("config = 'other.toml'", "unknown key 'config'"),
        ("[limits]\nmax-queued = 1", "unknown key 'limits'"),
        ("port = 70000", "port: must be at most 65535, got 70000"),
        ("port = true", "port: must not be true or false"),
        ("keepalive-s = true", "keepalive-s: must not be true or false"),
        ("max_queued = 'x'", "max_queued: must be an integer, got 'x'"),
        ("max-queued = 1\nmax_queued = 2", "max_queued: given twice, with - and with _"),
        ("model = 5", "model: must be a text, got 5"),
        ("served-model-name = 5", "served-model-name: must be a list, got 5"),
        ("served-model-name = ['a', 5]", "served-model-name: item 2: must be a text, got 5"),
        ("config-file = 5", "unknown key 'config-file'"),
        ("engine-args = 5", "engine-args: must be a table"),
        ("port 1", "not a TOML file: Expected '=' after a key in a key/value pair (at line 1, column 6)"),
    ],
)
def test_a_wrong_key_in_the_file_is_named_with_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    write(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    assert error_of("--config", "twowire.toml") == f"twowire.toml: {message}"


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe")
    assert error_of("--config", str(path)) == f"{path}: not a TOML file: not UTF-8 text or nested too deeply"


def test_a_long_wrong_value_is_cut_and_stays_on_one_line() -> None:
    message = error_of("--port", "x\n" * 500)
    assert message.startswith("--port: must be an integer, got 'x")
    assert len(message) < 150
    message = error_of("--chat-template", "x" * 5000)
    assert message.startswith("--chat-template: must be a file")
    assert len(message) < 400


# Keys stay secret


def test_keys_are_never_shown() -> None:
    settings = load_settings(["--engine-args", '{"hf_token": "hub-token"}'], {"TWOWIRE_API_KEYS": KEY})
    for text in (
        repr(settings),
        str(settings),
        str(asdict(settings)["access"]["api_keys"]),
    ):
        assert KEY not in text
    assert "hub-token" not in repr(settings)


@pytest.mark.parametrize(
    ("argv", "environ"),
    [
        (["--api-keys", "a-secret-key"], {}),
        (["--api-keys=a-secret-key"], {}),
        (["--api-key=a-secret-key"], {}),
        (["--api-keys-file", "a-secret-key"], {}),
        ([], {"TWOWIRE_API_KEY": "a-secret-key"}),
        ([], {"TWOWIRE_API_KEYS": "good-key-123,a-secret-key with spaces"}),
        ([], {"TWOWIRE_API_KEYS": "a-secret-key-é"}),
        ([], {"TWOWIRE_API_KEYS": "a-secret-key", "TWOWIRE_PORT": "x"}),
        (["--engine-args", '{"hf_token": "a-secret-key"'], {}),
    ],
)
def test_no_error_quotes_a_key(argv: Sequence[str], environ: dict[str, str]) -> None:
    assert "a-secret-key" not in error_of(*argv, **environ)


def test_no_error_for_a_file_quotes_a_key(tmp_path: Path) -> None:
    for text in (
        "api-keys = ['a-secret-key', 5]",
        "api-keys = ['a secret-key']",
        "api-keys = { a = 'secret-key' }",
    ):
        assert "secret-key" not in error_of("--config", write(tmp_path, text))
    assert error_of("--config", write(tmp_path, "api-keys = 5")).endswith("api-keys: must be a list")


@pytest.mark.parametrize(
    ("name", "value"), [("api_keys", ["a-secret-key é"]), ("engine_args", "{'hf_token': 'a-secret-key'}")]
)
def test_an_option_s_own_error_hides_its_value(name: str, value: object) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        OPTIONS[name].parse(value)
    assert "a-secret-key" not in str(caught.value)


def test_keys_as_a_flag_are_refused_with_the_reason() -> None:
    message = error_of("--api-keys", KEY)
    assert message.startswith("--api-keys: not an option, because other users")
    assert "TWOWIRE_API_KEYS" in message


def test_a_variable_s_old_name_is_an_error_that_names_the_new_one() -> None:
    assert error_of(TWOWIRE_FRONT_ENDS="2") == "TWOWIRE_FRONT_ENDS: renamed to TWOWIRE_API_SERVER_COUNT"


def test_several_api_servers_need_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert load_settings(["--api-server-count", "1"], {}).listening.api_server_count == 1
    assert error_of("--api-server-count", "2") == "--api-server-count: more than one needs Linux"


def test_under_a_hypercorn_of_ones_own_there_is_one_api_server() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import app.asgi"],
        env=os.environ | {"TWOWIRE_API_SERVER_COUNT": "2"},
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "TWOWIRE_API_SERVER_COUNT: only `twowire serve` can start several" in done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_relay_on_all_addresses_needs_one_that_others_reach(host: str) -> None:
    flags = ("--store", "redis://127.0.0.1", "--relay-port", "8100", "--relay-host", host)
    environ = {"TWOWIRE_RELAY_SECRET": "0123456789abcdef"}
    assert error_of(*flags, **environ) == (
        f"--relay-host: others cannot reach this server at {host}; give --relay-address, where they can"
    )
    settings = load_settings((*flags, "--relay-address", "10.0.0.1:8100"), environ)
    assert settings.relay.shown_address == "10.0.0.1:8100"
