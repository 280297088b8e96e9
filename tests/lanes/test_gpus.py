"""Which GPUs are meant, as a made-up NVML tells them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aisp_runner.errors import ConfigError
from aisp_runner.lanes import gpus
from aisp_runner.lanes.asked import Asked, of_settings, of_words
from lanes.nvml import UUIDS, Nvml, installed, near


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    made = installed(monkeypatch, Nvml(4))
    yield made  # type: ignore[misc]
    assert made.open == 0, "NVML was shut down as often as it was started"


@pytest.mark.parametrize(
    ("use", "visible", "places"),
    [
        ("all", None, [0, 1, 2, 3]),
        (1, None, [0]),
        (2, None, [0, 1]),
        ((0, 2), None, [0, 2]),
        ((1,), "2,3", [3]),
        ("all", "3,1", [3, 1]),
        ("all", UUIDS[2], [2]),
    ],
    ids=["all", "one", "two", "indices", "an index of what is visible", "an order", "a UUID"],
)
def test_gpus_are_named_among_the_visible_ones(
    four: Nvml, monkeypatch: pytest.MonkeyPatch, use: int | str | tuple[int, ...], visible: str | None, places: list[int]
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.uuid for gpu in gpus.chosen(Asked(use))] == [UUIDS[place] for place in places]


def test_a_gpu_that_is_not_there_is_refused_in_words(four: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(
        ConfigError, match=r"^gpus=\[0,2\]: 1 is visible\. Indices go from 0 and count what CUDA_VISIBLE_DEVICES"
    ):
        gpus.chosen(Asked((0, 2)))


def test_without_nvml_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(ConfigError, match=r"gpus=all: 0 are visible \(nvidia-ml-py is not installed"):
        gpus.chosen(Asked("all"))


def test_the_cores_of_its_node_are_read_of_the_bus(four: Nvml, tmp_path: Path) -> None:
    there, _ = gpus.visible(near(tmp_path, ["0-3,8", "4-7"]))
    assert [sorted(gpu.near) for gpu in there] == [[0, 1, 2, 3, 8], [4, 5, 6, 7], [], []]
    assert (there[1].uuid, there[1].index, there[1].model, there[1].driver) == (UUIDS[1], 1, "Accelerator A", "570.1")


def test_gpus_of_several_models_are_not_put_into_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, Nvml(2, ("Accelerator A", "Accelerator B")))
    with pytest.raises(ConfigError, match=r"2 models \(Accelerator A, Accelerator B\).*gpus\.mode=each"):
        gpus.refuse_mixture(gpus.visible()[0])


def test_a_gpu_that_nvml_no_longer_knows_is_lost(four: Nvml) -> None:
    four.lost.add(UUIDS[1])
    assert gpus.lost(UUIDS[1]) == "NVML: GPU is lost" and gpus.lost(UUIDS[0]) == ""


@pytest.mark.parametrize(("ranks", "models", "places"), [(1, "AA", [0]), (2, "AA", [0, 1]), (1, "AB", [0, 1])])
def test_a_plain_run_holds_the_first_gpus_or_all_where_cuda_may_count_otherwise(
    monkeypatch: pytest.MonkeyPatch, ranks: int, models: str, places: list[int]
) -> None:
    installed(monkeypatch, Nvml(2, tuple(models)))
    assert [gpu.index for gpu in gpus.held_by_a_plain_run(ranks)[0]] == places


def test_the_settings_and_the_options_ask_the_same() -> None:
    given = {"gpus": {"use": [0, 2], "mode": "spread", "wait_seconds": 5}, "cpus": {"lanes": 2, "lane_cores": 1}}
    assert of_settings(given) == of_words("[0,2]", "spread", 5.0, 2, 1) == of_words("0,2", "spread", 5.0, 2, 1)
    assert of_settings({}) == of_words("1", "", 60.0, 1, 2) == Asked() and Asked().plain
    assert of_words("[3]", "", 60.0, 1, 2).use == (3,) and of_words("all", "", 60.0, 1, 2).use == "all"


@pytest.mark.parametrize("word", ["some", "-1", "", "[0,x]"])
def test_words_that_name_no_gpu_are_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="--gpus: "):
        of_words(word, "", 60.0, 1, 2)


@pytest.mark.parametrize(("word", "said"), [("0", "no GPU is meant"), ("[1,1]", r"gpus=\[1,1\]: a GPU is named twice")])
def test_gpus_that_cannot_be_meant_are_refused(word: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        of_words(word, "", 60.0, 1, 2)
