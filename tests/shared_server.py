"""The fixture `server`. A test file that wants it says `pytest_plugins = ("shared_server",)`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from aisp_runner.forkserver import ForkServer


@pytest.fixture(scope="session")
def server() -> Iterator[ForkServer]:
    """One fork server for all tests, since starting one takes over a second; its judge has a secret in its environment."""
    os.environ["SECRET_OF_THE_JUDGE"] = "dolphin"
    with ForkServer(cuda=False) as started:
        del os.environ["SECRET_OF_THE_JUDGE"]
        yield started
