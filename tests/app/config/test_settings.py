"""The settings: which source wins, how values are written, and who may reach the server."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from pathlib import Path
from string import Template

import pytest

from app.config.load import Settings, SettingsError, load_settings
from app.config.options import OPTIONS
from engine.config import GUIDE
from tests.certificates import make_certificate

HERE = Path(__file__).parent
KEY, OTHER_KEY, ADMIN_KEY = "first-key-0123456789", "second-key-0123456789", "admin-key-0123456789"
OPEN_HOST = ("--host", "0.0.0.0")


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


def keys_of(settings: Settings) -> list[str]:
    return list(settings.access.keys())


# Where values come from


def test_nothing_given_is_the_defaults() -> None:
    settings = load_settings([], {})
    assert settings == Settings()
    assert (settings.listening.host, settings.listening.port) == ("127.0.0.1", 8000)
    assert (settings.engine.model, settings.access.api_keys) == (str(GUIDE), ())
    assert settings.engine.allowed_template_kwargs == ("enable_thinking",)


def test_a_flag_beats_the_variable_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    config = write(tmp_path, "port = 1\nmax-queued = 1\nmax_num_seqs = 1")
    environ = {"TWOWIRE_PORT": "2", "TWOWIRE_MAX_QUEUED": "2", "TWOWIRE_CONFIG": config}
    settings = load_settings(["--port", "3"], environ)
    assert (settings.listening.port, settings.admission.queued, settings.engine.max_num_seqs) == (3, 2, 1)
    assert settings.requests.max_body_bytes == 16 * 1024 * 1024


def test_the_flag_says_which_file_is_read(tmp_path: Path) -> None:
    flagged, named = write(tmp_path, "port = 1", "a.toml"), write(tmp_path, "port = 2", "b.toml")
    settings = load_settings(["--config", flagged], {"TWOWIRE_CONFIG": named})
    assert (settings.listening.port, settings.file.config) == (1, Path(flagged))


def test_the_process_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOWIRE_PORT", "1")
    assert load_settings([], {}).listening.port == Settings().listening.port == 8000


def test_the_winning_object_replaces_the_others(tmp_path: Path) -> None:
    config = write(tmp_path, "[engine-args]\nseed = 1")
    settings = load_settings(["--config", config, "--engine-args", '{"revision": "x"}'], {})
    assert settings.engine.extra == {"revision": "x"}


def test_every_option_can_stand_in_a_file(tmp_path: Path) -> None:
    template = write(tmp_path, "{{ messages }}", "chat.jinja")
    keys = write(tmp_path, OTHER_KEY, "keys.txt")
    admin = write(tmp_path, "another-" + ADMIN_KEY, "admin.txt")
    (loras := tmp_path / "loras").mkdir()
    cert, key = make_certificate(tmp_path)
    text = Template((HERE / "every_option.toml").read_text()).substitute(
        api_key=KEY,
        keys=keys,
        cert=cert,
        key=key,
        template=template,
        admin_key=ADMIN_KEY,
        admin_keys=admin,
        loras=loras,
    )
    settings = load_settings(["--config", write(tmp_path, text)], {})
    assert {key.replace("-", "_") for key in tomllib.loads(text)} == OPTIONS.keys() - {"config"}
    assert keys_of(settings) == [KEY, OTHER_KEY]
    assert settings.access.admin_keys() == (ADMIN_KEY, "another-" + ADMIN_KEY)
    assert settings.engine.adapters.can_change
    assert settings.engine.served_model_name == ("one",)
    assert (settings.requests.keepalive_s, settings.engine.extra, settings.engine.enforce_eager) == (
        1.0,
        {"seed": 1},
        True,
    )


def test_settings_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().listening.port = 1  # type: ignore[misc]  # that it is refused is the test


# How values are written


@pytest.mark.parametrize(
    "argv",
    [
        ["--served-model-name", "a", "b"],
        ["--served-model-name", "a,b"],
        ["--served-model-name", "a", "--served-model-name", "b"],
        ["--served-model-name=a, b,", "--port", "1"],
    ],
)
def test_a_list_flag_takes_words_commas_and_repetition(argv: Sequence[str]) -> None:
    assert load_settings(argv, {}).engine.served_model_name == ("a", "b")


def test_a_list_variable_is_separated_by_commas() -> None:
    environ = {"TWOWIRE_SERVED_MODEL_NAME": "a, b", "TWOWIRE_ALLOWED_TEMPLATE_KWARGS": ""}
    settings = load_settings([], environ)
    assert (settings.engine.served_model_name, settings.engine.allowed_template_kwargs) == (("a", "b"), ())


def test_a_switch_can_be_turned_either_way() -> None:
    assert load_settings([], {}).engine.enable_prefix_caching
    assert not load_settings(["--no-enable-prefix-caching"], {}).engine.enable_prefix_caching
    assert load_settings(["--enforce-eager"], {}).engine.enforce_eager is True
    assert load_settings(["--no-enforce-eager"], {}).engine.enforce_eager is False
    assert load_settings([], {}).engine.enforce_eager is None
    environ = {"TWOWIRE_PUBLIC_METRICS": "true"}
    assert load_settings([], environ).access.public_metrics
    assert not load_settings(["--no-public-metrics"], environ).access.public_metrics


def test_a_chat_template_is_a_file_or_the_text_itself(tmp_path: Path) -> None:
    file, text = write(tmp_path, "hello", "chat.jinja"), "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert load_settings(["--chat-template", file], {}).engine.chat_template == file
    assert load_settings(["--chat-template", text], {}).engine.chat_template == text


def test_an_origin_is_compared_as_browsers_send_it() -> None:
    origins = ["HTTPS://Chat.Example.com:443", "http://localhost:5173", "http://[::1]:80"]
    settings = load_settings(["--cors-origins", *origins], {})
    assert settings.access.cors_origins == ("https://chat.example.com", "http://localhost:5173", "http://[::1]")
    assert load_settings([], {"TWOWIRE_CORS_ORIGINS": "*"}).access.cors_origins == ("*",)


# Who may reach the server


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_loopback_needs_no_keys(host: str) -> None:
    settings = load_settings(["--host", host], {})
    assert settings.listening.is_loopback
    assert settings.access.api_keys == ()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", "127.0.0.1.example.com", "fe80::1"])
def test_another_address_needs_keys_or_a_word_that_it_is_meant(host: str) -> None:
    message = error_of("--host", host)
    assert message == (
        f"--host: other machines can reach {host}, and no API key is set; set TWOWIRE_API_KEYS or "
        "--api-keys-file, or give --allow-unauthenticated to serve everybody"
    )
    assert error_of(TWOWIRE_HOST=host).startswith("TWOWIRE_HOST: other machines can reach")
    assert not load_settings(["--host", host], {"TWOWIRE_API_KEYS": KEY}).listening.is_loopback
    assert load_settings(["--host", host, "--allow-unauthenticated"], {}).access.api_keys == ()


def test_keys_of_the_variable_and_of_the_file_both_count(tmp_path: Path) -> None:
    path = write(tmp_path, f"\ufeff# the front end\n\n  {OTHER_KEY}  \n{KEY}\n", "keys.txt")
    settings = load_settings([*OPEN_HOST, "--api-keys-file", path], {"TWOWIRE_API_KEYS": f"{KEY}, another-key"})
    assert keys_of(settings) == [KEY, "another-key", OTHER_KEY]
    assert keys_of(load_settings(["--api-keys-file", path], {})) == [OTHER_KEY, KEY]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "this file holds no API key"),
        ("# only\n\n#comments", "this file holds no API key"),
        (f"{KEY}\n\ntwo words here", "line 3: an API key must be ASCII characters without spaces"),
        ("schlüssel-12345", "line 1: an API key must be ASCII characters without spaces"),
        ("tab\tin-the-middle", "line 1: an API key must be ASCII characters without spaces"),
        ("# short\nseven77", "line 2: an API key must have at least 8 characters"),
    ],
)
def test_a_wrong_keys_file_is_refused_without_quoting_it(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text, "keys.txt")
    assert error_of("--api-keys-file", path) == f"--api-keys-file: {message}"
    assert error_of(TWOWIRE_API_KEYS=KEY, TWOWIRE_API_KEYS_FILE=path) == f"TWOWIRE_API_KEYS_FILE: {message}"


def test_a_keys_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert error_of("--api-keys-file", str(tmp_path)) == "--api-keys-file: cannot read this file: Is a directory"
    null = write(tmp_path, 'api-keys-file = "a\\u0000b"')
    assert error_of("--config", null).startswith(f"{null}: api-keys-file: cannot read this file: ")
    (tmp_path / "keys").write_bytes(b"\xff" * 20)
    assert error_of("--api-keys-file", str(tmp_path / "keys")) == "--api-keys-file: this file is not UTF-8 text"


@pytest.mark.parametrize("value", ["", " , "])
def test_a_variable_without_a_key_in_it_is_refused(value: str) -> None:
    message = "TWOWIRE_API_KEYS: holds no key; leave it out to serve without keys"
    assert error_of(TWOWIRE_API_KEYS=value) == message
