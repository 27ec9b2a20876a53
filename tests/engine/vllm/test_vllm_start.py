"""What of vLLM's configuration is ours to decide."""

from __future__ import annotations

import pytest

from engine.vllm.launch import structured_outputs_config


def test_schemas_are_always_followed_by_the_same_grammar_engine() -> None:
    for given in (None, {}, {"backend": "guidance"}, {"enable_in_reasoning": True}):
        config = structured_outputs_config(given)
        assert (config.backend, config.disable_any_whitespace) == ("guidance", True)
    assert structured_outputs_config({"enable_in_reasoning": True}).enable_in_reasoning


@pytest.mark.parametrize("given", [{"backend": "auto"}, {"backend": "xgrammar"}, {"disable_any_whitespace": False}, []])
def test_another_grammar_engine_stops_the_start(given: object) -> None:
    with pytest.raises(ValueError, match="structured_outputs_config"):
        structured_outputs_config(given)
