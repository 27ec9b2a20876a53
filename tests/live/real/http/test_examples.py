"""Two programs of examples/ with the guide, their commands as they are."""

from __future__ import annotations

from tests.examples.commands import ended, started
from tests.live.servers.server import Server


def test_the_first_programs_do_what_the_readme_says(server: Server) -> None:
    stream = ended(started("stream.py", "--url", server.url))
    # The chat that is cancelled must not end by itself before, on a busy machine either.
    chats = ended(started("many_chats.py", "--url", server.url, "--max-tokens", "1500", "--temperature", "0"))
    assert stream.code == 0, stream.output
    assert "--model" in stream.output
    assert stream.output.endswith(" generated]\n")
    assert chats.code == 0, chats.output
    lines = sorted(chats.output.splitlines())
    assert [line.split(",")[0] for line in lines] == [
        *("[1] completed", "[2] completed", "[3] completed", "[4] cancelled")
    ]
    assert "17 18 19 20" in lines[0].replace(",", "")
