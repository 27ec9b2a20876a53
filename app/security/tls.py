"""The TLS certificate: contexts made from two files, and reloaded while the server runs."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: only with forward secrecy and authenticated encryption. All of TLS 1.3's have both, and are fixed."""

ALPN = ("h2", "http/1.1")
LOOK_EVERY_S = 10.0
"""How often the files are checked for changes."""


class CertificateError(Exception):
    """The files cannot be used. The text says why, and never quotes them."""


def server_context(certfile: Path, keyfile: Path) -> ssl.SSLContext:
    """A context for HTTP/2 and HTTP/1.1 (RFC 9113, section 9.2). Raises `CertificateError`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(ALPN)
    try:
        # With a password given, even a useless one, an encrypted key is an error, not a prompt on the terminal.
        context.load_cert_chain(certfile, keyfile, password="")
    except FileNotFoundError:
        missing = certfile if not certfile.exists() else keyfile
        raise CertificateError(f"there is no file {str(missing)!r}") from None
    except ssl.SSLError as error:
        reason = {"KEY_VALUES_MISMATCH": "the key is not that of the certificate"}.get(error.reason or "")
        reason = reason or f"not a certificate and its key, in PEM and without a password ({error.reason or 'SSL'})"
        raise CertificateError(reason) from None
    except (OSError, ValueError) as error:
        raise CertificateError(f"cannot read the files: {getattr(error, 'strerror', None) or error}") from None
    return context


class Certificate:
    """The certificate of a server. Listen with `context`, which gives each handshake the current certificate."""

    def __init__(self, certfile: Path, keyfile: Path) -> None:
        self._files = (certfile, keyfile)
        self._seen = self._signature()
        self._current = server_context(certfile, keyfile)
        self.context = server_context(certfile, keyfile)
        # Called for each ClientHello, with a server name or without (OpenSSL's servername callback).
        self.context.sni_callback = self._choose

    def _choose(self, handshake: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        handshake.context = self._current

    def _signature(self) -> list[tuple[int, int, int] | None]:
        """A value that changes with the files, or with a link to another folder."""
        signature: list[tuple[int, int, int] | None] = []
        for path in self._files:
            try:
                found = path.stat()
                signature.append((found.st_ino, found.st_mtime_ns, found.st_size))
            except OSError:
                signature.append(None)
        return signature

    def reload(self) -> None:
        """Use the files' current content for new connections. An invalid pair changes nothing."""
        self._seen = self._signature()
        try:
            self._current = server_context(*self._files)
        except CertificateError as error:
            log.error("certificate_not_reloaded", reason=str(error))
        else:
            log.info("certificate_reloaded")

    async def watch(self, every_s: float = LOOK_EVERY_S) -> None:
        """Reload whenever the files have changed, until cancelled. An incomplete pair is retried at the next change."""
        while True:
            await asyncio.sleep(every_s)
            if self._signature() != self._seen:
                self.reload()
