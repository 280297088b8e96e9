"""What there is to run, read from a made-up conf folder, and from the repository's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from aisp_runner import listing
from aisp_runner.content import content_root
from aisp_runner.errors import ConfigError
from aisp_runner.listing import Here

LAPTOP = Here(why_no_gpu="no driver")
SERVER = Here(gpus=1, capability="9.0", nvcc=True)

ADD = """
chapter: ch06
question: Does one launch beat 256 chunked ones?
source: kernels/vector_add.py
baseline: chunked
optimized: [vectorized, {name: triton_add, device: cuda}]
outputs: {c: {shape: [n], dtype: float32, rtol: 1e-3}}
axes:
  cpu: {n: [1024, 2048], m: [1, 2, 3]}
  cuda: {n: [4096]}
held_out:
  cpu: [{n: 1000, m: 1}]
"""
PEERS = """
lab: ring
question: Does a ring beat a tree?
baseline: tree
optimized: ring
axes: {cuda: {n: [4096]}}
environment: {device: cuda, min_capability: "9.0", gpus: 4}
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    for name, text in {
        "chapter/ch06.yaml": "title: CUDA programming fundamentals",
        "lab/ring.yaml": "title: A ring of GPUs",
        "suite/quick.yaml": "title: A few",
        "workload/ch06_vector_add.yaml": ADD,
        "workload/ring_exchange.yaml": PEERS,
        "workload/loose.yaml": "question: Q?\nbaseline: a\noptimized: [b]\naxes: {cpu: {}}\ncuda: [x.cu]",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def text_of(conf: Path, here: Here, width: int = 100) -> str:
    return "\n".join(text for text, _ in listing.lines(listing.load([conf], here), here, width))


def by_name(conf: Path, here: Here) -> dict[str, listing.Listed]:
    return {w.name: w for w in listing.load([conf], here).workloads}


def test_cases_are_the_product_of_the_axes_and_the_held_out_ones(conf: Path) -> None:
    assert by_name(conf, SERVER)["ch06_vector_add"].cases == {"cpu": 7, "cuda": 1}
    assert by_name(conf, SERVER)["loose"].cases == {"cpu": 1}


def test_a_variant_counts_on_the_devices_it_is_declared_for(conf: Path) -> None:
    add = by_name(conf, SERVER)["ch06_vector_add"]
    assert add.variants == {"vectorized": ("cpu", "cuda"), "triton_add": ("cuda",)}
    assert (add.comparisons(["cpu"]), add.comparisons(["cuda"]), add.comparisons(["cpu", "cuda"])) == (7, 2, 9)


def test_without_a_gpu_only_cpu_cases_run(conf: Path) -> None:
    add = by_name(conf, LAPTOP)["ch06_vector_add"]
    assert (add.devices, add.not_here) == (["cpu"], {"cuda": "no GPU"})
    assert by_name(conf, SERVER)["ch06_vector_add"].devices == ["cpu", "cuda"]


@pytest.mark.parametrize(
    ("here", "why"),
    [
        (Here(gpus=2, capability="9.0"), "needs 4 GPUs, 2 visible"),
        (Here(gpus=4, capability="8.0"), "needs capability 9.0, this GPU has 8.0"),
        (Here(gpus=4, capability="10.0"), None),
        (Here(gpus=4, capability=None), None),
    ],
    ids=["too few", "too old", "newer", "not known"],
)
def test_what_a_workload_needs_of_the_gpu_is_said(here: Here, why: str | None, conf: Path) -> None:
    assert by_name(conf, here)["ring_exchange"].not_here.get("cuda") == why


def test_cuda_sources_need_nvcc(conf: Path) -> None:
    path = conf / "workload" / "ch06_vector_add.yaml"
    path.write_text(ADD + "cuda: [add.cu]\n")
    assert by_name(conf, Here(gpus=1))["ch06_vector_add"].not_here == {"cuda": "needs nvcc"}
    assert by_name(conf, SERVER)["ch06_vector_add"].not_here == {}


def test_a_listing_shows_titles_questions_variants_and_what_runs(conf: Path) -> None:
    text = text_of(conf, LAPTOP)
    assert text.startswith("ch06  CUDA programming fundamentals\n  ch06_vector_add  Does one launch beat 256 chunked ones?\n")
    assert "chunked -> vectorized, triton_add (cuda)" in text
    assert "runs on cpu (7 cases); cuda: no GPU" in text
    assert "ring  A ring of GPUs" in text
    assert text.index("ring_exchange") < text.index("others\n  loose")
    assert "3 workloads, 11 comparisons; 8 run here." in text
    assert "cuda: no driver. More: aisp doctor" in text
    assert "Run one:   aisp-run +workload=ch06_vector_add" in text
    assert "Run many:  aisp-run +suite=quick" in text


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_line_is_wider_than_the_terminal(width: int, conf: Path) -> None:
    (conf / "workload" / "ch06_long.yaml").write_text(ADD.replace("Does one launch", "Does one launch " * 20))
    assert max(len(line) for line in text_of(conf, LAPTOP, width).splitlines()) <= width


def test_names_of_workloads_chapters_and_labs_select(conf: Path) -> None:
    everything = listing.load([conf], LAPTOP)
    chosen = listing.only(everything, ["ch06", "ring_exchange"]).workloads
    assert [w.name for w in chosen] == ["ch06_vector_add", "ring_exchange"]
    assert listing.only(everything, []) == everything
    with pytest.raises(ConfigError, match=r"'ch06_vector_ad' is no workload, chapter or lab. Did you mean 'ch06_vector_add'\?"):
        listing.only(everything, ["ch06_vector_ad"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "while parsing"),
        ("- a", "is not a mapping"),
        ("question: Q?", "does not read as a workload (KeyError: 'optimized')"),
        ("baseline: a\noptimized: b\naxes: {cpu: {n: 7}}", "does not read as a workload (TypeError"),
    ],
    ids=["broken YAML", "a list", "no variants", "an axis that is no list"],
)
def test_a_file_that_cannot_be_read_is_named_and_stops_nothing(text: str, said: str, conf: Path) -> None:
    (conf / "workload" / "broken.yaml").write_text(text)
    found = listing.load([conf], LAPTOP)
    assert len(found.workloads) == 3
    ((path, wrong),) = found.unreadable.items()
    assert path.endswith("workload/broken.yaml")
    assert said in wrong


def test_the_listing_as_json_has_what_the_lines_have(conf: Path) -> None:
    made = listing.as_json(listing.load([conf], LAPTOP), LAPTOP)
    first = made["workloads"][0]
    assert (first["name"], first["runs_on"], first["not_here"]) == ("ch06_vector_add", ["cpu"], {"cuda": "no GPU"})
    assert made["groups"] == {"ch06": "CUDA programming fundamentals", "ring": "A ring of GPUs"}
    assert made["machine"]["why_no_gpu"] == "no driver"


def test_every_workload_of_the_repository_is_listed_under_a_title() -> None:
    conf = content_root() / "conf"
    found = listing.load([conf], LAPTOP)
    assert found.unreadable == {}
    assert {w.name for w in found.workloads} == {path.stem for path in (conf / "workload").glob("*.yaml")}
    for w in found.workloads:
        assert w.question, w.name
        assert w.cases, w.name
        assert found.titles.get(w.group), w.name
