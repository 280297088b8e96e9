"""The `aisp` command: everything that is not a run. It looks, and changes nothing but the quarantine file and stored ceilings;
`aisp new` makes files.

aisp list        what there is to run, and what of it runs here
aisp new         files for a workload, protection, attack or chapter, to be changed
aisp lint        what is wrong or questionable in config files, with file and line
aisp review      what a change of configs means for what is measured, and whether it may go in without a word
aisp learn       a chapter's page, and what its comparisons gave elsewhere and in your newest run
aisp show        a run's table again; with --config what a workload measures, and which line says so
aisp verify-record  whether a run's records say what their own samples, evidence and plan say, and are all there
aisp explain     why a case was refused or is undecided, and how an honest author goes on
aisp doctor      what this machine can measure, and how to mend what it cannot
aisp plan split  parts of a plan, one a machine
aisp merge       one file of records of the parts' runs
aisp peak        what this machine can do at most: measures its ceilings, and keeps them for the roofline of later runs
aisp quarantine  whose numbers are withheld, and letting one out
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from aisp_runner import __version__
from aisp_runner.config_page.command import add_arguments as add_config
from aisp_runner.errors import AispError, ConfigError, did_you_mean, printable
from aisp_runner.new.command import add_parser as add_new
from aisp_runner.review import command as review

COMMANDS = (
    *("list", "learn", "new", "lint", "review", "show", "verify-record", "explain", "audit", "doctor"),
    *("plan", "merge", "peak", "quarantine"),
)


class Parser(argparse.ArgumentParser):
    """argparse with this project's errors: one line, a suggestion, exit 2."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}. See: {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code and never shows a traceback for a user's mistake."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        word = given[0] if given else ""
        if word and not word.startswith("-") and word not in COMMANDS:
            raise ConfigError(f"{word!r} is no command.{did_you_mean(word, COMMANDS)} Commands: {', '.join(COMMANDS)}.")
        parsed = _parser().parse_args(given)
        command: Callable[[argparse.Namespace], int] = parsed.command
        code = command(parsed)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `aisp list | head`: the reader has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except AispError as error:
        sys.stderr.write("aisp: error: " + "\n".join(printable(str(error))) + "\n")
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        return 130


def _parser() -> Parser:
    parser = Parser(prog="aisp", description="Look at workloads, runs and this machine. To measure: aisp-run --help")
    parser.add_argument("--version", action="version", version=f"aisp {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    listing = commands.add_parser("list", help="what there is to run, and what of it runs on this machine")
    listing.add_argument("names", nargs="*", metavar="NAME", help="only these workloads, chapters or labs")
    listing.add_argument("--config-dir", type=Path, action="append", default=[], help="your own folder with workload/*.yaml")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(command=_list)

    learn = commands.add_parser(
        "learn", help="a chapter's page, and what its comparisons gave elsewhere and in your newest run"
    )
    learn.add_argument("chapter", metavar="CHAPTER", help="such as ch12")
    learn.add_argument("--json", action="store_true", help="the page and the ranges as JSON")
    learn.set_defaults(command=_learn)

    _show_parser(commands)
    _verify_record_parser(commands)
    add_new(commands)
    _lint_parser(commands)
    review.add_parser(commands)
    _shards_parser(commands)

    explain = commands.add_parser("explain", help="why a case was refused or is undecided, and how an honest author goes on")
    explain.add_argument("run", nargs="?", type=Path, metavar="RUN", help="its folder or records.jsonl; default: the newest")
    which = "number in the table, or text out of workload/variant/case; default: all that were not accepted"
    explain.add_argument("case", nargs="?", metavar="CASE", help=which)
    explain.add_argument("--json", action="store_true", help="as JSON")
    explain.set_defaults(command=_explain)

    doctor = commands.add_parser("doctor", help="what this machine can measure, and how to mend what it cannot; exit 0 always")
    doctor.add_argument("--json", action="store_true", help="as JSON")
    doctor.set_defaults(command=_doctor)

    peak = commands.add_parser("peak", help="measure this machine's ceilings (memory, arithmetic, launches) and keep them")
    peak.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is a GPU")
    peak.add_argument("--seconds", type=float, metavar="S", help="about how long to measure; default: 15 on a GPU, 6 on a CPU")
    peak.add_argument("--gpu", metavar="NAME", help="measure nothing; show the vendor's dense figures of that GPU")
    peak.add_argument("--json", action="store_true", help="as JSON")
    peak.set_defaults(command=_peak)

    audit = commands.add_parser("audit", help="run the attacks here: each refused, alive without protection, its twin accepted")
    audit.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    audit.add_argument("--category", default="", help="attacks of one category, such as timing")
    audit.add_argument("--issue", default="", help="attacks of one issue, such as output.stale_cache")
    audit.add_argument("--all-lengths", action="store_true", help="at three batch lengths instead of one")
    audit.add_argument("--jobs", type=int, metavar="N", help="attacks at the same time; default: one, on a CPU one for 2 cores")
    audit.add_argument("--names", default="", metavar="A,B", help="attacks by the names of their files, category/stem")
    audit.add_argument("--honest", type=int, default=0, metavar="N", help="run N honest kernels instead")
    audit.add_argument("--mutate", action="store_true", help="leave each attack's protection out: is the attack accepted then?")
    audit.add_argument("--claims", type=Path, help=argparse.SUPPRESS)  # folder by which processes share attacks out
    wrong = "make wrong variants of these workloads (names, patterns, YAML files, all) instead: each must be refused"
    audit.add_argument("--wrong", nargs="+", default=[], metavar="WORKLOAD", help=wrong)
    form = audit.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the rows as JSON")
    form.add_argument("--markdown", action="store_true", help="the table as Markdown")
    audit.add_argument("--out", type=Path, metavar="FILE", help="also write the rows as JSON, after each one")
    audit.set_defaults(command=_audit)

    quarantine = commands.add_parser("quarantine", help="whose numbers are withheld")
    actions = quarantine.add_subparsers(metavar="ACTION", required=True)
    shown = actions.add_parser("list", help="every entry with its reason")
    shown.add_argument("--json", action="store_true", help="as JSON")
    shown.set_defaults(command=_quarantine_list)
    release = actions.add_parser("release", help="show its numbers again, on your word")
    release.add_argument("name", metavar="NAME", help="workload/variant, as aisp quarantine list shows it")
    release.add_argument("--because", required=True, metavar="TEXT", help="why; the file keeps it for reviewers")
    release.set_defaults(command=_quarantine_release)
    for action in (shown, release):
        action.add_argument("--file", type=Path, help="default: AISP_QUARANTINE, or quarantine.yaml here")
    return parser


def _show_parser(commands: argparse._SubParsersAction[Parser]) -> None:
    show = commands.add_parser(
        "show", help="a run's table again; --config: what is measured; exit 3: a record contradicts itself"
    )
    show.add_argument("run_dir", nargs="?", type=Path, metavar="RUN_DIR", help="default: the newest folder in runs/")
    form = show.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the records, skips and contradictions as JSON")
    form.add_argument("--markdown", action="store_true", help="the table as Markdown")
    show.add_argument(
        "--curves", action="store_true", help="by size: geometric mean, worst size, where a variant begins to win"
    )
    show.add_argument("--junit", type=Path, metavar="FILE", help="also write JUnit XML, for the test page of a CI system")
    add_config(show)
    show.set_defaults(command=_show)


def _lint_parser(commands: argparse._SubParsersAction[Parser]) -> None:
    lint = commands.add_parser("lint", help="what is wrong or questionable in config files; exit 2 when there are errors")
    lint.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="files and folders; default: all that aisp-run sees here"
    )
    lint.add_argument("--fix", action="store_true", help="write what is safe to change")
    lint.add_argument("--strict", action="store_true", help="exit 2 for warnings too")
    lint.add_argument(
        "--gpu-gib", type=float, default=80.0, metavar="GIB", help="memory that sizes for a GPU have to fit; default: 80"
    )
    form = lint.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--github", action="store_true", help="as annotations of a GitHub workflow")
    lint.set_defaults(command=_lint)


def _verify_record_parser(commands: argparse._SubParsersAction[Parser]) -> None:
    verify = commands.add_parser("verify-record", help="whether records bear themselves out; exit 3 when something contradicts")
    verify.add_argument("path", type=Path, metavar="FILE|RUN_DIR", help="records, or the folder of the run that wrote them")
    verify.add_argument("--plan", type=Path, metavar="FILE", help="the plan of the run; default: plan.json beside the records")
    verify.add_argument("--key-file", type=Path, metavar="FILE", help="the signing key; without it no signature is checked")
    verify.add_argument("--json", action="store_true", help="as JSON")
    verify.set_defaults(command=_verify_record)


def _shards_parser(commands: argparse._SubParsersAction[Parser]) -> None:
    plan = commands.add_parser("plan", help="parts of a plan, to be run on several machines")
    split = plan.add_subparsers(metavar="ACTION", required=True).add_parser("split", help="write one file a part")
    split.add_argument("parts", type=int, metavar="N", help="how many")
    split.add_argument("plan", type=Path, metavar="PLAN", help="a plan.json of aisp-run mode=plan")
    split.add_argument("--out", type=Path, metavar="DIR", help="default: beside the plan")
    split.set_defaults(command=_plan_split)
    merge = commands.add_parser("merge", help="one file of records of the parts' runs; exit 3 when cases are missing")
    merge.add_argument("out", type=Path, metavar="OUT", help="a new folder")
    merge.add_argument("run_dirs", type=Path, nargs="+", metavar="RUN_DIR", help="the folders of the parts' runs")
    merge.add_argument("--mixed", action="store_true", help="also of different runners, devices or drivers")
    merge.add_argument("--json", action="store_true", help="as JSON")
    merge.set_defaults(command=_merge)


def _plan_split(parsed: argparse.Namespace) -> int:
    from aisp_runner import shards

    made = shards.split(parsed.plan, parsed.parts, parsed.out)
    _write_lines(lambda width: [(f"{path}  {cases} cases", "") for path, cases in made])
    _write_lines(lambda width: [(f"On each machine: python -m aisp_runner.execute {made[0][0].name} --run-dir DIR", "dim")])
    return 0


def _merge(parsed: argparse.Namespace) -> int:
    from aisp_runner import shards

    made = shards.merge(parsed.out, parsed.run_dirs, parsed.mixed)
    if parsed.json:
        _write_json(made.to_json())
    else:
        _write_lines(lambda width: made.lines())
    return made.exit_code


def _list(parsed: argparse.Namespace) -> int:
    from aisp_runner import listing
    from aisp_runner.content import content_root

    folders = [content_root() / "conf", *parsed.config_dir]
    for folder in parsed.config_dir:
        if not (folder / "workload").is_dir():
            raise ConfigError(f"--config-dir {folder}: has no folder 'workload'. Put your YAML files into {folder}/workload/.")
    here = listing.this_machine()
    everything = listing.load(folders, here)
    chosen = listing.only(everything, parsed.names)
    if parsed.json:
        _write_json(listing.as_json(chosen, here))
    else:
        _write_lines(lambda width: listing.lines(chosen, here, width))
        for path, wrong in chosen.unreadable.items():
            sys.stderr.write(f"aisp: error: {path}: {wrong}\n")
    return 2 if chosen.unreadable else 0


def _lint(parsed: argparse.Namespace) -> int:
    from aisp_runner.lint import command

    return command.run(parsed)


def _learn(parsed: argparse.Namespace) -> int:
    from aisp_runner import learn

    page, machines = learn.page(parsed.chapter), learn.expected(parsed.chapter)
    rows = learn.comparisons(machines, learn.newest_of(parsed.chapter))
    if parsed.json:
        _write_json(
            {"page": page, "expected": machines, "comparisons": [{**vars(row), "surprise": row.surprise()} for row in rows]}
        )
        return 0
    learn.show(page, rows, machines)
    return 0


def _show(parsed: argparse.Namespace) -> int:
    if parsed.config is not None:
        from aisp_runner.config_page import command

        return command.run(parsed, _write_lines)
    if parsed.settings or parsed.config_dir:
        raise ConfigError("settings and --config-dir go with --config WORKLOAD. A run's table needs its folder alone.")
    from aisp_runner import junit, record, report
    from aisp_runner.case import to_json
    from aisp_runner.run_view import view

    run_dir = parsed.run_dir or _newest_run()
    if not (run_dir / record.FILE).is_file() and not (run_dir / "plan.json").is_file():
        raise ConfigError(f"{run_dir}: {'no run is in it' if run_dir.is_dir() else 'no such folder'}.{_nearby(run_dir)}")
    seen = view(run_dir, whole=bool(parsed.json or parsed.junit))
    records, skips, wrong = seen.records, seen.skips, seen.wrong
    if parsed.curves:
        return _curves(parsed, records)
    if parsed.junit:
        junit.write(parsed.junit, records, skips, wrong)
    if parsed.json:
        _write_json({"run_dir": str(run_dir), "records": records, "skips": to_json(skips), "contradictions": wrong})
    elif parsed.markdown:
        sys.stdout.write(report.to_markdown(records, skips))
    else:
        console = report.Console()
        console.write(str(run_dir), "bold")
        console.table(records, skips)
        for note in seen.notes:
            console.write(note, "dim")
        if not records:
            console.write(f"Next: {report.next_step(records, skips, run_dir)}", "bold")
    for text in wrong:
        sys.stderr.write(f"contradiction: {report.clean(text)}\n")
    return 3 if wrong else 0


def _curves(parsed: argparse.Namespace, records: Sequence[dict[str, Any]]) -> int:
    from aisp_runner import curves

    if parsed.markdown:
        raise ConfigError("--curves has no form in Markdown. Leave one of the two out, or use --json.")
    found = curves.of_records(records)
    if parsed.json:
        _write_json(curves.as_json(found))
    else:
        told = curves.lines(found) or ["No variant was measured at two sizes or more."]
        sys.stdout.write("\n".join(told).rstrip() + "\n")
    return 0


def _verify_record(parsed: argparse.Namespace) -> int:
    from aisp_runner import verify_record

    if not parsed.path.exists():
        raise ConfigError(f"{parsed.path}: no such file or folder.{_nearby(parsed.path)}")
    verified = verify_record.verify(parsed.path, parsed.plan, parsed.key_file)
    if parsed.json:
        _write_json(verified.to_json())
    else:
        _write_lines(lambda width: verified.lines())
    return verified.exit_code


def _explain(parsed: argparse.Namespace) -> int:
    from aisp_runner import explain, record, report

    run, piece = parsed.run or _newest_run(), parsed.case
    if piece is None and not run.exists():
        run, piece = _case_of_newest(run)
    path = run if run.is_file() else run / record.FILE
    if not path.is_file() and not (run / "plan.json").is_file():
        raise ConfigError(f"{run}: {'no run is in it' if run.is_dir() else 'no such folder or file'}.{_nearby(run)}")
    records = record.standing(path) if path.is_file() else []
    told = explain.explain(records, explain.choose(records, piece))
    if parsed.json:
        _write_json({"run": str(run)} | told)
        return 0
    console = report.Console()
    console.write(str(run), "bold")
    for text, style in explain.lines(told, min(console.width, 120)):
        console.write(text, style)
    return 0


def _case_of_newest(word: Path) -> tuple[Path, str]:
    """The newest run and the only argument of `aisp explain`, which is no path: it may name a case there."""
    from aisp_runner import explain, record

    run = next(iter(_runs(Path("runs"))), None)
    records = record.read(run / record.FILE) if run and (run / record.FILE).is_file() else []
    if run is None or not explain.matching(records, str(word)):
        near = did_you_mean(str(word), explain.words(records))
        also = f", and no case of {run}" if records else ""
        raise ConfigError(f"{word}: no such folder or file{also}.{near or _nearby(word)}")
    return run, str(word)


def _doctor(parsed: argparse.Namespace) -> int:
    from aisp_runner import doctor

    checks = doctor.examine()
    if parsed.json:
        _write_json(doctor.as_json(checks))
    else:
        _write_lines(lambda width: doctor.lines(checks))
    return 0


def _peak(parsed: argparse.Namespace) -> int:
    from aisp_runner import machine
    from aisp_runner.peak import datasheet, measure, store, table

    if parsed.gpu is not None:
        sheet = datasheet.find(parsed.gpu)
        if parsed.json:
            _write_json(datasheet.as_json(sheet))
        else:
            _write_lines(lambda width: datasheet.lines(sheet))
        return 0
    device = measure.choose(parsed.device, machine.facts("cuda"))
    seconds = measure.SECONDS[device] if parsed.seconds is None else parsed.seconds
    if not 0 < seconds <= measure.MOST_SECONDS:
        raise ConfigError(f"--seconds {seconds:g}: more than 0 and at most {measure.MOST_SECONDS:g} is allowed.")
    if not parsed.json:
        _write_lines(
            lambda width: [(f"Measuring the {'GPU' if device == 'cuda' else 'CPU'} for about {seconds:.0f} s.", "dim")]
        )
    measured = measure.measure(device, machine.facts(device), seconds)
    path = store.save(measured)
    if parsed.json:
        _write_json(store.to_json(measured))
    else:
        _write_lines(lambda width: table.lines(measured, path))
    return 0


def _audit(parsed: argparse.Namespace) -> int:
    from aisp_runner.audit import command

    return command.run(parsed)


def _quarantine_list(parsed: argparse.Namespace) -> int:
    from aisp_runner import quarantine

    path = parsed.file or quarantine.default_path()
    content = quarantine.load(path)
    if parsed.json:
        _write_json(content)
        return 0
    shown: list[tuple[str, str]] = []
    for key, entry in sorted(content["entries"].items()):
        shown += [(key, "bold"), (f"  {', '.join(entry['reason'])}: {entry['message']} ({entry['date']})", "")]
        for item in entry["evidence"]:
            again = f", VALID again in {item['valid_in']}" if "valid_in" in item else ""
            shown.append((f"    {item['case']}  {item['run_dir']}{again}", "dim"))
    total = len(content["entries"])
    shown.append((f"{total} in quarantine ({path})." if total else f"Nothing is in quarantine ({path}).", "bold"))
    _write_lines(lambda width: shown)
    return 0


def _quarantine_release(parsed: argparse.Namespace) -> int:
    from aisp_runner import quarantine

    path = parsed.file or quarantine.default_path()
    quarantine.release(path, parsed.name, parsed.because)
    sys.stdout.write(f"{parsed.name} is out of quarantine; {path} keeps why.\n")
    return 0


def _newest_run() -> Path:
    runs = _runs(Path("runs"))
    if not runs:
        raise ConfigError("runs/ holds no run. Measure something first: aisp-run +workload=NAME, with a NAME of aisp list.")
    return runs[0]


def _runs(folder: Path) -> list[Path]:
    """The runs in a folder, newest first."""
    found = [path.parent for path in folder.glob("*/plan.json")] + [path.parent for path in folder.glob("*/records.jsonl")]
    return sorted(set(found), key=lambda run: (run.stat().st_mtime, run.name), reverse=True)


def _nearby(run_dir: Path) -> str:
    """The run that was perhaps meant, and the newest ones."""
    runs = _runs(run_dir if run_dir.is_dir() else run_dir.parent) or _runs(Path("runs"))
    names = {str(run) for run in runs}
    newest = f" Newest runs: {', '.join(map(str, runs[:3]))}." if runs else " No run is here yet: aisp-run writes runs/."
    return did_you_mean(str(run_dir), names) + newest


def _write_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _write_lines(lines: Callable[[int], list[tuple[str, str]]]) -> None:
    """Write (text, style) lines made for the console's width."""
    from aisp_runner.report import Console, clean

    console = Console()
    for text, style in lines(min(console.width, 120)):
        console.write(clean(text), style)


if __name__ == "__main__":
    sys.exit(main())
