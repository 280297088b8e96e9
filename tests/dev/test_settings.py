"""Settings as a plan would give them."""

from __future__ import annotations

import pytest

from aisp_runner import config
from aisp_runner.dev.settings import SETTINGS, measure
from aisp_runner.errors import ConfigError


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_what_a_config_composes(name: str) -> None:
    composed = config.compose([f"measure={name}"]).settings["measure"]
    made = vars(measure(name))
    shared = {key: made[key] for key in composed if key not in ("device_clock",)}
    assert shared == {key: value for key, value in composed.items() if key in shared}
    assert made["device_clock"] in ("cupti", "off")


def test_changes_are_taken_and_names_checked() -> None:
    assert measure("quick", processes=2, margin=0.5).processes == 2
    with pytest.raises(ConfigError, match="there is no such setting"):
        measure("slow")
