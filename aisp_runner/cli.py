"""The console script aisp-run: a Hydra app that makes a plan, writes it to the run's folder and runs it.

Exit codes: 0 pass, 1 internal error, 2 usage or config, 3 gate failed, 4 inconclusive, 5 nothing was measured, 130
interrupted.
"""

from __future__ import annotations

import gc
import importlib
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aisp_runner import __version__, config, schema
from aisp_runner.case import Plan
from aisp_runner.content import content_root
from aisp_runner.engine.choice import chosen
from aisp_runner.errors import AispError, ConfigError, did_you_mean, printable
from aisp_runner.plan_file import WHOLE, Shard, load_plan, load_shard, save_plan
from aisp_runner.pool import Pool
from aisp_runner.resume import folder_of as resume_folder
from aisp_runner.system import leave

USAGE, INTERNAL, INTERRUPTED = 2, 1, 130
SEVERITY = (INTERNAL, USAGE, 3, 4, 5)
"""With --multirun the exit code is the first of these that a job gave."""

FOREIGN = ("--config-name", "-cn", "--config-path", "-cp", "--experimental-rerun")

SETTINGS = """\
  device=auto|cpu|cuda         measure=quick|standard|publication     verify.phase=detect|quarantine|gate
  candidate=FILE.py::FUNCTION  mode=plan (do not run, list the cases) verify.require=valid|not_slower|faster
  run_dir=FOLDER               --config-dir FOLDER (your workloads)   margin=0.05  threads=4  protect=off
  environment=shared_host|bare_metal    environment.lock_clocks=true (GPU clocks held still; needs root)
  resume=RUN_DIR (run what is missing there)     retry_errors=true     progress=json (JSON lines on stderr)
  gpus=all|N|[0,2]  gpus.mode=one|spread|each    cpus.lanes=2 (cases side by side; docs/sweeps.md)
  engine=local|ray|slurm (where cases run)"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    code = run(sys.argv[1:] if argv is None else list(argv))
    if "torch" in sys.modules and "ray" not in sys.modules:  # Ray ends its own processes when the interpreter does
        leave(code)
    raise SystemExit(code)


def run(argv: list[str]) -> int:
    """Run a command line (without the program's name) and give its exit code. Messages go to stderr, the answer to stdout."""
    try:
        dirs = config_dirs(argv)
        folders = config.config_folders(dirs)
        if not argv or ({"-h", "--help"} & set(argv) and not has_selection(argv)):
            (sys.stdout if argv else sys.stderr).write(usage(folders))
            return 0 if argv else USAGE
        if argv == ["--version"]:
            sys.stdout.write(f"aisp-run {__version__}\n")
            return 0
        if {"-m", "--multirun"} & set(argv) and any(word.startswith("resume=") for word in argv):
            raise ConfigError("resume with --multirun: each job has a folder of its own. Resume them one by one.")
        return hydra_app(argv, folders)
    except ConfigError as error:
        return refuse(str(error))
    except AispError as error:
        sys.stderr.write("aisp-run: error: " + "\n".join(printable(str(error))) + "\n")
        return INTERNAL
    except KeyboardInterrupt:
        sys.stderr.write("aisp-run: interrupted\n")
        return INTERRUPTED
    except Exception as error:
        message = explained(error, argv)
        if message:
            return refuse(message)
        traceback.print_exc()
        return INTERNAL


def hydra_app(argv: list[str], folders: tuple[Path, ...]) -> int:
    """Run a command line with one pool of processes for all jobs. The fork server imports torch while Hydra composes."""
    with Pool() as pool:
        if will_run(argv):
            pool.start_server(likely_device(argv))
        return compose_and_run(argv, folders, pool)


def will_run(argv: Sequence[str]) -> bool:
    """Whether a command line asks for a run, and not for a plan, a config or help. What is left of a run may be nothing."""
    if any(word.startswith("resume=") or (word.startswith("engine=") and word != "engine=local") for word in argv):
        return False
    flags = [word for word in argv if word.startswith("-") and not word.startswith(("-m", "--multirun", "-cd", "--config-dir"))]
    lanes = any(word.startswith(("gpus=", "gpus.", "cpus.")) for word in argv)  # they start servers of their own
    return has_selection(argv) and "mode=plan" not in argv and not flags and not lanes


def likely_device(argv: Sequence[str]) -> str:
    """cuda where there is an NVIDIA GPU and nothing asks for the CPU. A wrong guess costs a process that is not used."""
    return "cuda" if "device=cpu" not in argv and Path("/dev/nvidiactl").exists() else "cpu"


def compose_and_run(argv: list[str], folders: tuple[Path, ...], pool: Pool) -> int:
    """Let Hydra read the command line and compose the config, and run what it asks for.

    Hydra discards what the decorated function returns, and an exit inside a job would end a sweep, so codes are kept out
    here.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig

    files = config.workload_files(folders)
    misplaced(argv, folders, files)
    foreign(argv)
    words = config.normalised(flags_first(argv), files)
    config.refuse_uncomposable(words, folders)
    if any(word.lstrip("+").startswith(("chapter=", "lab=")) for word in words) or {"-sc", "--shell-completion"} & set(words):
        config.offer_tags(files, folders)
    codes: list[int] = []
    failures: list[BaseException] = []

    @hydra.main(version_base="1.3", config_path=str(folders[0]), config_name="config")
    def job(composed: Any) -> None:
        if failures:
            return
        try:
            overrides = list(HydraConfig.get().overrides.task)
            with own_environment():
                codes.append(one_run(config.request(composed, overrides, folders), folders, pool))
        except BaseException as error:  # passed on below: Hydra would print its own lines about it
            failures.append(error)

    with hydra_environment(["aisp-run", *words]):
        try:
            job()
        except SystemExit as leave:  # from argparse, which has said why
            if leave.code not in (None, 0):
                return USAGE
    if failures:
        raise failures[0]
    return next((code for code in SEVERITY if code in codes), max(codes, default=0))


def one_run(request: config.Request, folders: tuple[Path, ...], pool: Pool | None = None) -> int:
    """Plan a request, write plan.json, and run it unless mode=plan. Gives the exit code."""
    settings = request.settings
    resumed = settings.get("resume")
    if resumed and (wrong := _misused_resume(settings)):
        raise ConfigError(wrong)
    if settings.get("retry_errors") and not resumed:
        raise ConfigError("retry_errors: it goes with resume=RUN_DIR, which names the run whose errors are run again.")
    if not request.files and not resumed:
        sys.stderr.write(usage(folders))
        raise ConfigError("nothing is selected. Say +workload=NAME, +chapter=TAG, +lab=NAME or +suite=NAME.")
    engine = chosen(settings)
    plan, folder, shard = _planned(request, resumed)
    if settings.get("mode") == "plan":
        sys.stdout.write(listing(plan, folder / "plan.json"))
        return 0
    from aisp_runner.execute import Ways, run_plan
    from aisp_runner.lanes.asked import of_settings
    from aisp_runner.lanes.layout import is_plain

    asked = of_settings(settings)
    ways = Ways(bool(resumed), bool(settings.get("retry_errors")), shard, settings.get("progress") or "plain", asked=asked)
    lock_clocks = settings.get("environment", {}).get("lock_clocks", False)
    if engine.name != "local":
        from aisp_runner.engine.sweep import run_away

        return run_away(plan, folder, engine, ways, lock_clocks)
    if is_plain(asked, plan.cases):
        load_torch()
    return run_plan(plan, folder, pool=pool, lock_clocks=lock_clocks, ways=ways)


def _misused_resume(settings: dict[str, Any]) -> str:
    """Why resume= cannot be taken with the other settings, or ""."""
    if settings.get("run_dir"):
        return "resume and run_dir both name a folder. Keep resume=RUN_DIR: the run goes on there."
    if settings.get("mode") == "plan":
        return "resume with mode=plan: a plan that is not run is written to a folder of its own. Leave one of the two out."
    return ""


def _planned(request: config.Request, resumed: str | None) -> tuple[Plan, Path, Shard]:
    """The plan, its folder and the part of it that is run. plan.json is written, but where a run goes on: there `run_plan`
    does it.
    """
    from aisp_runner.plan import make_plan, this_machine

    if resumed:
        folder = resume_folder(Path(resumed).expanduser())
        before, shard = load_plan(folder / "plan.json"), load_shard(folder / "plan.json")
        plan = make_plan(request, this_machine()) if request.files else before
        same = (plan.cases, plan.skips) == (before.cases, before.skips)  # the command line alone may differ: it says resume=
        return before if same else plan, folder, shard
    plan = make_plan(request, this_machine())
    folder = run_folder(request.settings.get("run_dir"), plan)
    save_plan(plan, folder / "plan.json")
    return plan, folder, WHOLE


def load_torch() -> None:
    """Imports what judging needs without the collector, which an eighth of that time would go to, and keeps it out of later
    collections.
    """
    gc.disable()
    importlib.import_module("aisp_runner.measure")
    gc.freeze()
    gc.enable()


def run_folder(asked: str | None, plan: Plan) -> Path:
    """The run's folder: the one asked for, or runs/<UTC time>-<plan's digest>. Raises ConfigError when it holds another run."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    folder = Path(asked).expanduser() if asked else Path("runs") / f"{stamp}-{plan.sha256()[:8]}"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"run_dir: {folder} is a file. Name a folder.")
    if (folder / "records.jsonl").exists():
        raise ConfigError(f"run_dir: {folder} holds another run's records.jsonl. Name another folder, or remove that one.")
    return folder


def listing(plan: Plan, path: Path) -> str:
    """What mode=plan prints: the file, then a line a case and a line a skip."""
    lines = [str(path), f"{len(plan.cases)} cases, {len(plan.skips)} skipped, sha256 {plan.sha256()[:12]}"]
    for case in plan.cases:
        lines.append(f"  {case.title}{'  held out' if case.held_out else ''}")
    lines += [f"  skipped: {skip.workload} / {skip.variant} / {skip.device}: {skip.reason}" for skip in plan.skips]
    return "\n".join(lines) + "\n"


def usage(folders: tuple[Path, ...]) -> str:
    """Help: how to select, the most used settings, and what there is. Reads the YAML files and composes nothing."""
    files = config.workload_files(folders)
    lines = ["usage: aisp-run +workload=NAME | +chapter=TAG | +lab=NAME | +suite=NAME  [SETTING=VALUE ...]", "", SETTINGS, ""]
    for key in ("chapter", "lab"):
        for tag, names in config.tagged(files, key).items():
            described = [file for folder in folders if (file := folder / key / f"{tag}.yaml").is_file()]
            title = config.load_yaml(described[0]).get("title", "") if described else ""
            lines.append(f"+{key}={tag}  {title}".rstrip())
            lines += [f"    {name}  {config.load_yaml(files[name]).get('question', '')}".rstrip() for name in names]
    loose = [name for name, file in files.items() if not {"chapter", "lab"} & set(config.load_yaml(file))]
    lines += [f"+workload={name}  {config.load_yaml(files[name]).get('question', '')}".rstrip() for name in sorted(loose)]
    for file in sorted(file for folder in folders for file in (folder / "suite").glob("*.yaml")):
        lines.append(f"+suite={file.stem}  {config.load_yaml(file).get('title', '')}".rstrip())
    example = next(iter(sorted(files)), "NAME")
    lines += ["", f"For example: aisp-run +workload={example} measure=quick"]
    return "".join(shown_line + "\n" for line in lines for shown_line in printable(line))


def config_dirs(argv: Sequence[str]) -> list[Path]:
    """Folders given by --config-dir or -cd."""
    dirs = []
    for index, word in enumerate(argv):
        if word in ("--config-dir", "-cd"):
            if index + 1 == len(argv):
                raise ConfigError(f"{word}: a folder is wanted after it.")
            dirs.append(Path(argv[index + 1]))
        elif word.startswith("--config-dir="):
            dirs.append(Path(word.partition("=")[2]))
    return dirs


def flags_first(argv: Sequence[str]) -> list[str]:
    """A command line with all overrides at its end: Hydra's parser refuses a flag between two of them."""
    overrides = [word for word in argv if not word.startswith("-") and ("=" in word or word.startswith("~"))]
    return [word for word in argv if word not in overrides] + overrides


def has_selection(argv: Sequence[str]) -> bool:
    """Whether a command line says what to run: by name, or as what is missing in a run's folder."""
    return any(word.lstrip("+").split("=")[0] in (*config.SELECTORS, "resume") for word in argv if "=" in word)


def misplaced(argv: Sequence[str], folders: tuple[Path, ...], files: dict[str, Path]) -> None:
    """Raise ConfigError for a workload whose YAML lies in a config dir itself, where Hydra does not look."""
    for word in argv:
        name = word.removeprefix("+workload=")
        for folder in folders[1:]:
            if name != word and name not in files and (folder / f"{name}.yaml").is_file():
                place = folder.name
                raise ConfigError(
                    f"+workload={name}: {place}/{name}.yaml is not where workloads are looked for. "
                    f"Move it to {place}/workload/{name}.yaml; its `source:` may stay relative to {place}/."
                )


def foreign(argv: Sequence[str]) -> None:
    """Raise ConfigError for a flag of Hydra that puts another config, or a pickled one, in the place of the runner's own, and
    for a launcher that would run several jobs at once.
    """
    for word in argv:
        if word.partition("=")[0] in FOREIGN:
            raise ConfigError(f"{word}: the settings are the runner's own. Your files come in by --config-dir FOLDER.")
        key, _, name = word.lstrip("+").partition("=")
        if key == "hydra/launcher" and name != "basic":
            raise ConfigError(
                f"{word}: jobs of -m run one after the other, since jobs at once would disturb each other's times. On several "
                "machines: engine=ray or engine=slurm, or aisp plan split (docs/engines.md)."
            )


def refuse(message: str) -> int:
    """Print what is wrong with a command line or config, and give the exit code for it."""
    lines = printable(message)
    if len(lines) > 1:
        lines = [f"{len(lines)} problems", *(f"  {line}" for line in lines)]
    sys.stderr.write("aisp-run: error: " + "\n".join(lines) + "\n")
    return USAGE


def explained(error: BaseException, argv: Sequence[str]) -> str:
    """Hydra's refusal in this package's words, or "" for an exception that is not one."""
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    chain = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None and inner not in chain:
        chain.append(inner)
    for link in chain:
        if config.is_yaml_error(link):
            return config.yaml_problem(link)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return missing_option(str(error.missing_cfg_file), list(error.options or []), argv)
    if isinstance(error, OverrideParseException):
        return f"'{error.override}' cannot be read: {config.first_line(error)}. Write KEY=VALUE, and quote a value with spaces."
    if isinstance(error, HydraException | OmegaConfBaseException):
        return refused_override(next(filter(None, map(config.first_line, chain)), type(error).__name__), argv)
    return ""


def missing_option(missing: str, options: list[str], argv: Sequence[str]) -> str:
    """+chapter=ch99: there is no such chapter. Did you mean ...? Chapters: ..."""
    group, _, name = missing.rpartition("/")
    if not group:
        return f"there is no config '{missing}'."
    known = sorted(options or {path.stem for path in (content_root() / "conf" / group).glob("*.yaml")})
    plus = "+" if group in config.SELECTORS else ""
    plural = f"{group.capitalize()}s" if group in config.SELECTORS else "Choices"
    text = f"{plus}{group}={name}: there is no {group} '{name}'.{schema.nearest(name, known)} {plural}: {', '.join(known)}."
    if group == "workload" and not config_dirs(argv):
        text += " One of your own needs --config-dir FOLDER, with FOLDER/workload/NAME.yaml."
    return text


def refused_override(message: str, argv: Sequence[str]) -> str:
    """An override that Hydra refuses, with the nearest key that exists."""
    found = re.search(
        r"(?:Could not (?:override|append to|delete)|value for argument|delete from config)[^']*'([^'=]+)", message
    )
    key = found.group(1).lstrip("+~") if found else ""
    word = next((word for word in argv if key and word.lstrip("+~").split("=")[0] == key), key)
    if key in config.SELECTORS and word.startswith(key):
        return f"{word}: write +{word.lstrip('+~')}, with a plus: what to run is added to the settings."
    if "," in word.partition("=")[2] and "mbiguous" in message:
        return f"{word}: one value is wanted. Write {key}=[A,B] for a list, or add --multirun for a run of each."
    if key:
        keys = config.dotted_keys()
        near = did_you_mean(key, keys) or did_you_mean(key, [k for k in keys if k.startswith(key.split(".")[0])])
        siblings = [k for k in keys if "." in key and k.startswith(key.rpartition(".")[0] + ".")]
        known = siblings or [k for k in keys if "." not in k and k not in config.SELECTORS]
        return f"{word}: there is no setting '{key}'.{near} Settings: {', '.join(known)}."
    return message


@contextmanager
def hydra_environment(argv: list[str]) -> Iterator[None]:
    """sys.argv as Hydra reads it, and its exceptions passed on instead of printed; both put back afterwards."""
    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = argv, "1"
    try:
        yield
    finally:
        sys.argv = before
        restore("HYDRA_FULL_ERROR", full)


@contextmanager
def own_environment() -> Iterator[None]:
    """The environment without what was set for Hydra alone, so that no worker inherits it."""
    full = os.environ.pop("HYDRA_FULL_ERROR", None)
    try:
        yield
    finally:
        restore("HYDRA_FULL_ERROR", full)


def restore(name: str, value: str | None) -> None:
    """Set an environment variable, or remove it for None."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


if __name__ == "__main__":
    main()
