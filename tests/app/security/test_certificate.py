"""The certificate's files: what is refused, and when a change of them counts."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from app.config.load import SettingsError, load_settings
from app.security.tls import Certificate, CertificateError, server_context
from tests.certificates import make_certificate

LIMIT_S = 5


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path)


def flags(certfile: Path, keyfile: Path) -> list[str]:
    return ["--certfile", str(certfile), "--keyfile", str(keyfile)]


def test_only_modern_ciphers_are_offered(pair: tuple[Path, Path]) -> None:
    names = {cipher["name"] for cipher in server_context(*pair).get_ciphers()}
    assert names
    assert all(name.startswith(("TLS_", "ECDHE-")) for name in names)
    assert all("GCM" in name or "CHACHA20" in name for name in names)


def test_the_key_of_another_certificate_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    _, other_key = make_certificate(tmp_path / "other")
    with pytest.raises(SettingsError, match=r"^--certfile: the key is not that of the certificate$"):
        load_settings(flags(pair[0], other_key), {})


def test_a_key_with_a_password_is_refused_without_a_question(pair: tuple[Path, Path]) -> None:
    certfile, keyfile = pair
    locked = keyfile.with_name("locked.pem")
    command = ["openssl", "pkey", "-in", str(keyfile), "-aes256", "-passout", "pass:secret", "-out", str(locked)]
    subprocess.run(command, check=True, timeout=60)
    with pytest.raises(CertificateError, match="without a password"):
        server_context(certfile, locked)


def test_what_is_no_certificate_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for certfile, reason in ((empty, "not a certificate"), (tmp_path / "none.pem", "there is no file"), (tmp_path, "")):
        with pytest.raises(SettingsError, match=f"^--certfile: .*{reason}"):
            load_settings(flags(certfile, pair[1]), {})


def test_one_file_without_the_other_is_refused(pair: tuple[Path, Path]) -> None:
    for given, missing in (("--certfile", "--keyfile"), ("--keyfile", "--certfile")):
        with pytest.raises(SettingsError, match=f"^{missing}: --certfile and --keyfile need each other"):
            load_settings([given, str(pair[0])], {})


async def test_a_change_is_noticed_and_half_a_change_waits_for_the_rest(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    certificate = Certificate(*pair)
    first = certificate._current
    new = make_certificate(tmp_path / "new")
    watch = asyncio.create_task(certificate.watch(every_s=0.001))
    shutil.copy(new[0], pair[0])

    async def until_seen() -> None:
        async with asyncio.timeout(LIMIT_S):
            while certificate._signature() != certificate._seen:  # noqa: ASYNC110  # it has no event of its own
                await asyncio.sleep(0)

    await until_seen()
    assert certificate._current is first, "the new certificate and the old key do not fit"
    shutil.copy(new[1], pair[1])
    await until_seen()
    assert certificate._current is not first
    watch.cancel()
