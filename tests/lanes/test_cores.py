"""Cores are shared out: none twice, as many for each lane, near ones first, physical cores whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from aisp_runner.lanes.cores import most_lanes, of_a_lane, partition


def siblings(root: Path, pairs: list[tuple[int, int]]) -> Path:
    """A /sys with two hardware threads a core."""
    for pair in pairs:
        for core in pair:
            path = root / f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"
            path.parent.mkdir(parents=True)
            path.write_text(f"{pair[0]},{pair[1]}\n")
    return root


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("count", [5, 8, 13])
def test_no_core_is_in_two_lanes_and_all_lanes_have_as_many(count: int, lanes: int, tmp_path: Path) -> None:
    parts = partition(range(count), [()] * lanes, tmp_path)
    given = [core for part in parts for core in part]
    assert len(parts) == lanes and len(set(given)) == len(given) and set(given) <= set(range(count))
    assert {len(part) for part in parts} == {count // lanes}


def test_the_cores_near_a_gpu_go_to_its_lane(tmp_path: Path) -> None:
    parts = partition(range(8), [range(4, 8), range(4)], tmp_path)
    assert parts == [(4, 5, 6, 7), (0, 1, 2, 3)]


def test_lanes_of_one_node_share_it_fairly_and_the_rest_is_filled_up(tmp_path: Path) -> None:
    parts = partition(range(8), [range(4), range(4)], tmp_path)
    assert all(len(set(part) & set(range(4))) == 2 and len(part) == 4 for part in parts)


def test_two_lanes_never_share_a_physical_core(tmp_path: Path) -> None:
    root = siblings(tmp_path, [(0, 4), (1, 5), (2, 6), (3, 7)])
    first, second = partition(range(8), [(), ()], root)
    assert {core % 4 for core in first}.isdisjoint({core % 4 for core in second})
    assert len(first) == len(second) == 4 and of_a_lane(range(8), 3, root) == 2


def test_with_fewer_physical_cores_than_lanes_threads_are_given_out(tmp_path: Path) -> None:
    assert partition([0, 1], [(), ()], siblings(tmp_path, [(0, 1)])) in ([(0,), (1,)], [(1,), (0,)])


def test_core_0_is_given_out_last(tmp_path: Path) -> None:
    assert partition(range(5), [(), ()], tmp_path) == [(1, 3), (2, 4)]


@pytest.mark.parametrize(
    ("cores", "wanted", "least", "quota", "lanes"),
    [(8, 4, 2, None, 4), (7, 4, 2, None, 3), (2, 2, 2, None, 1), (2, 2, 1, None, 2), (1, 4, 2, None, 1), (64, 8, 2, 6.0, 3)],
    ids=["enough", "too few for all", "two cores", "two cores, one a lane", "one core", "a quota"],
)
def test_there_are_as_many_lanes_as_cores_allow(cores: int, wanted: int, least: int, quota: float | None, lanes: int) -> None:
    assert most_lanes(range(cores), wanted, least, quota) == lanes
