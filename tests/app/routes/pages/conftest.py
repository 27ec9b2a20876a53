"""A client of the pages."""

from __future__ import annotations

import pytest
from quart.typing import TestClientProtocol

from tests.app.routes.pages.page import make_app


@pytest.fixture(scope="session")
def client() -> TestClientProtocol:
    return make_app().test_client()
