"""The OpenAPI document: valid, and true to the app that serves it. On a fake engine that never starts."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import orjson
import pytest
from openapi_spec_validator import validate
from quart import Quart

from app.config.load import load_settings
from app.factory import create_app
from app.middleware.checks import PUBLIC_ENDPOINTS
from app.openapi.document import openapi_document
from app.openapi.errors import ON_THE_CHANNEL, error_table
from app.server.wiring import make_services
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from protocol.chat.request import ChatCompletionRequest
from protocol.completions.request import CompletionRequest
from protocol.embeddings.embed import EmbeddingRequest
from protocol.embeddings.rerank import RerankRequest
from protocol.errors import Fault
from protocol.validation.parse import parse_request
from protocol.validation.request import RequestModel
from tests.engine.fakes import FakeFactory

KEY = "a-key-for-tests-0123456789"
GENERATION: dict[str, type[RequestModel]] = {
    "/v1/chat/completions": ChatCompletionRequest,
    "/v1/completions": CompletionRequest,
}
WITH_BODIES = GENERATION | {"/v1/embeddings": EmbeddingRequest, "/v1/rerank": RerankRequest}


def make_app(*argv: str, **environ: str) -> Quart:
    manager = EngineManager(FakeFactory(), AdmissionLimits(1, 1))
    return create_app(make_services(load_settings(argv, environ), manager))


def document(*, keys_required: bool = True, public_metrics: bool = False) -> dict[str, Any]:
    return openapi_document(version="1.2.3", model="guide", keys_required=keys_required, public_metrics=public_metrics)


def operations(openapi: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, item in openapi["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


def nameless(path: str) -> str:
    """A path whose variables have lost their names: Werkzeug's `<path:name>` and OpenAPI's `{model}` are one."""
    return re.sub(r"<[^>]+>|\{[^}]+\}", "{}", path)


def routes_of(app: Quart) -> dict[tuple[str, str], str]:
    """(method, path) to endpoint, without the methods that the framework adds to every route."""
    return {
        (method, nameless(rule.rule)): rule.endpoint
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


@pytest.mark.parametrize("keys_required", [True, False])
def test_the_document_is_valid(keys_required: bool) -> None:
    validate(document(keys_required=keys_required))


async def test_the_app_serves_the_document() -> None:
    answer = await make_app("--served-model-name", "my-model").test_client().get("/openapi.json")
    assert answer.status_code == 200
    assert answer.mimetype == "application/json"
    served = orjson.loads(await answer.get_data(as_text=False))
    validate(served)
    assert "my-model" in orjson.dumps(served["paths"]).decode()


async def test_the_document_keeps_the_models_names_where_a_key_guards_them() -> None:
    app = make_app("--served-model-name", "my-model", TWOWIRE_API_KEYS=KEY)
    served = await (await app.test_client().get("/openapi.json")).get_data(as_text=True)
    assert "my-model" not in served


def test_every_route_is_described_and_nothing_else_is() -> None:
    described = {(method, nameless(path)) for method, path in operations(document())}
    assert described == set(routes_of(make_app()))


@pytest.mark.parametrize("metrics_flag", [(), ("--public-metrics",)])
async def test_a_route_is_marked_exactly_where_it_asks_for_a_key(metrics_flag: tuple[str, ...]) -> None:
    app = make_app(*metrics_flag, TWOWIRE_API_KEYS=KEY)
    client = app.test_client()
    for (method, path), operation in operations(document(public_metrics=bool(metrics_flag))).items():
        ask = client.post if method == "POST" else client.get
        answer = await ask(re.sub(r"\{[^}]+\}", "x", path))
        assert operation["security"] == ([{"bearerAuth": []}] if answer.status_code == 401 else []), path
        assert ("401" in operation["responses"]) is (answer.status_code == 401), path


def test_the_marks_agree_with_the_list_of_public_endpoints() -> None:
    endpoints = routes_of(make_app())
    public = {
        endpoints[method, nameless(path)]
        for (method, path), operation in operations(document()).items()
        if not operation["security"]
    }
    assert public == PUBLIC_ENDPOINTS


def test_no_route_is_marked_where_no_key_is_set() -> None:
    assert all(operation["security"] == [] for operation in operations(document(keys_required=False)).values())


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name)
def test_every_error_is_documented_with_its_status(fault: Fault) -> None:
    openapi = document()
    assert f"| {fault.status} | `{fault.code}` | `{fault.error_type}` |" in openapi["info"]["description"]
    if fault in ON_THE_CHANNEL:
        return  # No HTTP answer's, but a frame's.
    answers = [operation["responses"].get(str(fault.status)) for operation in operations(openapi).values()]
    assert any(answer and f"`{fault.code}`" in answer["description"] for answer in answers)


def test_the_error_table_has_a_row_for_each_error_and_no_other() -> None:
    assert len(error_table().splitlines()) == len(Fault) + 2


def test_answers_that_may_be_retried_say_when_and_refused_ones_say_how() -> None:
    responses = operations(document())["POST", "/v1/chat/completions"]["responses"]
    assert "Retry-After" in responses["503"]["headers"]
    assert "WWW-Authenticate" in responses["401"]["headers"]
    every = [answer for one in operations(document()).values() for answer in one["responses"].values()]
    assert all("X-Request-Id" in answer["headers"] for answer in every)


@pytest.mark.parametrize("path", WITH_BODIES)
def test_the_examples_of_requests_are_accepted_ones(path: str) -> None:
    content = operations(document())["POST", path]["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        assert not parse_request(WITH_BODIES[path], orjson.dumps(example["value"])).unknown_fields


@pytest.mark.parametrize("path", WITH_BODIES)
def test_the_examples_of_answers_fit_their_schemas(path: str) -> None:
    openapi = document()
    content = operations(openapi)["POST", path]["responses"]["200"]["content"]
    check(openapi, content["application/json"]["schema"], content["application/json"]["example"])
    if path not in GENERATION:
        return  # There is no stream of vectors.
    stream = content["text/event-stream"]
    events = [event.removeprefix("data: ") for event in stream["example"].split("\n\n") if event]
    assert events[-1] == "[DONE]"
    for event in events[:-1]:
        check(openapi, stream["x-event-data"], orjson.loads(event))


@pytest.mark.parametrize("path", ["/health", "/livez", "/v1/models", "/v1/models/guide"])
async def test_what_is_answered_is_what_is_documented(path: str) -> None:
    openapi = document()
    answer = await make_app("--served-model-name", "guide").test_client().get(path)
    body = orjson.loads(await answer.get_data(as_text=False))
    responses = operations(openapi)["GET", path.replace("/guide", "/{model}")]["responses"]
    schema = responses[str(answer.status_code)]["content"]["application/json"]["schema"]
    check(openapi, schema, body)
    named = openapi["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], schema)
    assert set(body) <= set(named["properties"]), "members that are not documented"


def check(openapi: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    # `components` stands beside the schema's own keywords, so that its references lead there.
    jsonschema.Draft202012Validator({**schema, "components": openapi["components"]}).validate(value)
