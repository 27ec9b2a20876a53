"""LlamaIndex's function agent."""

from __future__ import annotations

import pytest

from tests.live.servers.dialogue import Dialogue
from tests.live.servers.server import MODEL, Server

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'


async def test_an_agent_runs_its_tool(server: Server) -> None:
    reason = (
        "it needs another setuptools than vLLM: pip install llama-index-llms-openai-like in an environment of its own"
    )
    openai_like = pytest.importorskip("llama_index.llms.openai_like", reason=reason)
    workflow = pytest.importorskip("llama_index.core.agent.workflow", reason=reason)

    def get_weather(city: str) -> str:
        """Get the weather in a city."""
        return f"sunny in {city}"

    llm = openai_like.OpenAILike(
        MODEL, api_base=f"{server.url}/v1", api_key="unused", is_chat_model=True, is_function_calling_model=True
    )
    agent = workflow.FunctionAgent(tools=[get_weather], llm=llm, system_prompt="Be short.")
    ended = await agent.run(f"How is the weather? {Dialogue(CALL, 'It is sunny.')}")
    assert str(ended) == "It is sunny."
    assert [str(call.tool_output) for call in ended.tool_calls] == ["sunny in Rome"]
