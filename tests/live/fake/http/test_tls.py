"""TLS on a real socket: which protocols come of it, for which clients, and a new certificate while streams run."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from protocol.channel.client_frames import SUBPROTOCOL
from tests.certificates import make_certificate
from tests.live.clients.raw_http2 import Http2Client
from tests.live.servers.server import MODEL, left_as_found, start_fake_server, stop_server

CHAT = "/v1/chat/completions"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}


class TlsServer:
    """A server with a certificate of its own, and what a client needs to trust it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certfile, self.keyfile = make_certificate(folder)
        self.server = start_fake_server("--certfile", str(self.certfile), "--keyfile", str(self.keyfile))
        self.server.verify = self.trust("h2")

    def trust(self, *alpn: str, certfile: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=certfile or self.certfile)
        context.set_alpn_protocols(alpn)
        return context

    def renew(self) -> ssl.SSLContext:
        """Put another certificate in the place of the first; who trusts that one alone."""
        new = make_certificate(self.folder / "new")
        for source, target in zip(new, (self.certfile, self.keyfile), strict=True):
            shutil.copy(source, target)
        return self.trust("h2")

    def hang_up(self) -> None:
        self.server.process.send_signal(signal.SIGHUP)

    def wait_log(self, event: str) -> None:
        self.server.wait_until(lambda: any(event in line for line in self.server.log), 10, f"no {event!r} in the log")


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[TlsServer]:
    tls = TlsServer(tmp_path)
    with left_as_found(tls.server):
        yield tls
    assert stop_server(tls.server) == 0
    assert not any("Traceback" in line for line in tls.server.log), "".join(tls.server.log[-40:])


def test_each_client_gets_the_protocol_that_it_offers(tls: TlsServer) -> None:
    url = tls.server.url
    assert url.startswith("https://")
    for http2, version in ((True, "HTTP/2"), (False, "HTTP/1.1")):
        with httpx.Client(http2=http2, verify=ssl.create_default_context(cafile=tls.certfile)) as client:
            answer = client.post(url + CHAT, json=BODY)
        assert (answer.http_version, answer.status_code) == (version, 200)
    address = ("127.0.0.1", tls.server.port)
    with socket.create_connection(address) as plain, tls.trust().wrap_socket(plain, server_hostname="localhost") as old:
        assert old.selected_alpn_protocol() is None
        old.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert old.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(("flag", "version"), [("--http2", "2"), ("--http1.1", "1.1")])
def test_curl_streams(tls: TlsServer, flag: str, version: str) -> None:
    url = f"https://localhost:{tls.server.port}{CHAT}"
    command = [
        "curl",
        "-sS",
        "-N",
        flag,
        "--cacert",
        str(tls.certfile),
        "--resolve",
        f"localhost:{tls.server.port}:127.0.0.1",
    ]
    body = json.dumps(BODY | {"stream": True})
    command += ["-w", "%{http_version}", "-H", "Content-Type: application/json", "-d", body, url]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert output.endswith(f"data: [DONE]\n\n{version}")


def test_a_websocket_opens_beside_http2(tls: TlsServer) -> None:
    port, trust = tls.server.port, tls.trust("http/1.1")
    plain = socket.create_connection(("127.0.0.1", port))
    subprotocols = [Subprotocol(SUBPROTOCOL)]
    with connect(f"wss://localhost:{port}{CHAT}", sock=plain, ssl=trust, subprotocols=subprotocols) as ws:
        assert "connection.ready" in str(ws.recv(timeout=10))


def test_old_protocols_and_plain_text_are_refused_and_harm_nobody(tls: TlsServer) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    address = ("127.0.0.1", tls.server.port)
    with socket.create_connection(address) as plain, pytest.raises(OSError, match=r"(?i)protocol|alert|EOF|reset"):
        old.wrap_socket(plain, server_hostname="localhost")
    with socket.create_connection(address, timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not plain.recv(65536).startswith(b"HTTP/")
    assert tls.server.is_ready()


def test_a_new_certificate_is_for_new_connections_and_drops_no_stream(tls: TlsServer) -> None:
    port = tls.server.port
    with Http2Client(port, tls=tls.trust("h2")) as client:
        stream_id = client.open(CHAT, BODY | {"max_tokens": 10**6, "stream": True})
        stream = client.streams[stream_id]
        client.read_until(lambda: stream.body, "the first chunk")
        old = tls.trust("h2")
        tls.server.verify = tls.renew()
        tls.hang_up()
        tls.wait_log("certificate_reloaded")
        assert tls.server.is_ready(), "who trusts the new certificate alone is served"
        with pytest.raises(httpx.ConnectError):
            httpx.get(tls.server.url, verify=old)
        seen = len(stream.body)
        client.read_until(lambda: len(stream.body) > seen, "the stream goes on")
        assert not stream.is_over


def test_a_wrong_certificate_is_not_taken(tls: TlsServer) -> None:
    trusted = tls.certfile.read_text()
    tls.certfile.write_text("no certificate")
    tls.hang_up()
    tls.wait_log("certificate_not_reloaded")
    assert tls.server.is_ready(), "the old one is in use still"
    tls.certfile.write_text(trusted)
