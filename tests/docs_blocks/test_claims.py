"""What README and the comparison claim: each claim on another project has a source, each number is the measured one."""

from __future__ import annotations

import re
import tomllib

from tests.certificates import ROOT

README = (ROOT / "README.md").read_text("utf-8")
(PAGE,) = (ROOT / "docs").rglob("comparison.md")
TEXT = PAGE.read_text("utf-8")
SOURCES = dict(re.findall(r"^\[([\w-]+)\]: (https://\S+)$", TEXT, re.MULTILINE))


def rows() -> list[list[str]]:
    """The cells of the table beside other servers, without its head."""
    table = TEXT.partition("## Beside other servers")[2].partition("\n\nThe CPU time")[0]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_each_claim_on_another_server_has_its_source() -> None:
    assert re.search(r"Checked on \d+ \w+ 20\d\d", TEXT)
    assert len(rows()) > 10
    for name, ours, *others in rows():
        assert len(others) == 4, name
        assert ours, name
        for cell in others:
            cited = re.findall(r"\]\[([\w-]+)\]", cell)
            assert cell == "—" or (cited and set(cited) <= SOURCES.keys()), f"{name}: {cell}"


def test_each_source_is_cited() -> None:
    assert set(re.findall(r"\]\[([\w-]+)\]", TEXT)) == SOURCES.keys()


def test_the_figures_are_those_of_the_measurement() -> None:
    (measured,) = (ROOT / "docs").rglob("performance.md")
    table = measured.read_text("utf-8").partition("**CPU of the API server per token, in µs**")[2]
    for name, claimed in (("twowire, SSE", "0.49"), ("twowire, channel, one socket", "0.37")):
        row = re.search(rf"^\| {name} \|(.*)$", table, re.MULTILINE)
        assert row
        assert f"**{claimed}**" in row[1].split("|")[2]
        assert f"{claimed} times" in TEXT


def test_the_badges_are_true() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    oldest = project["requires-python"].removeprefix(">=")
    vllm = re.fullmatch(r"vllm==([\d.]+)\.\*", project["optional-dependencies"]["cuda"][0])
    assert vllm
    licence = project["license"].replace("-", "--")
    for page in (README, (ROOT / "README.ko.md").read_text("utf-8")):
        badges = re.findall(r"https://img\.shields\.io/badge/([\w.%-]+)-blue", page)
        assert badges == [f"license-{licence}", f"python-{oldest}%2B", f"vLLM-{vllm[1]}"]


def test_the_picture_moves_and_is_small() -> None:
    picture = ROOT / re.findall(r"!\[[^\]]*\]\((docs/[^)]+\.webp)\)", README)[0]
    data = picture.read_bytes()
    assert data[:4] == b"RIFF"
    assert b"ANIM" in data[:64]
    assert len(data) < 600_000
