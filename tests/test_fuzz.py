"""Random texts and mutated configs through loading, schema, spec, plan, lint and listing: a plan, a ConfigError or remarks,
nothing else.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from aisp_runner import listing
from aisp_runner.case import to_json
from aisp_runner.config import Request, load_yaml
from aisp_runner.content import content_root
from aisp_runner.errors import ConfigError
from aisp_runner.lint import files
from aisp_runner.plan import World, make_plan
from aisp_runner.spec import load_workload

pytest.importorskip("hypothesis", reason="needs hypothesis, of the extra `dev`")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MAX_CPU_S = 2.0
"""One text, read twice: as aisp-run reads it, and as lint does."""

KERNEL = "def reference(a): ...\ndef loop(a, c): ...\ndef fast(a, c): ...\n"
PIECES = (
    "1" + ":1" * 300 + ".5", "[" * 3_000, "2**60", "[" + "1, " * 1_500 + "1]", "&b [*b]", "- " * 2_000, "9" * 5_000,
    '&a ', '*a', '<<: ', '!!python/object/apply:os.system ', '!x ', '${oc.env:HOME}', '${', '}', '{', '}', '[', ']', ',',
    ': ', '- ', '? ', '|\n', '>-\n', '---\n', '...\n', '%YAML 1.1\n', '# @package _global_\n', '\t', '\n', '\n  ', '\r',
    "'", '"', '\\', '"\\ud800"', '"\\e"', '\x00', '\x85', '\u2028', '\ufeff', 'é', '😀', 'null', '~', 'true', 'no', '1e-3',
    '1e999', '.nan', '-.inf', '0x1f', '010', '1:30', '999999999999999999999999999999999999999999999', '2001-01-01', '=',
    '???', '_target_', 'defaults', 'hydra', '9**9**9', 'n // 0', 'n.x', '-1', '0', '1.5', 'n', '../k.py',
)  # fmt: skip
KEYS = (
    'question', 'source', 'baseline', 'optimized', 'inputs', 'outputs', 'axes', 'held_out', 'work', 'claim', 'margin',
    'margin_because', 'verify', 'environment', 'ranks', 'chapter', 'lab', 'cuda', 'cpu', 'shape', 'dtype', 'rtol', 'atol',
    'because', 'low', 'high', 'init', 'a', 'c', 'n', 'bytes', 'flops', 'title', 'select', 'workloads', 'device', 'require',
    'gpus', 'min_capability', 'returns', 'reference',
)  # fmt: skip
SCALARS = st.one_of(
    st.sampled_from([*PIECES, *KEYS]), st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=20)
)


@cache
def configs() -> tuple[str, ...]:
    """Texts of the runner's own configs, and of a good small one."""
    conf = content_root() / "conf"
    own = [path for group in ("workload", "chapter", "suite") for path in sorted((conf / group).glob("*.yaml"))]
    return tuple(path.read_text("utf-8") for path in own)


def judged(folder: Path, text: bytes, group: str) -> None:
    """Reads a config as a run, lint and a listing do. Fails for any exception but ConfigError, and for one that takes long."""
    for name in ("workload", "chapter", "suite"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "k.py").write_text(KERNEL)
    path = folder / group / "x.yaml"
    path.write_bytes(text)
    start, refused = time.process_time(), ""
    try:
        (planned if group == "workload" else load_yaml)(path)
    except ConfigError as error:
        refused = str(error)
        assert "x.yaml" in refused
    remarks = files.lint(path)
    shown = listing.lines(listing.load([folder], listing.Here()), listing.Here(), 80)
    "".join(line for line, _ in shown).encode()
    assert time.process_time() - start < MAX_CPU_S
    assert all(remark.message and remark.place.line >= 1 for remark in remarks)
    if group == "workload" and refused:
        assert any(remark.severity == "error" for remark in remarks), "refused by a run and accepted by lint"


def planned(path: Path) -> None:
    """The plan of a workload on a machine without a GPU, as plan.json has it."""
    for device in ("cpu", "cuda"):
        plan = make_plan(Request((path,), {"device": device}), World())
        json.dumps(to_json(plan), ensure_ascii=False, allow_nan=False).encode()


def fuzz(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A third of the examples unless AISP_FUZZ=all, and no limit on the time of one, which a busy machine stretches."""
    examples = examples if os.environ.get("AISP_FUZZ") == "all" else examples // 3
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=checks)


GROUPS = st.sampled_from(["workload", "workload", "workload", "chapter", "suite"])


@fuzz(300)
@given(pieces=st.lists(st.sampled_from([*PIECES, *(f"{key}: " for key in KEYS)]), max_size=60), group=GROUPS)
def test_any_text_is_judged(tmp_path: Path, pieces: list[str], group: str) -> None:
    judged(tmp_path, "".join(pieces).encode("utf-8", "surrogatepass"), group)


@fuzz(100)
@given(text=st.binary(max_size=400), group=GROUPS)
def test_any_bytes_are_judged(tmp_path: Path, text: bytes, group: str) -> None:
    judged(tmp_path, text, group)


@fuzz(300)
@given(data=st.data(), group=GROUPS)
def test_a_config_with_changed_pieces_is_judged(tmp_path: Path, data: st.DataObject, group: str) -> None:
    text = data.draw(st.sampled_from(configs()))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.sampled_from(PIECES)) + text[end:]
    judged(tmp_path, text.encode("utf-8", "surrogatepass"), group)


@fuzz(150)
@given(data=st.data())
def test_a_config_with_flipped_bytes_is_judged(tmp_path: Path, data: st.DataObject) -> None:
    text = bytearray(data.draw(st.sampled_from(configs())).encode())
    for place in data.draw(st.lists(st.integers(0, len(text) - 1), min_size=1, max_size=6)):
        text[place] ^= 1 << data.draw(st.integers(0, 7))
    judged(tmp_path, bytes(text), "workload")


@fuzz(300)
@given(
    tree=st.dictionaries(
        st.sampled_from(KEYS),
        st.recursive(
            SCALARS,
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCALARS, inner, max_size=4),
            max_leaves=12,
        ),
        max_size=10,
    )
)
def test_any_values_under_the_known_keys_are_judged(tmp_path: Path, tree: dict[str, object]) -> None:
    judged(tmp_path, dumped(GOOD | tree), "workload")


GOOD: dict[str, object] = {
    "question": "Is it faster?", "source": "../k.py", "baseline": "loop", "optimized": ["fast"],
    "axes": {"cpu": {"n": [4]}},
    "inputs": {"a": {"shape": ["n"], "dtype": "float32"}},
    "outputs": {"c": {"shape": ["n"], "dtype": "float32", "rtol": 1e-6, "atol": 0.0, "because": "one float32 rounding of it"}},
}  # fmt: skip


def dumped(tree: object) -> bytes:
    """A tree as YAML without tags of Python."""
    import yaml

    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode("utf-8", "surrogatepass")


def test_what_is_mutated_is_accepted_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "workload").mkdir()
    (tmp_path / "k.py").write_text(KERNEL)
    path = tmp_path / "workload" / "x.yaml"
    path.write_bytes(dumped(GOOD))
    assert load_workload(path).optimized[0].name == "fast" and not files.lint(path)
