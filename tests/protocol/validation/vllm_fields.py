"""The fields of vLLM 0.32's requests at their defaults, which some of its clients spell out. `...`: it has none.

`tests/protocol/validation/test_vllm_fields.py` holds this against vLLM's source.
"""

from __future__ import annotations

from typing import Any

_BOTH: dict[str, Any] = {
    "allowed_token_ids": None,
    "bad_words": [],
    "cache_salt": None,
    "ec_transfer_params": None,
    "frequency_penalty": None,
    "ignore_eos": False,
    "include_stop_str_in_output": False,
    "kv_transfer_params": None,
    "length_penalty": 1.0,
    "logit_bias": None,
    "logprob_token_ids": None,
    "min_p": None,
    "min_tokens": 0,
    "mm_payload": "tensors",
    "model": None,
    "n": 1,
    "presence_penalty": None,
    "priority": 0,
    "prompt_logprobs": None,
    "repetition_detection": None,
    "repetition_penalty": None,
    "request_id": "8bfde9244e509c2e",
    "response_format": None,
    "return_mm_kwargs": None,
    "return_token_ids": None,
    "return_token_offsets": False,
    "return_tokens_as_token_ids": None,
    "routed_experts_prompt_start": 0,
    "seed": None,
    "session_id": None,
    "skip_special_tokens": True,
    "spaces_between_special_tokens": True,
    "stop": [],
    "stop_token_ids": [],
    "stream": False,
    "stream_interval": None,
    "stream_options": None,
    "structured_outputs": None,
    "temperature": None,
    "thinking_token_budget": None,
    "top_k": None,
    "top_p": None,
    "truncate_prompt_tokens": None,
    "truncation_side": None,
    "use_beam_search": False,
    "user": None,
    "vllm_xargs": None,
    "watermarking": None,
}

CHAT: dict[str, Any] = {
    **_BOTH,
    "messages": ...,
    "add_generation_prompt": True,
    "add_special_tokens": False,
    "chat_template": None,
    "chat_template_kwargs": None,
    "continue_final_message": False,
    "documents": None,
    "echo": False,
    "include_reasoning": True,
    "logprobs": False,
    "max_completion_tokens": None,
    "max_tokens": None,
    "media_io_kwargs": None,
    "mm_processor_kwargs": None,
    "parallel_tool_calls": True,
    "reasoning_effort": None,
    "return_prompt_text": None,
    "tool_choice": "none",
    "tools": None,
    "top_logprobs": 0,
}

COMPLETION: dict[str, Any] = {
    **_BOTH,
    "add_special_tokens": True,
    "echo": False,
    "logprobs": None,
    "max_tokens": 16,
    "prompt": None,
    "prompt_embeds": None,
    "suffix": None,
}

SAMPLING: dict[str, Any] = {
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
}
"""What vLLM puts in place of null: `_DEFAULT_SAMPLING_PARAMS`."""

HARMLESS: dict[str, list[Any]] = {
    "watermarking": [False],
    "return_token_ids": [False],
    "return_tokens_as_token_ids": [False],
    "return_mm_kwargs": [False],
    "thinking_token_budget": [-1],
    "top_logprobs": [0],
    "logprob_token_ids": [[]],
    "vllm_xargs": [{}],
    "kv_transfer_params": [{}],
    "ec_transfer_params": [{}],
    "top_k": [-1, 0.0],
    "length_penalty": [1],
    "logit_bias": [{}],
    "response_format": [{"type": "text"}],
    "stop": [None],
    "n": [1.0, None],
    "min_tokens": [0.0],
}
"""Other spellings of «as it is anyway», for both routes."""
