"""The exception tree and the suggestions for misspelt words."""

from __future__ import annotations

import pytest

from aisp_runner import errors
from aisp_runner.errors import AispError, WorkerFault, did_you_mean

NAMES = ("ConfigError", "BuildError", "WorkerFault", "DeviceError", "HostError", "LaneError", "DiskError", "ProtocolError")


@pytest.mark.parametrize("name", NAMES)
def test_every_exception_is_an_aisp_error_and_is_drawn_in_the_tree(name: str) -> None:
    assert issubclass(getattr(errors, name), AispError)
    assert name in (errors.__doc__ or "")


def test_a_worker_fault_says_whose_and_what_kind() -> None:
    fault = WorkerFault("candidate", "hung", "candidate fast did not finish")
    assert (fault.arm, fault.kind, str(fault)) == ("candidate", "hung", "candidate fast did not finish")


def test_a_near_word_is_suggested() -> None:
    assert did_you_mean("attol", ["rtol", "atol", "shape"]) == " Did you mean 'atol'?"


def test_no_word_is_suggested_where_none_is_near() -> None:
    assert did_you_mean("zebra", ["rtol", "atol", "shape"]) == ""
    assert did_you_mean("anything", []) == ""
