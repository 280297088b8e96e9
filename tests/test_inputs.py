"""Content: its laws, and that no two draws and no two slots share it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from aisp_runner.case import Tensor
from aisp_runner.device import open_device
from aisp_runner.inputs import Content, _Generator

N = 20000


def tensor(dtype: str = "float32", role: str = "activation", init: str = "normal", name: str = "a", **bounds: float) -> Tensor:
    return Tensor(name, (N,), dtype, role, init, **bounds)


def drawn(*tensors: Tensor, slots: int = 4) -> Content:
    made = Content(tensors, slots, open_device("cpu"))
    made.draw(slots)
    return made


def on_generator(spec: Tensor, seed: int, slots: int = 4) -> torch.Tensor:
    """Content as a GPU's judge draws it."""
    source, out = _Generator("cpu"), torch.empty((slots, *spec.shape), dtype=getattr(torch, spec.dtype))
    source.reseed(seed)
    source.fill(out, spec)
    return out


PATHS = {"pools": lambda spec: drawn(spec).store["a"], "generator": lambda spec: on_generator(spec, 5)}


@pytest.fixture(params=PATHS)
def content_of(request: pytest.FixtureRequest) -> Any:
    """From a tensor to 4 slots of content, by either way of drawing it."""
    return PATHS[request.param]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_normal_content_has_mean_0_and_deviation_1(content_of: Any, dtype: str) -> None:
    for slot in content_of(tensor(dtype)).double():
        assert abs(slot.mean()) < 0.05 and abs(slot.std() - 1) < 0.05
        assert 0.66 < (slot.abs() < 1).double().mean() < 0.705
        assert slot.abs().max() > 3


def test_uniform_content_fills_its_bounds(content_of: Any) -> None:
    for low, high in ((0.0, 1.0), (-3.0, 5.0)):
        content = content_of(tensor(init="uniform", low=low, high=high)).double()
        assert content.min() >= low and content.max() <= high
        quarters = torch.histc(content, 4, low, high) / content.numel()
        assert ((quarters - 0.25).abs() < 0.02).all()


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "float32"])
def test_integers_lie_within_their_bounds_and_take_all_of_them(content_of: Any, dtype: str) -> None:
    content = content_of(tensor(dtype, init="integers", low=2.0, high=7.0))
    assert sorted(set(content.flatten().tolist())) == [2, 3, 4, 5, 6]


def test_booleans_are_drawn_as_integers_below_2(content_of: Any) -> None:
    content = content_of(tensor("bool", init="integers", low=0.0, high=2.0))
    assert content.dtype == torch.bool and 0.45 < content.double().mean() < 0.55


def test_log_uniform_content_is_spread_over_magnitudes(content_of: Any) -> None:
    content = content_of(tensor(init="log_uniform", low=1e-3, high=1e3)).double()
    assert content.min() >= 0.999e-3 and content.max() <= 1.001e3
    decades = torch.histc(content.log10(), 6, -3, 3) / content.numel()
    assert ((decades - 1 / 6).abs() < 0.02).all()


def test_log_uniform_integers_are_floored(content_of: Any) -> None:
    content = content_of(tensor("int32", init="log_uniform", low=1.0, high=100.0))
    assert content.min() == 1 and content.max() == 99


@pytest.mark.parametrize("init", ["normal", "uniform"])
def test_every_slot_and_every_draw_differs(init: str) -> None:
    content = drawn(tensor(init=init), slots=6)
    first = content.store["a"].clone()
    content.draw(6)
    slots = [*first, *content.store["a"]]
    for one, other in itertools.combinations(slots, 2):
        assert (one == other).double().mean() < 0.01
        assert abs(torch.corrcoef(torch.stack([one, other]).double())[0, 1]) < 0.999


def test_two_tensors_of_one_draw_differ() -> None:
    content = drawn(tensor(name="a"), tensor(name="b"))
    assert (content.store["a"] == content.store["b"]).double().mean() < 0.01


def test_only_the_calls_asked_for_are_drawn_anew() -> None:
    content = drawn(tensor(), slots=4)
    before = content.store["a"].clone()
    content.draw(2)
    changed = [(before[i] != content.store["a"][i]).double().mean().item() > 0.9 for i in range(4)]
    assert changed == [True, True, False, False]


def test_weights_have_one_slot_that_no_draw_changes() -> None:
    content = drawn(tensor(role="weight", name="w"), tensor())
    assert content.store["w"].shape == (1, N)
    before = content.store["w"].clone()
    assert abs(before.std() - 1) < 0.05
    content.draw(4)
    assert torch.equal(before, content.store["w"])
    content.draw_weights()
    assert not torch.equal(before, content.store["w"])


def test_weights_of_two_cases_differ() -> None:
    one, other = (drawn(tensor(role="weight")).store["a"] for _ in range(2))
    assert (one == other).double().mean() < 0.01


@pytest.mark.parametrize("init", ["normal", "uniform", "integers", "log_uniform"])
def test_one_seed_gives_one_content_on_the_generator_path(init: str) -> None:
    spec = tensor(init=init, low=1.0, high=1000.0)
    assert torch.equal(on_generator(spec, 7), on_generator(spec, 7))
    assert not torch.equal(on_generator(spec, 7), on_generator(spec, 8))


def test_seeds_are_secret_to_each_draw_and_kept_for_the_record() -> None:
    content = drawn(tensor())
    seeds = [content.draw(1) for _ in range(3)]
    assert content.seeds[-3:] == seeds
    assert len(set(content.seeds)) == len(content.seeds) == 5, "weights, and four draws"
    assert all(seed > 2**32 for seed in seeds), "63 bits"


def test_a_case_without_inputs_has_no_content() -> None:
    content = Content((), 4, open_device("cpu"))
    assert isinstance(content.draw(4), int) and content.store == {}
