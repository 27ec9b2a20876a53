"""Finds a Chromium to test the pages with, or brings one: `python -m tests.live.browser.chromium` does only that.

In this order: the system's; Debian's package, where it may be installed; Playwright's own download. WITHOUT_BROWSER
in the environment leaves the tests out that need one.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
INSTALL_LIMIT_S = 900

# Each new window loads the list of suggestions of an address bar that nobody sees: 0.6 s of a processor. The switch
# replaces Playwright's own, so these come with the features that it disables.
DISABLED = ("WebUIOmniboxPopup", "WebUIOmniboxAimPopup")
DISABLED_BY_PLAYWRIGHT = (
    *("AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades"),
    *(
        "HttpsFirstBalancedModeAutoEnable",
        "LensOverlay",
        "MediaRouter",
        "PaintHolding",
        "ThirdPartyStoragePartitioning",
    ),
    *("AvoidCorsURLLoaderRestartOnRedirect", "OptimizationHints", "NetworkTimeServiceQuerying", "AimEnabled"),
    "PreconnectToSearch",
)
FLAGS = [
    f"--disable-features={','.join((*DISABLED_BY_PLAYWRIGHT, *DISABLED))}",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The tests look at several pages at once, of which a window shows one.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
]


class NoBrowser(Exception):
    """None is there and none can be had; the text says what was tried."""


def left_out() -> bool:
    """Whether the tests that need a browser are to be skipped."""
    return bool(os.environ.get("WITHOUT_BROWSER"))


def system_browser() -> str | None:
    """The program, where the system has one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def install_package() -> bool:
    """Debian's package, for who may install one."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return all(
        subprocess.run(["apt-get", *words], env=quiet, timeout=INSTALL_LIMIT_S, check=False).returncode == 0
        for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "chromium"])
    )


def ensure_browser(own: Path) -> str:
    """The path of a Chromium, which is brought if need be; `own` is where Playwright puts its own.

    Raises `NoBrowser`.
    """
    found = system_browser() or (str(own) if own.exists() else None)
    if found is not None:
        return found
    print("there is no Chromium here; one is installed", flush=True)
    if install_package() and (found := system_browser()):
        return found
    command = [sys.executable, "-m", "playwright", "install", "--with-deps", "chromium"]
    if os.geteuid() != 0:
        command.remove("--with-deps")
    if subprocess.run(command, timeout=INSTALL_LIMIT_S, check=False).returncode == 0 and own.exists():
        return str(own)
    raise NoBrowser(
        "no Chromium was found (" + ", ".join(NAMES) + "), and neither Debian's package nor Playwright's own could be "
        "installed. Install one, or set WITHOUT_BROWSER=1 to leave these tests out."
    )


@asynccontextmanager
async def launched() -> AsyncIterator[Browser]:
    """A running Chromium, without a window."""
    async with async_playwright() as playwright:
        path = await asyncio.to_thread(ensure_browser, Path(playwright.chromium.executable_path))
        # Chromium refuses its sandbox to root.
        flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
        browser = await playwright.chromium.launch(executable_path=path, args=flags)
        try:
            yield browser
        finally:
            await browser.close()


async def main() -> int:
    """Say which browser there is, and bring one if need be."""
    if left_out():
        print("WITHOUT_BROWSER is set: the pages are not tested in a browser")
        return 0
    try:
        async with launched() as browser:
            print(f"Chromium {browser.version}")
    except NoBrowser as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
