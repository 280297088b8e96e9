"""The fixture `server`. A test file that wants it says `pytest_plugins = ("shared_server",)`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aisp_runner.forkserver import ForkServer


@pytest.fixture(scope="session")
def server() -> Iterator[ForkServer]:
    """One fork server for all tests: starting one takes over a second."""
    with ForkServer(cuda=False) as started:
        yield started
