"""The documents say what is: links, commands, options, fields, errors and examples are held against the code."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from app.config.load import SettingsError, load_settings
from app.config.options import NO_FLAG, OPTIONS, REMOVED, RENAMED, flag_name, variable_name
from app.openapi.errors import error_table
from bench import load, requests, run
from bench.embeddings import __main__ as embeddings
from bench.wires import ray
from protocol.chat.request import ChatCompletionRequest
from protocol.completions.request import CompletionRequest
from protocol.embeddings.embed import EmbeddingRequest
from protocol.embeddings.rerank import RerankRequest
from protocol.embeddings.score import ScoreRequest
from protocol.errors import Fault
from protocol.validation.request import RequestModel
from tests.fuzz import __main__ as fuzz

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
NOT_WRITTEN_HERE = {"node_modules", "vendor", "build", "dist", "site"}
HTTP = ROOT / "docs" / "http.md"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
# The target may hold one level of parentheses; an image is a link, too.
LINK = re.compile(r"\[[^\]]*\]\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)\)")
MAKE = re.compile(r"(?<![\w/.-])make((?: +[\w.-]+)*)")
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
VARIABLE = re.compile(r"\bTWOWIRE_[A-Z0-9_]*[A-Z0-9]\b")

FOREIGN = {"curl", "npm", "pip", "hypercorn", "pytest", "openssl", "git", "uv", "docker", "systemctl", "vllm", "ray"}
"""Programs whose options are not ours to check."""

NOT_OURS = {"TWOWIRE_SERVICE_HOST"}
"""A variable that Kubernetes sets: named in a document as one that the server refuses."""


class Code(NamedTuple):
    """A piece of code in a document; `language` is empty for a span in a line."""

    language: str
    text: str


def codes(text: str) -> list[Code]:
    """The fences of a document, then the spans outside of them."""
    fences = [Code(match[1], match[2]) for match in FENCE.finditer(text)]
    return fences + [Code("", match[1]) for match in SPAN.finditer(FENCE.sub("", text))]


def commands(text: str) -> Iterator[str]:
    """Each command in a document's code, on one line: of fences only those that hold commands."""
    for code in codes(text):
        if code.language in ("", "bash"):
            yield from code.text.replace("\\\n", " ").splitlines()


def program(command: str) -> str:
    """The program that a command calls: `pip` for `A=1 gpu-env/bin/pip install x`."""
    words = [word for word in command.split() if not re.match(r"[A-Z_]+=", word)]
    return words[0].rpartition("/")[2] if words else ""


def anchors(document: Path) -> set[str]:
    """The names that links can give to the document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def all_markdown(folder: Path = ROOT) -> Iterator[Path]:
    """Every Markdown file of the repository, but for the template of the guide's README."""
    for path in sorted(folder.iterdir()):
        if path.suffix == ".md" and path != ROOT / "training" / "card.md":
            yield path
        elif path.is_dir() and _is_ours(path):
            yield from all_markdown(path)


def _is_ours(folder: Path) -> bool:
    is_hidden = folder.name[0] == "." and folder.name != ".github"
    return folder.name not in NOT_WRITTEN_HERE and not is_hidden and not (folder / "pyvenv.cfg").exists()


def our_flags() -> set[str]:
    """Every flag of `twowire serve`."""
    flags = {"--help"}
    for name, option in OPTIONS.items():
        if name not in NO_FLAG:
            flags.add(flag_name(name))
            if option.kind is bool:
                flags.add(f"--no-{flag_name(name)[2:]}")
    return flags


def bench_flags() -> set[str]:
    """Every flag of the measurements, and of the fuzz job."""
    parsers = (embeddings.parser(), load.parser(), ray.parser(), requests.parser(), run.parser(), fuzz.parser())
    return {flag for parser in parsers for flag in parser._option_string_actions}


@pytest.fixture(params=DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def document(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def text(document: Path) -> str:
    return document.read_text("utf-8")


def dead_links(document: Path) -> list[str]:
    """The links of a document whose file or heading is not there."""
    dead = []
    for target in LINK.findall(FENCE.sub("", document.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            dead.append(f"{document}: {target}")
    return dead


def test_links_lead_somewhere() -> None:
    documents = list(all_markdown())
    assert {*DOCUMENTS, ROOT / "training" / "README.md"} <= {*documents}
    assert [dead for document in documents for dead in dead_links(document)] == []


def test_the_site_shows_every_document() -> None:
    shown = set(re.findall(r": ([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE))
    written = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert written == {page for page in shown if not page.startswith("project/")}, "correct `nav` in mkdocs.yml"


def test_make_targets_exist(text: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {
        word
        for command in commands(text)
        if program(command) == "make"
        for words in MAKE.findall(command)
        for word in words.split()[:1]
        if not re.match(r"[A-Z]", word)
    }
    assert named <= targets


def test_flags_exist(text: str) -> None:
    named = {flag for command in commands(text) if program(command) not in FOREIGN for flag in FLAG.findall(command)}
    assert named <= our_flags() | bench_flags() | {flag_name(old) for old in RENAMED | REMOVED}


def test_only_the_changelog_names_options_by_their_old_names(document: Path, text: str) -> None:
    if document.name != "CHANGELOG.md":
        assert not {flag_name(old) for old in RENAMED | REMOVED} & set(FLAG.findall(text))


def test_variables_exist(text: str) -> None:
    assert set(VARIABLE.findall(text)) - NOT_OURS <= {variable_name(name) for name in OPTIONS}


def variables(command: str) -> dict[str, str]:
    """What a command sets of our variables, files and folders aside, which need not be there."""
    found = dict(re.findall(r"(?<!\S)(TWOWIRE_[A-Z0-9_]+)=(\S+)", command))
    return {name: value for name, value in found.items() if "/" not in value and "…" not in value}


def test_values_of_variables_are_taken(text: str) -> None:
    for command in commands(text):
        if given := variables(command):
            load_settings([], given)


def test_examples_can_be_parsed(document: Path, text: str) -> None:
    for language, code in codes(text):
        match language:
            case "python":
                compile(code, document.name, "exec")
            case "json":
                json.loads(code)
            case "toml":
                tomllib.loads(code)


def test_bodies_in_commands_are_json(text: str) -> None:
    for code in codes(text):
        if code.language == "bash":
            for body in re.findall(r"-d '([^']*)'", code.text):
                json.loads(body)


def test_the_errors_are_those_of_the_code() -> None:
    text = HTTP.read_text("utf-8")
    shown = text.partition("<!-- errors:begin -->\n")[2].partition("\n<!-- errors:end -->")[0]
    assert shown == error_table(), "put this between the markers of docs/http.md:\n" + error_table()


def test_each_error_has_its_remedy() -> None:
    table = (ROOT / "docs" / "guides" / "troubleshooting.md").read_text("utf-8")
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `") and "`code`" not in line]
    named = [code for row in rows for code in SPAN.findall(row)]
    assert sorted(named) == sorted({fault.code for fault in Fault})


@pytest.mark.parametrize(
    "model", [ChatCompletionRequest, CompletionRequest, EmbeddingRequest, RerankRequest, ScoreRequest]
)
def test_every_field_is_documented(model: type[RequestModel]) -> None:
    spans = {code.text for code in codes(HTTP.read_text("utf-8")) if not code.language}
    assert not (model.model_fields.keys() | model.field_rules.keys()) - spans


def test_the_checks_find_what_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.md"
    wrong.write_text(
        "[a](gone.md) `make nothing` `--no-such-flag` `TWOWIRE_NOTHING` `TWOWIRE_API_KEYS=short`\n\n"
        "```python\nif\n```\n",
        "utf-8",
    )
    text = wrong.read_text("utf-8")
    for check in (test_make_targets_exist, test_flags_exist, test_variables_exist):
        with pytest.raises(AssertionError):
            check(text)
    with pytest.raises(SettingsError, match="at least 8 characters"):
        test_values_of_variables_are_taken(text)
    assert dead_links(wrong) == [f"{wrong}: gone.md"]
    with pytest.raises(SyntaxError):
        test_examples_can_be_parsed(wrong, text)
