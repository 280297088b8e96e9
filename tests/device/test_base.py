"""How the tensors of a ring lie in memory."""

from __future__ import annotations

import itertools
import json

import pytest
import torch

from aisp_runner.case import Tensor, to_json
from aisp_runner.device.base import ALIGN, Layout, nbytes, slot_bytes

TENSORS = (
    Tensor("a", (3, 5), "float32", "activation"),
    Tensor("w", (1000,), "bfloat16", "weight"),
    Tensor("flag", (7,), "bool", "activation"),
    Tensor("k", (64,), "int64", "activation"),
    Tensor("one", (), "float64", "activation"),
    Tensor("c", (2, 2, 2), "float16", "output"),
)
SLOTS = 5


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "bfloat16", "int8", "uint8", "int16", "int32", "int64", "bool"]
)
def test_bytes_of_a_slot_are_those_of_a_tensor(dtype: str) -> None:
    assert nbytes(Tensor("a", (3, 7), dtype, "activation")) == torch.empty(3, 7, dtype=getattr(torch, dtype)).nbytes


def test_every_slot_is_aligned_and_overlaps_no_other() -> None:
    layout = Layout.of(TENSORS, SLOTS)
    spans = []
    for place, t in zip(layout.places, TENSORS, strict=True):
        assert place.slots == (1 if t.role == "weight" else SLOTS)
        for i in range(place.slots):
            start = place.offset + i * place.stride
            assert start % ALIGN == 0
            spans.append((start, start + nbytes(t)))
    for one, other in itertools.pairwise(sorted(spans)):
        assert one[1] <= other[0]
    assert max(end for _, end in spans) <= layout.nbytes


def test_views_are_the_slots_of_the_ring() -> None:
    layout = Layout.of(TENSORS, SLOTS)
    memory = torch.zeros(layout.nbytes, dtype=torch.uint8)
    views = layout.views(memory)
    for place, t in zip(layout.places, TENSORS, strict=True):
        view = views[t.name]
        assert view.shape == (place.slots, *t.shape) and view.dtype == getattr(torch, t.dtype)
        assert all(view[i].is_contiguous() for i in range(place.slots))
        assert view[-1].data_ptr() == memory.data_ptr() + place.offset + (place.slots - 1) * place.stride


def test_writing_a_view_changes_no_other_slot() -> None:
    layout = Layout.of(TENSORS, SLOTS)
    memory = torch.zeros(layout.nbytes, dtype=torch.uint8)
    views = layout.views(memory)
    views["a"][2].view(torch.int32).fill_(-1)
    assert memory.count_nonzero() == nbytes(TENSORS[0])
    assert all(not v.view(torch.uint8).any() for name, v in views.items() if name not in ("a", "one"))
    assert not views["a"][1].any() and not views["a"][3].any()


def test_a_layout_travels_as_json() -> None:
    layout = Layout.of(TENSORS, SLOTS)
    assert Layout.from_json(json.loads(json.dumps(to_json(layout)))) == layout


def test_an_empty_ring_still_has_memory() -> None:
    assert Layout.of((), 4).nbytes == ALIGN


def test_bytes_of_all_tensors_leave_weights_out() -> None:
    assert slot_bytes(TENSORS) == 256 + 256 + 512 + 256 + 256
    assert slot_bytes((Tensor("a", (65,), "float32", "output"),)) == 512
