"""nginx, Caddy and HAProxy, set up as docs/deployment.md and deploy/ say: only names, ports and files are the tests'.

`python -m tests.live.servers.programs.proxies` installs the Debian packages of those that are missing, if it may.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.certificates import ROOT
from tests.live.servers.programs import redis_server

INSTALL_LIMIT_S = 600
SOON_S = 60.0
PREFIX = "/chat"

AROUND_NGINX = """
daemon off;
pid nginx.pid;
error_log stderr notice;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {recipe}
}}
"""

AROUND_CADDY = """
{{
    admin off
    auto_https off
}}
{recipe}
"""


@dataclass(frozen=True)
class Setup:
    """The server that a proxy forwards to, and the proxy's address."""

    port: int
    server: str
    certfile: Path
    keyfile: Path


@dataclass(frozen=True)
class Proxy:
    name: str
    package: str
    configuration: Callable[[Setup], str]
    command: tuple[str, ...]
    """Its arguments; its configuration is the file `configuration` in its working directory."""
    is_up: str
    """What it prints once it listens."""

    @property
    def program(self) -> str | None:
        return program_of(self.name)

    @contextmanager
    def running(self, folder: Path, setup: Setup) -> Iterator[None]:
        """The proxy, all of its files in `folder`, once it listens."""
        assert self.program is not None
        (folder / "configuration").write_text(self.configuration(setup))
        log = folder / "log"
        kept = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        with log.open("w") as out:
            process = subprocess.Popen([self.program, *self.command], cwd=folder, env=kept, stdout=out, stderr=out)
        try:
            deadline = time.monotonic() + SOON_S
            while self.is_up not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)  # Between two questions, not in place of one.
            yield
        finally:
            process.terminate()
            process.wait(SOON_S)


def program_of(name: str) -> str | None:
    """Where a program is. Debian installs some where only root looks for programs."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def recipes(language: str) -> list[str]:
    """The configurations for one program that the documentation shows: a whole one, and what puts it below a path."""
    text = (ROOT / "docs" / "deployment.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def replaced(text: str, **changes: str) -> str:
    """`text` with other values; each directive must be there once."""
    for directive, value in changes.items():
        (shown,) = re.findall(rf"\b{directive} [^;]+;", text)
        text = text.replace(shown, f"{directive} {value};")
    return text


def nginx_configuration(setup: Setup) -> str:
    whole, below_path = recipes("nginx")
    text = replaced(
        whole,
        listen=f"127.0.0.1:{setup.port} ssl http2 reuseport",
        server_name="localhost",
        ssl_certificate=str(setup.certfile),
        ssl_certificate_key=str(setup.keyfile),
        proxy_pass=setup.server,
    )
    place = "location / {"
    assert place in text
    text = text.replace(place, f"{replaced(below_path, proxy_pass=f'{setup.server}/')}\n{place}")
    # Its workers must reach the folder, which is the user's alone.
    return AROUND_NGINX.format(user="user root;" if os.geteuid() == 0 else "", recipe=text)


def caddy_configuration(setup: Setup) -> str:
    whole, below_path = recipes("caddy")
    address, upstream = "chat.example.com {", "127.0.0.1:8000"
    assert address in whole
    assert upstream in whole
    assert upstream in below_path
    place = "    reverse_proxy"
    text = whole.replace(place, f"{below_path}\n{place}", 1).replace(upstream, setup.server.removeprefix("http://"))
    tls = f"https://localhost:{setup.port} {{\n    bind 127.0.0.1\n    tls {setup.certfile} {setup.keyfile}"
    return AROUND_CADDY.format(recipe=text.replace(address, tls))


NGINX = Proxy("nginx", "nginx-light", nginx_configuration, ("-p", ".", "-c", "configuration"), "start worker process")
CADDY = Proxy(
    "caddy",
    "caddy",
    caddy_configuration,
    ("run", "--config", "configuration", "--adapter", "caddyfile"),
    "serving initial configuration",
)
PROXIES = (NGINX, CADDY)
"""Those that docs/deployment.md puts before one server."""


def for_servers(file: str, servers: Sequence[str], changes: Mapping[str, str]) -> str:
    """A configuration of deploy/ for these servers; each thing that is changed must be there once."""
    text = (ROOT / "deploy" / file).read_text()
    addresses = re.findall(r"\b(?:10\.0\.0\.\d|one|two):8000\b", text)
    for shown, used in {**changes, **dict(zip(addresses, servers, strict=True))}.items():
        assert text.count(shown) == 1, shown
        text = text.replace(shown, used)
    return text


def nginx_before(servers: Sequence[str]) -> Proxy:
    """nginx with deploy/nginx.conf, but the servers take turns."""

    def configuration(setup: Setup) -> str:
        listen = f"listen 127.0.0.1:{setup.port} reuseport;"
        text = for_servers("nginx.conf", servers, {"listen 80;": listen, "hash $remote_addr consistent;": ""})
        return AROUND_NGINX.format(user="user root;" if os.geteuid() == 0 else "", recipe=text)

    return replace(NGINX, configuration=configuration)


def haproxy_before(servers: Sequence[str]) -> Proxy:
    """HAProxy with deploy/haproxy.cfg, but the servers take turns. It is up when it has checked the last of two."""

    def configuration(setup: Setup) -> str:
        changes = {"bind :80\n": f"bind 127.0.0.1:{setup.port}\n", "balance source": "balance roundrobin"}
        return for_servers("haproxy.cfg", servers, changes)

    return replace(HAPROXY, configuration=configuration)


def caddy_before(servers: Sequence[str]) -> Proxy:
    """Caddy with deploy/Caddyfile, but the servers take turns, and there is no certificate."""

    def configuration(setup: Setup) -> str:
        address = f"http://:{setup.port} {{\n    bind 127.0.0.1"
        changes = {"chat.example.com {": address, "lb_policy ip_hash": "lb_policy round_robin"}
        return AROUND_CADDY.format(recipe=for_servers("Caddyfile", servers, changes))

    return replace(CADDY, configuration=configuration)


HAPROXY = Proxy(
    "haproxy",
    "haproxy",
    lambda setup: "",
    ("-db", "-f", "configuration"),
    "Health check for server servers/two succeeded",
)


PROGRAMS = {proxy.package: proxy.name for proxy in (*PROXIES, HAPROXY)} | {redis_server.PACKAGE: redis_server.PACKAGE}
"""The programs that tests start, by their Debian packages."""


def main() -> None:
    """Install what is missing."""
    missing = [package for package, name in PROGRAMS.items() if program_of(name) is None]
    # With systemd the packages would start their services.
    has_systemd = Path("/run/systemd/system").is_dir()
    if missing and os.geteuid() == 0 and shutil.which("apt-get") is not None and not has_systemd:
        # Debian starts no services in runlevel 1 (invoke-rc.d).
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *missing]):
            try:
                subprocess.run(
                    ["apt-get", *words], env=quiet, timeout=INSTALL_LIMIT_S, check=False, stdout=subprocess.DEVNULL
                )
            except subprocess.TimeoutExpired:
                print(f"apt-get {words[0]} took longer than {INSTALL_LIMIT_S} s")
    for package, name in PROGRAMS.items():
        if program_of(name) is None:
            print(f"{name} is not there: its tests are skipped; on Debian: apt-get install {package}")


if __name__ == "__main__":
    main()
