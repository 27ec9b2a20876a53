"""Fields of transcriptions that are known but not honoured."""

from __future__ import annotations

from collections.abc import Mapping

from protocol.validation.unsupported_fields import ACCEPTED, REFUSED, FieldRule, only

# https://platform.openai.com/docs/api-reference/audio/createTranscription, and vLLM 0.32's request model.
SPEECH_FIELDS: Mapping[str, FieldRule] = {
    # Long sound is always split where it is quiet.
    "chunking_strategy": only("auto"),
    "keywords": only([]),
    "languages": only([]),
    "known_speaker_names": only([]),
    "known_speaker_references": only([]),
    "user": ACCEPTED,
    # vLLM's.
    "hotwords": only(""),
    "to_language": REFUSED,
    "use_beam_search": only(False),
    "n": only(1),
    "length_penalty": only(1),
    "include_stop_str_in_output": only(False),
    "watermarking": only(False),
    "vllm_xargs": only({}),
    # The last event of a stream has the usage.
    "stream_include_usage": ACCEPTED,
    "stream_continuous_usage_stats": only(False),
    "priority": ACCEPTED,
}
