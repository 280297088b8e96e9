"""Plan, Case and what they hold: the concrete values that a run is made of.

Everything here is a frozen dataclass of plain values, made by `plan.py` from configs and read back from plan.json by
`execute.py`. Nothing here imports torch, Hydra or OmegaConf. `to_json` and `from_json` are inverse.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from aisp_runner.errors import ConfigError, did_you_mean

FORMAT = 1
"""Version of plan.json. A plan of another version is refused."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a case, concrete: no axis name is left in it."""

    name: str
    """The parameter's name."""
    shape: tuple[int, ...]
    """Sizes of its axes, elements."""
    dtype: str
    """A torch dtype's name: "float32", "bfloat16", "int32", ..."""
    role: str
    """activation: fresh content every call. weight: secret, the same for the whole case. output: written by the variant."""
    init: str = "normal"
    """normal (mean 0, deviation 1), uniform, integers (low inclusive, high exclusive) or log_uniform. Inputs only."""
    low: float = 0.0
    """Least value, for uniform, integers and log_uniform. Unit: of the element."""
    high: float = 1.0
    """Greatest value, excluded for integers. Unit: of the element."""
    rtol: float = 0.0
    """Outputs only, a fraction: an element is right when |actual - expected| <= atol + rtol * |expected|, in float64."""
    atol: float = 0.0
    """Absolute tolerance of an output, see rtol. Unit: of the element."""
    because: str = ""
    """Why these tolerances are right."""
    rank: int = 0
    """Whose it is, a count from 0, where a variant runs as several ranks; its name then ends in @rank."""


@dataclass(frozen=True)
class Source:
    """A file with its siblings, as they were when the plan was made."""

    path: str
    """Absolute, or relative to the content root when it starts with "kernels/" or "labs/"."""
    sha256: dict[str, str]
    """Digest of each file the source consists of, by path relative to the source's folder; the file itself is among them."""
    cuda: tuple[str, ...] = ()
    """CUDA C++ files, relative to the source's folder, each built to a shared library of the same stem."""


@dataclass(frozen=True)
class Variant:
    """One function that computes the workload."""

    name: str
    """What records call it."""
    source: Source
    """The files that it consists of."""
    function: str
    """Name of the function in the source."""
    returns: bool = False
    """True: the function takes the inputs alone and returns its outputs; the worker copies them, inside the timing."""


@dataclass(frozen=True)
class Measure:
    """How long and how often to measure, and by which clock."""

    processes: int = 5
    """Sets of processes; the candidate's are fresh. Each has a baseline, a candidate and, with control, a second baseline."""
    rounds: int = 12
    """Rounds at most in each set, a count. A round: an empty batch of the baseline, a short batch of baseline and candidate
    in the first set, and two long batches of each arm in a palindromic order that is rotated from round to round.
    """
    min_rounds: int = 2
    """Rounds at least in each set, a count."""
    seconds: float = 3.0
    """No new round is started after this long, s, once every set has done `min_rounds`."""
    half_width: float = 0.005
    """Stop once the interval of ln(speed-up) would be at most this wide on either side if processes did not differ. A fraction.
    """
    control: bool = True
    """Whether the baseline is also compared with itself (A/A), which gives the noise floor. A gate always does."""
    mode: str = "auto"
    """Clock on a GPU: auto, graph (calls replayed as a CUDA graph behind the gate), gated (launched behind the gate) or
    wall. auto takes the first of these that both variants allow; asking for one that does not work ends the case.
    """
    device_clock: str = "auto"
    """Who reads the device's own time stamps: cupti (cupti-python), kineto (torch.profiler; 3.5 to 4.2 s a process to switch
    on) or off. auto: cupti where it is installed, else off. CUDA only.
    """
    device_rounds: int = 2
    """Rounds of the first set that are timed again by them, a count."""
    serial: int = 4
    """One-call batches of each arm, a count, that bound what calls can gain from one another. Gated modes only."""
    batch_ms: float = 10.0
    """Aimed length of a long batch on a CPU, ms."""
    batch_gpu_ms: float = 2.0
    """Aimed length of a long batch on a GPU, ms."""
    calls: tuple[int, int] | None = None
    """(short, long) calls a batch, instead of calibrating them from the aimed length."""
    margin: float = 0.02
    """A speed-up within 1 +- margin is SAME. A fraction."""
    verify_seconds: float = 0.02
    """Oracle time spent on checking one batch, s. At least two outputs of each batch are checked."""


@dataclass(frozen=True)
class Limits:
    """When a worker is stopped. Reaching one is a verdict with the candidate's name on it, not a failed run."""

    start_seconds: float = 60.0
    """From job to ready, and again for the first batch: import, compile, first call. Unit: s."""
    batch_seconds: float = 20.0
    """One batch, s."""
    memory_gib: float = 8.0
    """Memory of a worker's own on the host: anonymous pages and swap. Shared slots are not counted."""
    output_mib: float = 16.0
    """What a worker may print, MiB."""


@dataclass(frozen=True)
class Case:
    """One comparison on one set of axis values: what a record is about."""

    workload: str
    """Name of the workload: the stem of its YAML file."""
    question: str
    """What the comparison answers, in one line."""
    group: str
    """The chapter or lab it belongs to, or ""."""
    origin: str
    """The YAML file it was declared in, for messages."""
    axes: dict[str, int]
    """Size of each axis, elements, by name."""
    held_out: bool
    """Whether the sizes come from the workload's `held_out`."""
    device: str
    """cpu or cuda."""
    inputs: tuple[Tensor, ...]
    """Tensors that every variant is given, in the order of its parameters."""
    outputs: tuple[Tensor, ...]
    """Tensors that every variant writes or returns, after the inputs."""
    reference: Variant
    """The function that gives the right answer, in float64."""
    baseline: Variant
    """What the other variant is compared with."""
    optimized: Variant
    """The variant that is compared with the baseline."""
    candidate: str | None = None
    """The outside file and function that took the optimized variant's place, as given: "theirs.py::fast"."""
    claim: str = "kernel"
    """kernel: device time, host dispatch hidden. wall: from go to finished, host dispatch included."""
    cache: str = "cold"
    """cold: the device's last-level cache is flushed before every batch, and a batch uses no slot twice. hot: it is not, and
    the content of a batch fits into half of it.
    """
    threads: int = 1
    """CPU threads torch may use in a worker. A count."""
    phase: str = "detect"
    """detect, quarantine or gate: what follows from a verdict."""
    require: str = "valid"
    """valid, not_slower or faster: what a gate demands."""
    work_bytes: float | None = None
    """Bytes one call must move, from the workload's `work:`."""
    work_flops: float | None = None
    """Floating-point operations of one call, from `work:`. Unit: operations."""
    measure: Measure = Measure()
    """How long and how often this case is measured."""
    limits: Limits = Limits()
    """When a worker of this case is stopped."""
    ranks: int = 1
    """Processes that one variant runs as, a count. Each has tensors of its own, and the others' reach it through
    torch.distributed.
    """
    protections: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Protections that are on, by id, with their knobs."""
    gpu: str = ""
    """UUID of the GPU that it must run on, where each case is measured on each GPU (`gpus.mode=each`); else any, and empty."""
    demands: dict[str, Any] = field(default_factory=dict)
    """What the workload demands of the machine and its software (`environment.require`), by name."""

    @property
    def title(self) -> str:
        """ch06_vector_add / vectorized / n=1048576 / cpu."""
        axes = ",".join(f"{k}={v}" for k, v in self.axes.items())
        device = f"{self.device} {short_uuid(self.gpu)}".rstrip()
        return " / ".join(p for p in (self.workload, self.optimized.name, axes, device) if p)

    def sha256(self) -> str:
        """Digest of the canonical JSON of everything in the case."""
        return hashlib.sha256(json.dumps(to_json(self), sort_keys=True).encode()).hexdigest()


def short_uuid(uuid: str) -> str:
    """GPU-5f3a1c2e of a GPU's UUID, "" of none."""
    return "-".join(uuid.split("-")[:2])


@dataclass(frozen=True)
class Skip:
    """A comparison that was asked for and cannot run here."""

    workload: str
    """Name of the workload."""
    variant: str
    """Name of the variant that is left out."""
    device: str
    """Device that it was asked for on: cpu or cuda."""
    reason: str
    """Why it cannot run here."""


@dataclass(frozen=True)
class Plan:
    """What a run will do, decided before anything is started."""

    cases: tuple[Case, ...]
    """Comparisons to run, in order."""
    skips: tuple[Skip, ...] = ()
    """Comparisons that were asked for and cannot run here."""
    overrides: tuple[str, ...] = ()
    """The command line that made it, for people."""
    format: int = FORMAT
    """Version of this layout. No unit."""

    def sha256(self) -> str:
        """Digest of the canonical JSON of everything in the plan."""
        return hashlib.sha256(json.dumps(to_json(self), sort_keys=True).encode()).hexdigest()


def to_json(value: Any) -> Any:
    """A frozen dataclass of this module as plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _number(f.type, to_json(getattr(value, f.name))) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {k: to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    return value


def _number(kind: Any, value: Any) -> Any:
    """1 in a field of floats is 1.0, as it will be when it is read again: the digest must not depend on it."""
    return float(value) if kind in ("float", "float | None") and isinstance(value, int) else value


def from_json(kind: Any, value: Any, where: str = "plan") -> Any:
    """The inverse of `to_json`. Raises ConfigError naming the place for an unknown or missing key or a wrong type."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin is types.UnionType:
        return None if value is None else from_json(args[0], value, where)
    if origin is dict:
        _expect(isinstance(value, dict), where, "a mapping", value)
        return {k: from_json(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if origin is tuple:
        _expect(isinstance(value, list), where, "a list", value)
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        _expect(len(kinds) == len(value), where, f"a list of {len(kinds)}", value)
        return tuple(from_json(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if dataclasses.is_dataclass(kind):
        return _object(kind, value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    _expect(isinstance(value, kind) and (kind is bool or not isinstance(value, bool)), where, kind.__name__, value)
    return value


def _object(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), where, "a mapping", value)
    hints, fields = typing.get_type_hints(kind), dataclasses.fields(kind)
    known = {f.name for f in fields}
    for key in value:
        if key not in known:
            raise ConfigError(f"{where}.{key}: unknown key.{did_you_mean(key, known)} Known keys: {', '.join(sorted(known))}.")
    for f in fields:
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and f.name not in value:
            raise ConfigError(f"{where}.{f.name}: missing. Make the plan again with this version of aisp-run.")
    return kind(**{k: from_json(hints[k], v, f"{where}.{k}") for k, v in value.items()})


def _expect(ok: bool, where: str, wanted: str, value: Any) -> None:
    if not ok:
        raise ConfigError(f"{where}: {value!r} is not {wanted}. Make the plan again, or correct it there.")
