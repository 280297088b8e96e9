"""Which rule a change falls under, and what it means, by the direction in which a result becomes easier to get.

| rule | severity | when |
|---|---|---|
| `tolerance-loosened` | block | rtol or atol is larger |
| `tolerance-tightened` | info | rtol or atol is smaller |
| `dtype-lowered` | block | a tensor holds fewer bits of precision, or whole numbers instead of floats |
| `dtype-raised` | info | the other way |
| `work-shrunk` | block | sizes, held-out sizes or ranks are gone, or a tensor has fewer elements |
| `work-grown` | warn | sizes are new or larger: earlier figures are of other work |
| `inputs-easier` | block | content is drawn in another way, from a narrower range, or once for all calls (a weight) |
| `inputs-harder` | info | from a wider range, or anew for each call |
| `protection-off` | block | a protection no longer runs |
| `protection-weakened` | block | a knob of one has another value, or the cache is hot |
| `protection-on` | info | a protection runs that did not, or the cache is cold |
| `phase-lowered` | block | verify.phase or verify.require asks for less |
| `phase-raised` | info | for more |
| `statistics-weakened` | block | fewer rounds, processes or calls, shorter batches, a wider margin, no control, another clock |
| `statistics-strengthened` | info | the other way |
| `baseline-changed` | block | another baseline, or the same one does something else: a slower one is a fake speed-up |
| `reference-changed` | block | what a right answer is |
| `claim-changed` | block | kernel time instead of wall time, or the other way |
| `target-code` | block | a workload's functions come from another file, or a candidate is named in a config |
| `code-changed` | info | an optimized variant does something else |
| `variants-changed` | warn | an optimized variant is gone, or runs on other devices |
| `variant-new` | info | an optimized variant is new |
| `environment-relaxed` | warn | less is asked of the machine, or clocks are no longer locked |
| `environment-tightened` | info | more is asked of it |
| `limits-relaxed` | block | a time limit is more than doubled |
| `workload-removed` | block | a workload, or a suite's, is gone |
| `workload-new` | warn | a workload is new |
| `suite-changed` | warn | a suite has another workload, or an option or file of a group is new or gone |
| `quarantine-changed` | block | an entry left quarantine.yaml or was changed in it |
| `roofline-changed` | warn | the declared work is other: percentages of the roofline are |
| `text-changed` | info | a question, a reason, a title |
| `changed` | warn | anything else: what a change means is not guessed |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from aisp_runner.errors import did_you_mean
from aisp_runner.review.changes import ABSENT, Change
from aisp_runner.review.composed import MEASURE

BLOCK, WARN, INFO = "block", "warn", "info"
SEVERITIES = (BLOCK, WARN, INFO)

BITS = {
    "float64": 52,
    "int64": 63,
    "int32": 31,
    "float32": 23,
    "int16": 15,
    "float16": 10,
    "bfloat16": 7,
    "int8": 7,
    "uint8": 8,
}
MEASURES = ("quick", "standard", "publication")
PHASES, REQUIRED = ("detect", "quarantine", "gate"), ("valid", "not_slower", "faster")
FEWER_IS_WEAKER = (
    "processes", "rounds", "min_rounds", "seconds", "device_rounds", "serial", "batch_ms", "batch_gpu_ms", "verify_seconds",
)  # fmt: skip
TIMEOUT_FACTOR = 2.0
"""A time limit may be raised by as much."""


@dataclass(frozen=True)
class Meaning:
    """What a change amounts to."""

    rule: str
    message: str


def table() -> dict[str, tuple[str, str]]:
    """Severity and condition of every rule, as the table above has them."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (.+) \|$", __doc__ or "", re.MULTILINE)
    return {rule: (severity, when) for rule, severity, when in rows}


def meaning(change: Change, keys: Collection[str]) -> Meaning | None:
    """What a change means; None where another change of the same target says it. keys: all that changed in the target."""
    if not change.key:
        return _whole(change)
    if change.kind in ("suite", "file"):
        return _listed(change)
    if re.match(r"(inputs|outputs)\.", change.key) and ABSENT in (change.old, change.new):
        return _tensor(change)
    for pattern, judge in _TABLE:
        found = pattern.fullmatch(change.key)
        if found:
            return judge(change, keys)
    return Meaning("changed", _told(change))


def _whole(c: Change) -> Meaning:
    gone = c.new is ABSENT
    if c.kind == "workload":
        return Meaning(
            *(("workload-removed", "the workload is gone") if gone else ("workload-new", f"a new workload: {c.new}"))
        )
    if c.kind == "suite" and gone:
        return Meaning("workload-removed", f"suite {c.target} is gone")
    if c.kind == "file" and c.target.endswith("quarantine.yaml") and gone:
        return Meaning("quarantine-changed", "quarantine.yaml is gone, and with it every entry")
    return Meaning("suite-changed", f"{c.kind} {c.target} is {'gone' if gone else 'new'}")


def _listed(c: Change) -> Meaning:
    if c.key == MEASURE:
        return _ordered(MEASURES, "statistics-weakened", "statistics-strengthened")(c, ())
    if c.kind == "suite":
        gone = c.new is ABSENT
        word = "no longer runs" if gone else "now runs"
        return Meaning("workload-removed" if gone else "suite-changed", f"suite {c.target} {word} {c.key}")
    if c.target.endswith("quarantine.yaml"):
        entry_is_new = c.old is ABSENT
        return Meaning("text-changed" if entry_is_new else "quarantine-changed", _told(c))
    return Meaning("text-changed" if c.key == "title" else "changed", _told(c))


def _told(c: Change) -> str:
    return f"{c.key}: {_shown(c.old)} -> {_shown(c.new)}"


def _shown(value: Any) -> str:
    text = "nothing" if value is ABSENT else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _by(c: Change) -> str:
    """By which factor a number changed, for messages."""
    if not isinstance(c.old, int | float) or not isinstance(c.new, int | float) or not c.old or not c.new:
        return ""
    return f" {max(c.old, c.new) / min(c.old, c.new):.3g}x"


def _tolerance(c: Change, keys: Collection[str]) -> Meaning:
    if (c.new or 0.0) > (c.old or 0.0):
        return Meaning("tolerance-loosened", f"loosened{_by(c)}: {_told(c)}")
    return Meaning("tolerance-tightened", f"tightened{_by(c)}: {_told(c)}")


def _dtype(c: Change, keys: Collection[str]) -> Meaning:
    floats = [str(v).startswith(("float", "bfloat")) for v in (c.old, c.new)]
    lower = BITS.get(str(c.new), 0) < BITS.get(str(c.old), 0) if floats[0] == floats[1] else floats[0]
    return Meaning("dtype-lowered" if lower else "dtype-raised", _told(c))


def _points(c: Change, keys: Collection[str]) -> Meaning:
    """Sizes of an axis, or held-out cases."""
    old, new = (list(value or ()) for value in (c.old, c.new))
    gone = [value for value in old if value not in new]
    if gone and sum(map(_size, new)) < sum(map(_size, old)):
        return Meaning("work-shrunk", f"{c.key}: {_shown(gone)} gone: {_shown(c.old)} -> {_shown(c.new)}")
    return Meaning("work-grown", _told(c))


def _size(value: Any) -> float:
    return float(sum(value.values())) if isinstance(value, dict) else float(value)


def _tensor(c: Change) -> Meaning | None:
    """An input or output that is new or gone is told once."""
    group, name, word = c.key.split(".")
    if word != "shape":
        return None
    gone = c.new is ABSENT
    rule = "work-shrunk" if gone and group == "outputs" else "changed"
    return Meaning(rule, f"{group[:-1]} {name} is {'gone' if gone else 'new'}")


def _elements(c: Change, keys: Collection[str]) -> Meaning | None:
    tensor = c.key.split(".")[1]
    shape_is_other = bool({f"inputs.{tensor}.shape", f"outputs.{tensor}.shape"} & set(keys))
    if ABSENT in (c.old, c.new) or not shape_is_other:
        return None  # a new or lost tensor, or other sizes, tell of themselves
    fewer = sum(c.new.values()) < sum(c.old.values())
    share = ", ".join(f"{100 * c.new[d] / n:.3g} % on {d}" for d, n in c.old.items() if d in c.new and n)
    told = f"{tensor} has {'fewer' if fewer else 'more'} elements: {share}"
    return Meaning("work-shrunk" if fewer else "work-grown", told)


def _shape(c: Change, keys: Collection[str]) -> Meaning | None:
    tensor = c.key.split(".")[1]
    if f"elements.{tensor}" in keys:
        return None
    return Meaning("changed", _told(c))


def _content(c: Change, keys: Collection[str]) -> Meaning | None:
    word = c.key.rpartition(".")[2]
    if word == "role":
        return Meaning("inputs-easier" if c.new == "weight" else "inputs-harder", f"the same content in every call: {_told(c)}")
    if word == "init":
        return Meaning("inputs-easier", f"content is drawn in another way: {_told(c)}")
    if f"{c.key.rpartition('.')[0]}.init" in keys:
        return None
    narrower = (c.new < c.old) if word == "high" else (c.new > c.old)
    return Meaning("inputs-easier" if narrower else "inputs-harder", f"{'narrower' if narrower else 'wider'}: {_told(c)}")


def _protection(c: Change, keys: Collection[str]) -> Meaning | None:
    name = ".".join(c.key.split(".")[1:3])
    if f"protections.{name}" in keys:
        if c.key != f"protections.{name}":
            return None
        return (
            Meaning("protection-off", f"{name} no longer runs") if c.new is ABSENT else Meaning("protection-on", f"{name} runs")
        )
    return Meaning("protection-weakened", f"a knob of {name} has another value: {_told(c)}")


def _ordered(levels: tuple[str, ...], weaker: str, stronger: str) -> Callable[[Change, Collection[str]], Meaning]:
    def judge(c: Change, keys: Collection[str]) -> Meaning:
        old, new = (levels.index(v) if v in levels else -1 for v in (c.old, c.new))
        return Meaning(weaker if new < old else stronger, _told(c))

    return judge


def _numbers(weaker: str, stronger: str, less_is_weaker: bool) -> Callable[[Change, Collection[str]], Meaning | None]:
    def judge(c: Change, keys: Collection[str]) -> Meaning | None:
        if c.key == "margin" and "claim" in keys:
            return None  # the default of another claim
        if not all(isinstance(v, int | float) for v in (c.old, c.new)):
            return Meaning(weaker, _told(c))
        return Meaning(weaker if (c.new < c.old) == less_is_weaker else stronger, f"{_told(c)} ({_by(c).strip() or 'from 0'})")

    return judge


def _measure(c: Change, keys: Collection[str]) -> Meaning | None:
    word = c.key.rpartition(".")[2]
    if word in FEWER_IS_WEAKER:
        return _numbers("statistics-weakened", "statistics-strengthened", True)(c, keys)
    if word == "control":
        return Meaning("statistics-strengthened" if c.new else "statistics-weakened", _told(c))
    if word in ("mode", "device_clock"):
        better = c.new == "auto" or (c.old == "off" and c.new != "off")
        return Meaning("statistics-strengthened" if better else "statistics-weakened", f"another clock: {_told(c)}")
    return Meaning("changed", _told(c))


def _needs(c: Change, keys: Collection[str]) -> Meaning:
    """What is asked of the machine."""
    word = c.key.removeprefix("environment.")
    if word in ("gpus", "min_capability"):
        order = [tuple(int(p) for p in str(v).split(".")) if v is not ABSENT else (0,) for v in (c.old, c.new)]
        relaxed = order[1] < order[0]
    elif word == "lock_clocks":
        relaxed = not c.new
    elif word == "device":
        relaxed = c.new == "any"
    else:
        relaxed = c.old is not ABSENT
    return Meaning("environment-relaxed" if relaxed else "environment-tightened", _told(c))


def _limit(c: Change, keys: Collection[str]) -> Meaning:
    if c.key.endswith("_seconds") and c.old and c.new and c.new > TIMEOUT_FACTOR * c.old:
        return Meaning("limits-relaxed", f"{_told(c)} ({_by(c).strip()})")
    return Meaning("changed", _told(c))


def _code(c: Change, keys: Collection[str]) -> Meaning | None:
    _, role, *name = c.key.split(".")
    if ABSENT in (c.old, c.new) or role in keys or "source" in keys:
        return None
    if role == "optimized":
        return Meaning("code-changed", f"{name[0]} does something else than before")
    return Meaning(f"{role}-changed", f"the {role}'s code does something else than before")


def _variant(c: Change, keys: Collection[str]) -> Meaning:
    if c.old is ABSENT:
        return Meaning("variant-new", f"a new variant: {c.new}")
    return Meaning("variants-changed", f"{c.old} is gone" if c.new is ABSENT else _told(c))


def _ranks(c: Change, keys: Collection[str]) -> Meaning:
    return Meaning("work-shrunk" if c.new < c.old else "work-grown", _told(c))


def _always(rule: str) -> Callable[[Change, Collection[str]], Meaning]:
    return lambda c, keys: Meaning(rule, _told(c))


def _cache(c: Change, keys: Collection[str]) -> Meaning:
    return Meaning("protection-weakened" if c.new == "hot" else "protection-on", _told(c))


_TABLE: list[tuple[re.Pattern[str], Callable[[Change, Collection[str]], Meaning | None]]] = [
    (re.compile(pattern), judge)
    for pattern, judge in (
        (r"outputs\.\w+\.(rtol|atol)", _tolerance),
        (r"(inputs|outputs)\.\w+\.dtype", _dtype),
        (r"axes\..+|held_out\..+", _points),
        (r"elements\..+", _elements),
        (r"(inputs|outputs)\.\w+\.shape", _shape),
        (r"inputs\.\w+\.(role|init|low|high)", _content),
        (r"protections\..+", _protection),
        (r"verify\.phase", _ordered(PHASES, "phase-lowered", "phase-raised")),
        (r"verify\.require", _ordered(REQUIRED, "phase-lowered", "phase-raised")),
        (r"margin|measure\.half_width", _numbers("statistics-weakened", "statistics-strengthened", False)),
        (r"measure\..+", _measure),
        (r"environment\..+", _needs),
        (r"limits\..+", _limit),
        (r"code\..+", _code),
        (r"optimized\..+", _variant),
        (r"ranks", _ranks),
        (r"baseline", _always("baseline-changed")),
        (r"reference", _always("reference-changed")),
        (r"claim", _always("claim-changed")),
        (r"source|cuda|candidate", _always("target-code")),
        (r"cache", _cache),
        (r"work\..+", _always("roofline-changed")),
        (r"question|outputs\.\w+\.because", _always("text-changed")),
    )
]  # fmt: skip


def known(rule: str, where: str) -> str:
    """A complaint about a rule that is not there, or ""."""
    rules = [*table(), *POLICY_RULES]
    return "" if rule in rules else f"{where}: '{rule}' is no rule.{did_you_mean(rule, rules)} Rules: {', '.join(rules)}."


POLICY_RULES = {
    "cannot-compose": (BLOCK, "a workload or setting cannot be composed"),
    "waiver-new": (WARN, "a waiver is new: it counts from the next review on"),
    "waiver-extended": (BLOCK, "a waiver lasts longer or covers more than before"),
    "waiver-expired": (BLOCK, "a waiver's last day is over"),
    "waiver-unused": (INFO, "a waiver excuses nothing of this change"),
    "policy-with-targets": (BLOCK, "rules or waivers, and what they judge, change together"),
    "no-effect": (INFO, "files differ, and nothing that is measured does"),
}
"""Rules about the review itself."""
