"""The Python programs of examples/ against the counting engine, run side by side as their README says."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.examples.commands import Ended, ended, started
from tests.live.servers.dialogue import Dialogue
from tests.live.servers.server import Server

NUMBERS = list(range(1, 61))
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
WEATHER = Dialogue(CALL, "It is sunny in Rome.")
# A dialogue comes in steps that are never merged.
COUNT = Dialogue(" ".join(map(str, NUMBERS)))

ARGUMENTS = {
    "stream.py": ["Count from 1 to 30"],
    "many_chats.py": [
        *("Count from 1 to 20", "Say: Hello there.", "Count from 5 to 9", "Count on for ever"),
        *("--cancel-after", "3", "--max-tokens", "100000000"),
    ],
    "resume.py": [f"Count. {COUNT}", "--chunks", "9"],
    "tools_loop.py": [f"What is the weather in Rome? {WEATHER}"],
    "load_test.py": ["--streams", "20", "--tokens", "30"],
}
NOBODY = "http://127.0.0.1:1"
ALONE = ("many_chats.py", "resume.py", "load_test.py")
"""Those that are also run where no server is; the others spend seconds on trying again."""


@pytest.fixture(scope="module")
def ran(fake: Server) -> Iterator[dict[str, Ended]]:
    """All programs, and what they wrote: once with a server, some also without, under `NAME alone`."""
    running = {name: started(name, *words, "--url", fake.url) for name, words in ARGUMENTS.items()}
    running |= {f"{name} alone": started(name, "--url", NOBODY) for name in ALONE}
    yield {name: ended(process) for name, process in running.items()}
    fake.wait_idle(30)
    assert not any("Traceback" in line or "connection_failed" in line for line in fake.log), "".join(fake.log[-60:])


def output_of(ran: dict[str, Ended], name: str) -> str:
    code, output = ran[name]
    assert code == 0, output
    assert "Traceback" not in output
    return output


def test_a_stream_is_printed_and_counted(ran: dict[str, Ended]) -> None:
    text, _, counted = output_of(ran, "stream.py").strip().rpartition("\n")
    assert text.split() == [str(number) for number in range(1, 31)]
    assert counted == "[3 tokens read, 30 generated]"


def test_many_chats_end_each_in_its_own_time_and_the_last_is_cancelled(ran: dict[str, Ended]) -> None:
    lines = dict(line.split(" ", 1) for line in output_of(ran, "many_chats.py").splitlines())
    assert sorted(lines) == ["[1]", "[2]", "[3]", "[4]"]
    assert lines["[1]"] == f"completed, 20 tokens: {' '.join(map(str, range(1, 21)))!r}"
    assert lines["[2]"] == "completed, 2 tokens: 'Hello there.'"
    assert lines["[3]"] == "completed, 5 tokens: '5 6 7 8 9'"
    assert lines["[4]"].startswith("cancelled, ")


def test_an_answer_goes_from_wire_to_wire_without_a_gap(ran: dict[str, Ended]) -> None:
    output = output_of(ran, "resume.py")
    connections = re.findall(r"\[connection (\d+), ([^:]+): chunks (\d+) to (\d+)\]", output)
    assert len(connections) >= 3
    wires = [name for _, name, _, _ in connections]
    assert wires == [("WebSocket", "server-sent events")[number % 2] for number in range(len(wires))]
    last = 0
    for number, (_, _, first, until) in enumerate(connections, 1):
        assert int(first) == last + 1
        last = int(until)
        assert number == len(connections) or last == 9 * number
    said = re.sub(r"\[.*?\]", " ", output)
    assert [int(number) for number in said.split()] == NUMBERS


def test_tools_are_run_on_each_api(ran: dict[str, Ended]) -> None:
    blocks = re.split(r"^(\w+):\n", output_of(ran, "tools_loop.py"), flags=re.MULTILINE)[1:]
    said = dict(zip(blocks[::2], blocks[1::2], strict=True))
    assert list(said) == ["chat", "responses", "messages"]
    for text in said.values():
        assert text == '  calls get_weather({"city": "Rome"})\n  It is sunny in Rome.\n'


def test_the_load_has_medians_for_each_wire(ran: dict[str, Ended]) -> None:
    output = output_of(ran, "load_test.py")
    assert output.startswith("20 streams of 30 tokens\n")
    rows = re.findall(r"^(HTTP|WebSocket) +([\d.]+) ms +([\d.]+) tokens/s$", output, re.MULTILINE)
    assert [name for name, _, _ in rows] == ["HTTP", "WebSocket"]
    assert all(float(first_ms) > 0 and float(pace) > 0 for _, first_ms, pace in rows)


@pytest.mark.parametrize("name", ALONE)
def test_without_a_server_a_program_says_so(ran: dict[str, Ended], name: str) -> None:
    code, output = ran[f"{name} alone"]
    assert (code, "Traceback" in output) == (1, False), output
    assert re.search(r"^error: .+", output, re.MULTILINE)
