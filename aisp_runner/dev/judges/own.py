"""This project's judge on one function of an attack, in a process of its own, so that its seconds are told like a harness's.

python -m aisp_runner.dev.judges.own ATTACK FUNCTION DEVICE FOLDER       writes answer.json to the folder

All protections are on, with the settings of `aisp audit` and its middle batch length. The process starts its own fork server,
which imports torch while the judge does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from aisp_runner.audit.attack import Attack, attacks
from aisp_runner.dev.judges.process import Ended, Verdict, own_module, own_path, run, short
from aisp_runner.pool import Pool
from aisp_runner.system import leave

NAME = "aisp-run"
ANSWER = "answer.json"


def judge(attack: Attack, function: str, device: str, home: Path) -> dict[str, Verdict]:
    """Its verdict on the attack's candidate or twin."""
    ended = run([*own_module("own"), attack.name, function, device, str(home)], home, [own_path()])
    records = json.loads((home / ANSWER).read_text()) if (home / ANSWER).is_file() else []
    return {NAME: verdict(records, ended)}


def verdict(records: list[dict[str, Any]], ended: Ended) -> Verdict:
    """What the records say: accepted when all are VALID."""
    if not records:
        return Verdict(False, None, ended.seconds, short(ended.last_words))
    last = records[-1]
    speedup = (last["speedup"] or {}).get("value")
    said = [f"{r['status']} {', '.join(r['reasons'])}: {r['message']}".strip(" :") for r in records]
    return Verdict(all(r["status"] == "VALID" for r in records), speedup, ended.seconds, short("; ".join(said)))


def main(name: str, function: str, device: str, home: Path) -> int:
    """Runs the line and keeps what a verdict is read from."""
    with Pool() as pool:
        pool.start_server(device)
        from aisp_runner.audit.line import LENGTHS, trial  # torch comes with it

        attack = next(a for a in attacks() if a.name == name)
        records = trial(attack, [(function, "strict")], device, LENGTHS[device][1], home / "line", pool)[0]
    kept = [{key: r[key] for key in ("status", "reasons", "message", "speedup")} for r in records]
    (home / ANSWER).write_text(json.dumps(kept))
    return 0


if __name__ == "__main__":
    leave(main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])))
