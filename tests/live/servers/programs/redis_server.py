"""A real Redis or Valkey server, on a Unix socket or a port, with nothing on disk."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SOON_S = 60.0
PACKAGE = "redis-server"
PROGRAM = shutil.which(PACKAGE) or shutil.which("valkey-server")
MISSING = f"{PACKAGE} is not installed; on Debian: apt-get install {PACKAGE}"


@dataclass
class RedisServer:
    """A Redis server that can be killed and started again, empty, at the same address."""

    folder: Path
    port: int = 0
    """0 for the Unix socket alone."""
    password: str = ""
    certificate: tuple[Path, Path] | None = None
    """A certificate and its key: the port then speaks TLS."""
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        if self.certificate is not None:
            return f"rediss://localhost:{self.port}"
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.folder}/redis.sock"

    def start(self) -> None:
        assert PROGRAM is not None
        command = [PROGRAM, "--bind", "127.0.0.1", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "no"]
        if self.certificate is None:
            command += ["--port", str(self.port)]
        else:
            certfile, keyfile = map(str, self.certificate)
            command += ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            command += ["--tls-cert-file", certfile, "--tls-key-file", keyfile, "--tls-ca-cert-file", certfile]
        if self.password:
            command += ["--requirepass", self.password]
        log = self.folder / "redis.log"
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=out, stderr=out)
        deadline = time.monotonic() + SOON_S
        while not self._answers():
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)  # Between two questions, not in place of one.

    def _answers(self) -> bool:
        path = os.path.relpath(self.folder / "redis.sock")  # Shorter than the limit on such paths.
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(SOON_S)
                connection.connect(path)
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(SOON_S)
            self.process = None


@contextmanager
def redis_server(
    folder: Path, *, port: int = 0, password: str = "", certificate: tuple[Path, Path] | None = None
) -> Iterator[RedisServer]:
    """A running server until the end of the block; `PROGRAM` must be there."""
    server = RedisServer(folder, port, password, certificate)
    server.start()
    try:
        yield server
    finally:
        server.kill()
