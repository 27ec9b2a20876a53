"""Prepares recordings for Whisper: decodes them, splits them into pieces, and finds their language.

Written for vLLM 0.32, whose own serving layer for speech (`vllm.entrypoints.speech_to_text`) does the same behind its
own HTTP server. Its model class says what the model takes, and its `split_audio` finds the quiet places.
"""

from __future__ import annotations

import asyncio
import copy
import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from vllm.model_executor.model_loader import get_model_cls
from vllm.multimodal.audio import split_audio
from vllm.sampling_params import RequestOutputKind, SamplingParams

from engine.api import EngineStream, Prepared, PreparedPrompt
from engine.requests.validation import check_logprobs
from engine.speech.decoder import Decoder, Samples
from engine.speech.limits import SpeechLimits
from engine.vllm.outputs.errors import refusal
from engine.vllm.sampling import Sampler
from protocol.errors import Fault, TwowireError
from protocol.generation import GenerationRequest, Heard, SpeechPrompt

DETECTIONS = 4
"""How many requests may look for their language at a time: these computations do not queue with the others."""
UNSPACED = frozenset({"zh", "ja", "yue", "th", "lo", "my", "bo", "km"})
"""Languages that put no spaces between words."""
_TAGS = re.compile(r"<\|[^|]*\|>")

Open = Callable[[PreparedPrompt, str], Awaitable[EngineStream]]


class Speech:
    """Prepares requests for one model."""

    def __init__(self, llm: Any, limits: SpeechLimits, sampler: Sampler, open_: Open) -> None:
        """`open_` starts to generate for a prepared prompt."""
        config = llm.model_config
        self._renderer = llm.renderer
        self._class = get_model_cls(config)
        self._clips = self._class.get_speech_to_text_config(config, "transcribe")
        self._context: int = config.max_model_len
        # A copy, because the renderer uses the other one in a thread.
        self._tokenizer = copy.deepcopy(llm.get_tokenizer())
        self._sampler = sampler
        self._open = open_
        self._decoder = Decoder(limits)
        self._detections = asyncio.Semaphore(DETECTIONS)
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        self._languages: dict[str, str] = {
            code: name for code, name in self._class.supported_languages.items() if f"<|{code}|>" in vocabulary
        }
        self._vocabulary = vocabulary

    async def prepare(self, request: GenerationRequest) -> Prepared:
        """One prompt for each piece of the recording, and what was heard. Raises `TwowireError`."""
        speech = request.prompt
        assert isinstance(speech, SpeechPrompt)
        self._check_language(speech.language)
        samples = await self._decoder.decode(speech.file, int(self._clips.sample_rate))
        with samples.file:
            pieces = await asyncio.to_thread(self._pieces, samples)
            language = speech.language or await self._detected(pieces[0])
            ids = await asyncio.to_thread(self._decoder_ids, speech, language)
            inputs = [await self._render(piece, ids) for piece in pieces]
        heard_tokens = [len(one["encoder_prompt"]["prompt_token_ids"]) for one in inputs]
        lengths = [len(piece) / samples.rate for piece in pieces]
        speech.heard = Heard(
            self._languages.get(language, language),
            language not in UNSPACED or speech.task == "translate",
            samples.duration_s,
            tuple(sum(lengths[:number]) for number in range(len(lengths))),
            sum(heard_tokens),
        )
        return self._prepared(request, speech, inputs, [len(ids) + heard for heard in heard_tokens], len(ids))

    async def silence(self) -> PreparedPrompt:
        """A prompt of a second of silence that is answered with one token."""
        piece = np.zeros(int(self._clips.sample_rate), np.float32)
        ids = [self._vocabulary["<|startoftranscript|>"]]
        return PreparedPrompt(len(ids), await self._render(piece, ids), _one_token())

    def _prepared(
        self,
        request: GenerationRequest,
        speech: SpeechPrompt,
        inputs: Sequence[Any],
        counts: Sequence[int],
        decoder_tokens: int,
    ) -> Prepared:
        sampling = self._sampler.params(request, None, decoder_tokens, echo=False, keeps_tags=speech.with_times)
        check_logprobs(request, len(inputs) * (sampling.max_tokens or 0))
        prompts = tuple(PreparedPrompt(count, one, sampling) for count, one in zip(counts, inputs, strict=True))
        return Prepared(prompts, sum(counts))

    def _check_language(self, language: str | None) -> None:
        if language is None or language in self._languages:
            return
        known = ", ".join(sorted(self._languages))
        message = f"language must be one of these codes, got {language[:16]!r}: {known}."
        raise TwowireError(Fault.INVALID_VALUE, message, param="language")

    def _pieces(self, samples: Samples) -> list[Any]:
        """The recording in pieces that the model takes, cut where it is quiet. float32, 1-D."""
        whole = np.memmap(samples.file, np.float32, "r", shape=(samples.count,))
        clips = self._clips
        if samples.duration_s <= clips.max_audio_clip_s:
            return [whole]
        pieces: list[Any] = split_audio(
            whole,
            sample_rate=samples.rate,
            max_clip_duration_s=clips.max_audio_clip_s,
            overlap_duration_s=clips.overlap_chunk_second,
            min_energy_window_size=clips.min_energy_split_window_size,
        )
        return pieces

    def _decoder_ids(self, speech: SpeechPrompt, language: str) -> list[int]:
        """What the answer continues. https://github.com/openai/whisper, `DecodingTask._get_initial_tokens`"""
        time = "<|0.00|>" if speech.with_times else "<|notimestamps|>"
        ids = [
            self._vocabulary[tag] for tag in ("<|startoftranscript|>", f"<|{language}|>", f"<|{speech.task}|>", time)
        ]
        # A client's text must not hold the model's tags.
        before = _TAGS.sub(" ", speech.text).strip()
        if not before:
            return ids
        said = self._tokenizer.encode(" " + before, add_special_tokens=False)
        return [self._vocabulary["<|startofprev|>"], *said[-(self._context // 2 - 1) :], *ids]

    async def _render(self, piece: Any, decoder_ids: list[int]) -> Any:
        """The engine's input for one piece. Raises `TwowireError`."""
        sound = (np.array(piece), self._clips.sample_rate)
        prompt = {
            "encoder_prompt": {"prompt": "", "multi_modal_data": {"audio": sound}},
            "decoder_prompt": {"prompt_token_ids": decoder_ids},
        }
        try:
            (engine_input,) = await self._renderer.render_cmpl_async([prompt])
        except Exception as error:
            raise refusal(error, "file") from error
        return engine_input

    async def _detected(self, piece: Any) -> str:
        """The code of the language that is spoken in `piece`: the likeliest after the tag that begins a transcript."""
        async with self._detections:
            engine_input = await self._render(piece, [self._vocabulary["<|startoftranscript|>"]])
            codes = {self._vocabulary[f"<|{code}|>"]: code for code in self._languages}
            prompt = PreparedPrompt(1, engine_input, _one_token(list(codes)))
            stream = await self._open(prompt, f"language-{uuid.uuid4().hex}")
            try:
                text = ""
                while (deltas := await stream.next()) is not None:
                    text += "".join(delta.text for delta in deltas)
            finally:
                await stream.close()
        return text.strip().removeprefix("<|").removesuffix("|>")


def _one_token(allowed: list[int] | None = None) -> SamplingParams:
    return SamplingParams(
        max_tokens=1,
        temperature=0.0,
        allowed_token_ids=allowed,
        skip_special_tokens=False,
        output_kind=RequestOutputKind.DELTA,
    )
