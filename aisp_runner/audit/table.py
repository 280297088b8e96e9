"""Rows of an audit as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aisp_runner.audit.attack import PREVENTED, VERIFIER


def holds(row: dict[str, Any]) -> bool:
    """Whether an attack was refused, is alive and its twin accepted; an honest run accepted; or a protection missed."""
    if "missed" in row:
        return bool(row["missed"])
    return row["status"] == "VALID" if "status" in row else bool(row["refused"] and row["alive"] and row["twin_accepted"])


def line(row: dict[str, Any]) -> str:
    """A row of the table in the terminal."""
    start = f"{row['issue']:38} {row['device']} {row['calls'][1]:4}"
    if "missed" in row:
        without = f"without {row['expect']}"
        return (
            f"{start}  {without:44}  {'accepted' if row['missed'] else 'refused all the same by ' + ', '.join(row['reasons'])}"
        )
    caught = f"refused by {row['expect'] if row['named'] else ', '.join(row['reasons'])}" if row["refused"] else "NOT REFUSED"
    alive = f"{'alive' if row['alive'] else 'NOT ALIVE'} ({_fake(row)} {row['unprotected']})"
    twin = "twin accepted" if row["twin_accepted"] else f"TWIN REFUSED: {'; '.join(row['twin'])}"
    return f"{start}  {caught:44}  {alive}  {twin}"


def by_protection(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of `--mutate` by the protection that was left out, but for those in which there was none to leave out."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["expect"] not in (PREVENTED, VERIFIER):
            found.setdefault(row["expect"], []).append(row)
    return dict(sorted(found.items()))


def unmissed(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Protections without which no attack of theirs is accepted: others stop all that they do."""
    return [name for name, own in by_protection(rows).items() if not any(row["missed"] for row in own)]


def mutation_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each protection that was left out."""
    lines = ["| left out | attacks accepted then | refused all the same |", "|---|---|---|"]
    for name, own in by_protection(rows).items():
        accepted = ", ".join(row["attack"] for row in own if row["missed"]) or "none"
        refused = "; ".join(f"{row['attack']} by {', '.join(row['reasons'])}" for row in own if not row["missed"])
        lines.append(f"| {name} | {accepted} | {refused or '-'} |")
    return "\n".join(lines)


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The same as a Markdown table."""
    lines = ["| issue | attack | device | calls | refused by | seen by | alive | twin |", "|---|---|---|---:|---|---|---|---|"]
    for r in rows:
        caught = ", ".join(r["reasons"]) or "nothing to reach"
        cells = [
            r["issue"],
            r["attack"],
            r["device"],
            str(r["calls"][1]),
            caught if r["refused"] else "NOT REFUSED",
            ", ".join(r["witness"]),
            f"{_fake(r)} {r['unprotected']}" if r["alive"] else "NO",
            "accepted" if r["twin_accepted"] else "REFUSED",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _fake(row: dict[str, Any]) -> str:
    return f"{row['fake_speedup']:.2f}x" if row["fake_speedup"] else "-"
