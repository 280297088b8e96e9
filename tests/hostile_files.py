"""Config dirs of a stranger: what each holds, how it is asked for, and what is said of it.

A builder is given a folder with a good workload in workload/x.yaml and k.py, and makes it hostile.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SECRET = "hunter2-9f3c"
"""What the environment holds under AISP_HOSTILE_SECRET and OUTSIDE holds: it must be shown nowhere."""
CANARY = "AISP_CANARY"
"""Name of a file that exists once something of a config was run."""
OUTSIDE = "outside"
"""A folder beside the config dir."""

KERNEL = "def reference(a): ...\ndef loop(a, c): ...\ndef fast(a, c): ...\n"
GOOD = """\
question: Is it faster?
source: ../k.py
baseline: loop
optimized: [fast]
inputs:
  a: {shape: [n], dtype: float32}
outputs:
  c: {shape: [n], dtype: float32, rtol: 1.0e-6, atol: 0.0, because: one rounding of a float32 sum}
axes:
  cpu: {n: [4]}
"""
TOUCH = f"touch {CANARY}"
HEAVY = 100 << 20


@dataclass(frozen=True)
class Hostile:
    """One config dir."""

    make: Callable[[Path], object]
    said: str
    """What `aisp lint` says of it, among more."""
    run: tuple[str, ...] = ("+workload=x",)
    """What aisp-run is asked for besides --config-dir."""
    file: str = "workload/x.yaml"
    """The file that messages name."""
    lint: bool = True
    """Whether lint sees it: what is only wrong where Hydra composes is another file's matter."""
    run_says: str = ""
    """What aisp-run says, where that differs."""
    listed: bool = False
    """Whether `aisp list`, which reads names and counts alone, refuses it too."""
    traits: frozenset[str] = field(default_factory=frozenset)


def text(content: str | bytes) -> Callable[[Path], object]:
    """The workload holds this instead."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return lambda folder: (folder / "workload" / "x.yaml").write_bytes(data)


def changed(old: str, new: str) -> Callable[[Path], object]:
    """The good workload with one piece exchanged."""
    assert old in GOOD, old
    return text(GOOD.replace(old, new))


def also(*lines: str) -> Callable[[Path], object]:
    """The good workload with more lines."""
    return text(GOOD + "\n".join(lines) + "\n")


def source(put: Callable[[Path], object]) -> Callable[[Path], object]:
    """The good workload with another k.py."""

    def make(folder: Path) -> None:
        (folder / "k.py").unlink()
        put(folder / "k.py")

    return make


def yaml(put: Callable[[Path], object]) -> Callable[[Path], object]:
    """Something else than a file in the place of workload/x.yaml."""

    def make(folder: Path) -> None:
        (folder / "workload" / "x.yaml").unlink()
        put(folder / "workload" / "x.yaml")

    return make


def put(name: str, content: str) -> Callable[[Path], object]:
    """The good workload, and another file beside it."""

    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

    return make


def sparse(path: Path) -> None:
    """A file of 100 MB that takes no room."""
    with path.open("wb") as file:
        file.truncate(HEAVY)


def forty(folder: Path) -> None:
    """A source that imports forty others, each as large as one may be."""
    (folder / "k.py").write_text(KERNEL + "".join(f"import k{i}\n" for i in range(40)))
    for i in range(40):
        (folder / f"k{i}.py").write_text("x = [" + "1," * 120_000 + "]\n")


def linked(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


def expression(body: str) -> Callable[[Path], object]:
    """The good workload with declared work."""
    return also(f"work: {{bytes: '{body}'}}")


ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(40))
MERGES = "a0: &a0 {k0: 1, l0: 2}\n" + "".join(
    f"a{i + 1}: &a{i + 1}\n  k{i + 1}: 1\n  <<: [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(30)
)
CALLBACK = f"""\
hydra:
  job: {{env_set: {{AISP_PWNED: '1'}}}}
  run: {{dir: {CANARY}}}
  callbacks:
    x: {{_target_: shutil.copyfile, src: /etc/hostname, dst: {CANARY}}}
"""
NAMES = "the name of a config has letters, digits"
TAG = "a config is plain values"
FILLED = "nothing is filled in here"
UNSEEN = "which cannot be seen"
ARITHMETIC = "Only numbers, axis names"
VALUES = "with its aliases written out it has more than 4000 values"
DEEP = "nested deeper than the 50 levels"

EXECUTION = {
    "a target": Hostile(also("_target_: os.system", f"command: {TOUCH}"), "_target_: unknown key"),
    "a target in a tensor": Hostile(
        changed("dtype: float32}", f"dtype: float32, _target_: os.system, command: {TOUCH}}}"), "inputs.a._target_: unknown key"
    ),
    "a tag that applies": Hostile(changed("Is it faster?", f"!!python/object/apply:os.system ['{TOUCH}']"), TAG, listed=True),
    "a tag that makes": Hostile(changed("Is it faster?", f"!!python/object/new:os.system ['{TOUCH}']"), TAG, listed=True),
    "a tag that names": Hostile(changed("Is it faster?", "!!python/name:os.system"), TAG, listed=True),
    "a tag that imports": Hostile(changed("Is it faster?", "!!python/module:antigravity"), TAG, listed=True),
    "a tag of one's own": Hostile(changed("Is it faster?", f"!run {TOUCH}"), TAG, listed=True),
    "a tag of a path": Hostile(changed("../k.py", "!!python/object/apply:pathlib.Path ['../k.py']"), TAG, listed=True),
    "a tag behind a directive": Hostile(
        text(f"%TAG ! tag:yaml.org,2002:python/object/apply:\n---\nquestion: !os.system ['{TOUCH}']\n"), TAG, listed=True
    ),
    "bytes": Hostile(changed("Is it faster?", "!!binary aGVsbG8="), TAG, listed=True),
    "a set": Hostile(changed("[fast]", "!!set {fast}"), TAG, listed=True),
    "a call in arithmetic": Hostile(expression(f'__import__("os").system("{TOUCH}")'), ARITHMETIC),
    "an attribute in arithmetic": Hostile(expression("n.__class__"), ARITHMETIC),
    "a comprehension in arithmetic": Hostile(expression("[n for n in range(9)]"), ARITHMETIC),
    "a walrus in arithmetic": Hostile(expression("(n := 4)"), ARITHMETIC),
    "a lambda in arithmetic": Hostile(expression("(lambda: n)()"), ARITHMETIC),
    "a text in arithmetic": Hostile(expression('n * "x"'), "holds the constant"),
}

RESOLVERS = {
    "the environment": Hostile(changed("Is it faster?", "${oc.env:AISP_HOSTILE_SECRET}"), FILLED),
    "the environment in a shape": Hostile(changed("shape: [n]", "shape: ['${oc.env:AISP_HOSTILE_SECRET}']"), FILLED),
    "the environment in a key": Hostile(also("'${oc.env:AISP_HOSTILE_SECRET}': 1"), FILLED),
    "the environment, decoded": Hostile(also("work: {bytes: '${oc.decode:${oc.env:AISP_HOSTILE_SECRET}}'}"), FILLED),
    "hydra's runtime": Hostile(changed("Is it faster?", "${hydra:runtime.cwd}"), FILLED),
    "a made mapping": Hostile(changed("[fast]", "'${oc.create:[fast]}'"), FILLED),
    "a resolver of one's own": Hostile(changed("Is it faster?", "${eval:__import__('os').getcwd()}"), FILLED),
    "a name out of a name": Hostile(changed("Is it faster?", "${${oc.env:AISP_HOSTILE_SECRET}:x}"), FILLED),
    "ten thousand braces": Hostile(changed("Is it faster?", "'" + "${" * 10_000 + "'"), DEEP),
    "the environment in a setting": Hostile(
        put("measure/m.yaml", "rounds: ${oc.env:AISP_HOSTILE_SECRET}\n"),
        "",
        ("+workload=x", "measure=m"),
        "measure/m.yaml",
        lint=False,
        run_says="asks for what is no setting",
    ),
    "the environment in a suite": Hostile(
        put("suite/s.yaml", "title: ${oc.env:AISP_HOSTILE_SECRET}\nselect: {workloads: [x]}\n"),
        FILLED,
        ("+suite=s",),
        "suite/s.yaml",
    ),
    "the environment on the command line": Hostile(
        lambda folder: None,
        "",
        ("+workload=x", "run_dir=${oc.env:AISP_HOSTILE_SECRET}"),
        "run_dir",
        lint=False,
        run_says="Allowed: ${SETTING}",
    ),
    "the environment as the candidate": Hostile(
        lambda folder: None,
        "",
        ("+workload=x", "candidate=${oc.env:AISP_HOSTILE_SECRET}"),
        "candidate",
        lint=False,
        run_says="Allowed: ${SETTING}",
    ),
    "the environment as a file's name": Hostile(
        put("workload/${oc.env:AISP_HOSTILE_SECRET}.yaml", GOOD),
        NAMES,
        ("+workload=*",),
        "workload/${oc.env:AISP_HOSTILE_SECRET}.yaml",
        listed=True,
    ),
}

BOMBS = {
    "aliases of aliases": Hostile(text(ALIASES), VALUES, listed=True),
    "merges of merges": Hostile(text(MERGES), VALUES, listed=True),
    "one large list, often": Hostile(
        text("a: &a [" + "1, " * 900 + "1]\nb: [" + ", ".join(["*a"] * 900) + "]\n"), VALUES, listed=True
    ),
    "an alias of itself": Hostile(text("a: &a [*a]\n"), "an alias refers to what it stands in", listed=True),
    "a merge of itself": Hostile(text("a: &a\n  <<: *a\n"), "an alias refers to what it stands in", listed=True),
    "100 MB": Hostile(yaml(sparse), "it has 100.0 MiB; a config may have 0.25", listed=True),
    "many keys": Hostile(text("".join(f"k{i}: 1\n" for i in range(25_000))), "more than 1000 entries", listed=True),
    "many items": Hostile(text("a: [" + "1," * 120_000 + "]\n"), "more than 1000 entries", listed=True),
    "a billion keys, as far as they go": Hostile(
        text("".join(f"{i}: {{a: {{b: 1}}}}\n" for i in range(14_000))), "values|entries", listed=True
    ),
    "deep lists": Hostile(text("a: " + "[" * 100_000), DEEP, listed=True),
    "deep mappings": Hostile(text("a: " + "{a: " * 20_000), DEEP, listed=True),
    "deep lists in a mapping": Hostile(text("a: {" + "[" * 200_000), DEEP, listed=True),
    "deep lists in quotes": Hostile(text("a: 'x\n" + "[" * 100_000), DEEP, listed=True),
    "deep lists before a mistake": Hostile(text("a: {b: c" + "[]" * 100_000), "", run_says="not YAML", listed=True),
    "deep dashes": Hostile(text("- " * 100_000), DEEP, listed=True),
    "deep question marks": Hostile(text("? " * 100_000), DEEP, listed=True),
    "deep blocks": Hostile(text("".join(" " * i + "a:\n" for i in range(600))), DEEP, listed=True),
    "a line of 250 KB": Hostile(
        changed("Is it faster?", "x" * 250_000), "", lint=False, run_says="", traits=frozenset({"plain"})
    ),
    "a key of 250 KB": Hostile(also("x" * 1_000 + ": 1", "? " + "y" * 200_000, ": 1"), "unknown key"),
    "300 KB of comments": Hostile(text("#\n" * 150_000 + GOOD), "a config may have 0.25", listed=True),
    "2000 unknown keys": Hostile(also("work:", *(f"  bytez{i}: 1" for i in range(990))), "and more. Mend these first"),
    "1000 variants": Hostile(changed("[fast]", "[" + ", ".join(f"f{i}" for i in range(990)) + "]"), "has no function 'f0'"),
    "sizes of two types": Hostile(
        changed("n: [4]", "n: [" + ", ".join(f"{i}, x{i}" for i in range(1, 490)) + "]"), "is a string"
    ),
    "cases without number": Hostile(
        changed("{n: [4]}", "{" + ", ".join(f"{a}: {list(range(1, 90))}" for a in "nbcdefgh") + "}"),
        "combinations of sizes; at most 100000",
        run_says="combinations of sizes; at most 100000",
    ),
}

NUMBERS = {
    "9**9**9": Hostile(expression("9**9**9"), "exponents are 0 to 64"),
    "a chain of factors": Hostile(expression("*".join(["9**9"] * 40)), "out of bounds"),
    "a long expression": Hostile(expression("+".join(["n"] * 5_000)), "at most 200 are read"),
    "parentheses": Hostile(expression("(" * 99 + "n" + ")" * 99), "", lint=False, run_says="", traits=frozenset({"plain"})),
    "minus signs": Hostile(expression("-" * 190 + "n" + "/0"), "divides by zero"),
    "a division by zero": Hostile(expression("n // 0"), "divides by zero"),
    "five thousand digits": Hostile(changed("n: [4]", f"n: [{'9' * 5_000}]"), "a number of 5000 characters", listed=True),
    "hexadecimal digits": Hostile(changed("n: [4]", f"n: [0x{'f' * 200_000}]"), "a number of 200002 characters", listed=True),
    "base 60": Hostile(changed("n: [4]", f"n: [1{':1' * 100_000}]"), "a number of 200001 characters", listed=True),
    "base 60, a float": Hostile(
        changed("rtol: 1.0e-6", f"rtol: 1{':1' * 1_000}.5"), "a number of 2003 characters", listed=True
    ),
    "a tolerance of NaN": Hostile(changed("rtol: 1.0e-6", "rtol: .nan"), ".nan is not a finite number", listed=True),
    "an infinite tolerance": Hostile(changed("atol: 0.0", "atol: .inf"), ".inf is not a finite number", listed=True),
    "an overflowing tolerance": Hostile(changed("atol: 0.0", "atol: 1.0e+999"), "is not a finite number", listed=True),
    "NaN on the command line": Hostile(
        lambda folder: None,
        "",
        ("+workload=x", "workload.outputs.c.rtol=nan"),
        "workload/x.yaml",
        lint=False,
        run_says="outputs.c.rtol: nan is not a finite number",
    ),
    "more elements than atoms": Hostile(changed("shape: [n]", f"shape: [{', '.join(['2**60'] * 16)}]"), "2\\*\\*60 elements"),
    "a size below 1": Hostile(changed("shape: [n]", "shape: [n - 9]"), "a size is a whole number, at least 1"),
    "work below none": Hostile(expression("n - 9"), "work is at least 0"),
    "ranks that are no whole number": Hostile(also("ranks: 2.0"), "ranks: 2.0 is a number; a number of ranks"),
    "a size of 39 digits": Hostile(changed("n: [4]", f"n: [{'9' * 39}]"), "out of bounds|2\\*\\*60 elements"),
}

PATHS = {
    "a source up and away": Hostile(changed("../k.py", "../../../../../../etc/passwd.py"), "source: there is neither"),
    "a source with a long name": Hostile(changed("../k.py", "k" * 300 + ".py"), "cannot be looked up"),
    "CUDA C++ with a long name": Hostile(also("cuda: [" + "k" * 300 + ".cu]"), "cannot be looked up"),
    "a tag with a long name": Hostile(
        also("chapter: " + "c" * 300),
        "",
        ("+chapter=" + "c" * 300,),
        "+chapter=ccc",
        lint=False,
        run_says="there is no chapter",
    ),
    "a source beside the config dir": Hostile(changed("../k.py", f"../../{OUTSIDE}/k.py"), "lies outside"),
    "an absolute source": Hostile(
        lambda folder: text(GOOD.replace("../k.py", str(folder.parent / OUTSIDE / "k.py")))(folder), "lies outside"
    ),
    "a source out of the runner's own": Hostile(changed("../k.py", "kernels/../tests/conftest.py"), "lies outside"),
    "a link as the source": Hostile(source(linked(f"../{OUTSIDE}/k.py")), "lies outside"),
    "a FIFO as the source": Hostile(source(os.mkfifo), "is no regular file"),
    "a device as the source": Hostile(source(linked("/dev/zero")), "is no regular file"),
    "a folder as the source": Hostile(source(Path.mkdir), "is no regular file"),
    "100 MB as the source": Hostile(source(sparse), "a source may have 0.25"),
    "a nested source": Hostile(source(lambda path: path.write_text("x = " + "(" * 90_000)), "not Python"),
    "40 sources": Hostile(forty, "", lint=False, run_says="it has over 512 KiB", file="k.py"),
    "minus signs as the source": Hostile(source(lambda path: path.write_text("x = " + "-" * 200_000 + "1")), "not Python"),
    "zero bytes as the source": Hostile(source(lambda path: path.write_bytes(b"\0" * 100)), "not Python"),
    "a source with a zero byte": Hostile(changed("../k.py", '"../k\\0.py"'), UNSEEN, listed=True),
    "CUDA C++ beside the config dir": Hostile(also(f"cuda: [../{OUTSIDE}/k.cu]"), "lies outside the folder"),
    "CUDA C++ that is a device": Hostile(
        lambda folder: (also("cuda: [k.cu]")(folder), (folder / "k.cu").symlink_to("/dev/zero")), "is not there"
    ),
    "a link out": Hostile(yaml(linked(f"../../{OUTSIDE}/secret.yaml")), "leads out of its config dir", listed=True),
    "a link to the environment": Hostile(yaml(linked("/proc/self/environ")), "leads out of its config dir", listed=True),
    "a link to /dev/zero": Hostile(yaml(linked("/dev/zero")), "is a device", listed=True),
    "a link to /dev/tty": Hostile(yaml(linked("/dev/tty")), "is a device", listed=True),
    "a link to itself": Hostile(yaml(linked("x.yaml")), "cannot be read", listed=True),
    "a FIFO": Hostile(yaml(os.mkfifo), "is a FIFO", listed=True),
    "a folder": Hostile(yaml(Path.mkdir), "", lint=False, run_says="is a folder", listed=True),
    "a workload in a folder of workloads": Hostile(
        put("workload/sub/y.yaml", "# @package _global_\n" + GOOD + CALLBACK),
        "",
        ("+workload=sub/y",),
        "workload=sub/y",
        lint=False,
        run_says=NAMES,
    ),
    "a workload up and away": Hostile(
        put("y.yaml", GOOD), "", ("+workload=../y",), "workload=../y", lint=False, run_says=NAMES
    ),
}

HYDRA = {
    "defaults": Hostile(also("defaults: [../../outside/secret]"), "a workload is one file"),
    "defaults that override": Hostile(
        also("defaults:", "  - override hydra/launcher: evil", "  - override /hydra/job_logging: evil"),
        "a workload is one file",
    ),
    "a package line": Hostile(text("# @package _global_\n" + GOOD + CALLBACK), "`# @package` line"),
    "hydra's keys": Hostile(also(CALLBACK), "hydra: unknown key"),
    "a search path": Hostile(also("hydra: {searchpath: ['file:///etc']}"), "hydra: unknown key"),
    "a chapter that calls back": Hostile(
        put("chapter/ev.yaml", "# @package _global_\ntitle: x\n" + CALLBACK),
        "`# @package` line",
        ("+workload=x", "+chapter=ev"),
        "chapter/ev.yaml",
    ),
    "a chapter with defaults": Hostile(
        put("chapter/ev.yaml", "title: x\ndefaults: ['/hydra/callbacks: evil']\n"),
        "a chapter is one file",
        ("+workload=x", "+chapter=ev"),
        "chapter/ev.yaml",
    ),
    "a setting that calls back": Hostile(
        put("measure/m.yaml", "# @package _global_\n" + CALLBACK),
        "",
        ("+workload=x", "measure=m"),
        "measure/m.yaml",
        lint=False,
        run_says="a config dir brings no such settings",
    ),
    "a setting of hydra's": Hostile(
        put("measure/m.yaml", f"# @package hydra\nrun: {{dir: {CANARY}}}\n"),
        "",
        ("+workload=x", "measure=m"),
        "measure/m.yaml",
        lint=False,
        run_says="only _global_ can be said here",
    ),
    "a setting with defaults": Hostile(
        put("measure/m.yaml", "defaults:\n  - override /hydra/launcher: evil\n"),
        "",
        ("+workload=x", "measure=m"),
        "measure/m.yaml",
        lint=False,
        run_says="only names of files beside it",
    ),
    "a suite that overrides": Hostile(
        put("suite/s.yaml", "title: x\ndefaults: [override /hydra/launcher: evil]\nselect: {workloads: [x]}\n"),
        "a suite's defaults name how it is measured",
        ("+suite=s",),
        "suite/s.yaml",
    ),
    "a suite that calls back": Hostile(
        lambda folder: (
            put("suite/s.yaml", "title: x\ndefaults: [override /measure@_global_.measure: m]\nselect: {workloads: [x]}\n")(
                folder
            ),
            put("measure/m.yaml", "# @package _global_\n" + CALLBACK)(folder),
        ),
        "",
        ("+suite=s",),
        "measure/m.yaml",
        lint=False,
        run_says="a config dir brings no such settings",
    ),
    "a setting with a bomb": Hostile(
        put("measure/m.yaml", ALIASES), "", ("+workload=x", "measure=m"), "measure/m.yaml", lint=False, run_says=VALUES
    ),
    "a group of one's own that calls back": Hostile(
        put("evil/m.yaml", "# @package _global_\n" + CALLBACK),
        "",
        ("+workload=x", "+evil=m"),
        "evil/m.yaml",
        lint=False,
        run_says="a config dir brings no such settings",
    ),
    "a folder of hydra's": Hostile(
        put("hydra/env/default.yaml", "# @package _global_\n" + CALLBACK),
        "",
        file="hydra",
        lint=False,
        run_says="brings no settings of Hydra",
    ),
    "a sweep over what calls back": Hostile(
        put("workload/y.yaml", "# @package _global_\n" + GOOD + CALLBACK),
        "`# @package` line",
        ("+workload=x,y", "--multirun"),
        "workload/y.yaml",
    ),
    "settings in the place of the runner's": Hostile(
        put("config.yaml", CALLBACK), "", file="config.yaml", lint=False, run_says="is in both"
    ),
    "another primary config": Hostile(
        put("evil.yaml", CALLBACK),
        "",
        ("+workload=x", "--config-name=evil"),
        "--config-name=evil",
        lint=False,
        run_says="the settings are the runner's own",
    ),
}

TEXT = {
    "zero bytes": Hostile(text(GOOD.replace("faster", "fas\0ter")), UNSEEN, listed=True),
    "not UTF-8": Hostile(text(GOOD.encode().replace(b"faster", b"fas\xff\xfeter")), "is not UTF-8 text", listed=True),
    "UTF-16 with a mark": Hostile(text(GOOD.encode("utf-16")), "is not UTF-8 text", listed=True),
    "UTF-16 without one": Hostile(text(GOOD.encode("utf-16-be")), UNSEEN, listed=True),
    "an escape": Hostile(changed("Is it faster?", "Is it \x1b[31mfaster?"), UNSEEN, listed=True),
    "an escape as an escape": Hostile(changed("Is it faster?", '"Is it \\e[2J\\e]0;owned\\afaster?"'), UNSEEN, listed=True),
    "an escape in a key": Hostile(also('"\\x1b[2J": 1'), UNSEEN, listed=True),
    "a one-byte escape": Hostile(changed("Is it faster?", '"Is it \\x9b2Jfaster?"'), UNSEEN, listed=True),
    "text that turns round": Hostile(changed("Is it faster?", "Is it \u202eretsaf?"), UNSEEN, listed=True),
    "half a surrogate": Hostile(changed("Is it faster?", '"Is it \\uD800 faster?"'), "", run_says="", listed=True),
    "a line break in a key": Hostile(also('"x\\n::error file=k.py::owned": 1'), "a key has a line break", listed=True),
    "a line break in a tag": Hostile(also('chapter: "ch01\\n::error::owned"'), "chapter: "),
    "a line break at a tag's end": Hostile(also('chapter: "ch01\\n"'), "chapter: "),
    "a command of a workflow": Hostile(also("'::error file=k.py::owned%0A::warning::too': 1"), "unknown key"),
    "a command as a value": Hostile(also('claim: "kernel\\n::add-mask::e"'), "claim: "),
    "a name without letters": Hostile(also('"": 1'), "unknown key"),
    "a list below a name without letters": Hostile(changed("Is it faster?", "{'': ['${x}']}"), FILLED),
    "a tensor's name with folders": Hostile(changed("  a: {", "  '../../a': {"), "is not a name of letters"),
    "a tensor without a name": Hostile(changed("  a: {", "  '': {"), "is not a name of letters"),
    "keys that are there twice": Hostile(
        also("question: And which counts?"), "'question' is also on line 1", run_says="found duplicate key question"
    ),
    "two documents": Hostile(text(GOOD + "---\n" + GOOD), "found another document", listed=True),
    "a null key": Hostile(also("? ", ": 1"), "the key None"),
    "a list for a key": Hostile(also("? [a, b]", ": 1"), "unhashable key", listed=True),
    "a file's name with a line break": Hostile(
        put("workload/x\n::error::owned.yaml", GOOD), NAMES, file="owned.yaml", listed=True
    ),
}

HOSTILE = {**EXECUTION, **RESOLVERS, **BOMBS, **NUMBERS, **PATHS, **HYDRA, **TEXT}


def build(folder: Path, hostile: Hostile) -> Path:
    """Make a config dir below `folder`, with what lies outside it; gives the config dir."""
    config = folder / "mine"
    for path in (config / "workload", folder / OUTSIDE):
        path.mkdir(parents=True)
    (config / "workload" / "x.yaml").write_text(GOOD)
    for place in (config, folder / OUTSIDE):
        (place / "k.py").write_text(KERNEL)
    (folder / OUTSIDE / "k.cu").write_text("")
    (folder / OUTSIDE / "secret.yaml").write_text(f"{SECRET}: {SECRET}\n")
    hostile.make(config)
    return config
