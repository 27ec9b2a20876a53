"""The floor in Python: vLLM's `AsyncLLM` and one reader for each stream, no server around them.

    python -m bench.bare MODEL ENGINE_ARGS_AS_JSON

Reads what to generate as lines of JSON (`{"streams": 64, "total": 128, "tokens": 128}`), and answers each with the
figures of `bench.load`. Prompts are rendered before the clock starts; what is read is thrown away.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import asdict
from typing import Any

import orjson
import uvloop

from bench.bodies import body_of
from bench.load import Load, summary
from bench.stream import Stream


async def serve(model: str, engine_args: dict[str, Any]) -> None:
    """Start the engine, say so, and do what is asked until there is no more."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    llm = AsyncLLM.from_engine_args(AsyncEngineArgs(model=model, **engine_args))
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    try:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            print(orjson.dumps(asdict(await run(llm, **orjson.loads(line)))).decode(), flush=True)
    finally:
        llm.shutdown()


async def run(llm: Any, streams: int, total: int, tokens: int, prompt: str) -> Load:
    """So many streams side by side, each followed by another until there were `total`."""
    from vllm.renderers.params import ChatParams, TokenizeParams
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    total = max(total, streams)
    conversations = [body_of(number, "-", prompt, tokens)["messages"] for number in range(total)]
    chat = ChatParams(chat_template_kwargs={"add_generation_prompt": True, "tokenize": False})
    limits = TokenizeParams(max_total_tokens=llm.model_config.max_model_len, add_special_tokens=False)
    _, prompts = await llm.renderer.render_chat_async(conversations, chat, limits)
    defaults = llm.model_config.get_diff_sampling_param() | {"max_tokens": tokens}
    sampling = SamplingParams(ignore_eos=True, output_kind=RequestOutputKind.DELTA, **defaults)
    numbers = iter(range(total))
    ended: list[Stream] = []

    async def read() -> None:
        for number in numbers:
            stream = Stream()
            # So that the first token is counted as it is where a chunk with the role comes first.
            stream.arrived(1)
            async for _ in llm.generate(prompts[number], sampling, f"{time.monotonic_ns()}-{number}"):
                stream.arrived(1)
            ended.append(stream)

    begun = time.monotonic()
    await asyncio.gather(*(read() for _ in range(streams)))
    return summary("bare", streams, tokens, ended, time.monotonic() - begun)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1], orjson.loads(sys.argv[2])))
