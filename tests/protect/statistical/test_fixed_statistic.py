"""No setting chooses the statistic of a speed-up: a favourable percentile cannot be asked for."""

from __future__ import annotations

import dataclasses
import re

import pytest

from aisp_runner.case import Measure
from aisp_runner.config import compose
from aisp_runner.errors import ConfigError
from aisp_runner.protect import registry

STATISTIC = re.compile("percentile|quantile|statistic|median|mean|best|trim|outlier|confidence|estimator|aggregate")


@pytest.mark.parametrize("key", ["percentile", "quantile", "statistic", "estimator", "confidence", "trim", "best_of"])
def test_a_setting_that_would_choose_a_statistic_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"measure.{key}")):
        compose(["+workload=ch12_kernel_fusion", f"+measure.{key}=5"])


def test_no_field_of_a_plan_chooses_a_statistic() -> None:
    assert [f.name for f in dataclasses.fields(Measure) if STATISTIC.search(f.name)] == []


def test_no_knob_of_a_statistical_protection_chooses_what_is_concluded() -> None:
    kinds = [kind for name, kind in registry.known().items() if name.startswith("statistical.")]
    assert [f.name for kind in kinds for f in dataclasses.fields(kind) if STATISTIC.search(f.name)] == []
