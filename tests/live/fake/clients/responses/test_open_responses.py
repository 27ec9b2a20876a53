"""The cases of `llm-comply` for Open Responses, with answers that are scripted where the model must choose a call."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import llm_comply
import pytest
from llm_comply import config, result, runner, schema, test_case
from llm_comply.tests import get_tests

from tests.live.servers.dialogue import Dialogue
from tests.live.servers.server import MODEL, Server

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"location": "San Francisco"}}\n</tool_call>'
SPECIFICATION = Path(llm_comply.__file__).parent / "specs" / "openresponses.json"
# The model of these servers reads text only.
CASES = [case for case in get_tests("open-responses") if case.id != "image-input"]


def scripted(case: test_case.TestCase) -> test_case.TestCase:
    """`case`, whose requests say what the model is to answer."""

    def build(asked: config.ComplianceConfig) -> dict[str, Any]:
        body: dict[str, Any] = case.build_request(asked)
        if isinstance(body.get("input"), list):
            script = Dialogue(*([CALL] if "tools" in body else ["Four of them."] * 3))
            body["input"] = [{"role": "developer", "content": str(script)}, *body["input"]]
        return body

    return dataclasses.replace(case, build_request=build)


# It uses an older jsonschema API.
@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_case_passes(case: test_case.TestCase, server: Server) -> None:
    asked = config.ComplianceConfig(base_url=f"{server.url}/v1", api_key="unused", model=MODEL, verbose=True)
    outcome = runner.TestRunner(asked, [], schema.SpecLoader(str(SPECIFICATION))).run_one(scripted(case))
    if outcome.status is result.TestStatus.SKIPPED:
        pytest.skip("; ".join(outcome.errors))
    assert outcome.status is result.TestStatus.PASSED, outcome
