"""Every exception this package raises on purpose.

    AispError
    |- ConfigError      a config, plan or command line says something impossible   (exit 2)
    |- BuildError       a source file could not be compiled
    |- WorkerFault      a worker process died, hung or broke the protocol
    |- DeviceError      the device refused what the judge asked of it
    |- HostError        the machine has too little memory, disk or descriptors for a case
    |- LaneError        a lane's process ended, or no lane is left for a case
    |- DiskError        a record or plan could not be written
    |- EngineFault      a task on another machine came back without a case's record
    '- ProtocolError    a message on a worker's channel is not one of the five

A finding about a candidate is evidence in a record, never an exception.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AispError(Exception):
    """Something this package can explain: what, where, what is allowed, what to do."""


class ConfigError(AispError):
    """A config, plan or command line that cannot be run as written."""


class BuildError(AispError):
    """A source file that a compiler refused; the message ends with the compiler's last lines."""


class DeviceError(AispError):
    """The device refused an allocation, an export or a stream operation of the judge."""


class HostError(AispError):
    """The machine has too little memory, too little room on a disk, or too few descriptors for a case."""


class LaneError(AispError):
    """A process that ran cases beside others ended in the middle of one, or none is left that may run what is left."""


class DiskError(AispError):
    """A record or a plan that could not be written; what was there before is unchanged."""


class ProtocolError(AispError):
    """Bytes on a worker's channel that are not one of the five messages."""


class WorkerFault(AispError):
    """A worker process that died, hung, ran out of its limits or broke the protocol.

    arm: which process it was ("baseline", "candidate", "oracle").
    kind: one word ("raised", "died", "hung", "limit", "protocol").
    """

    def __init__(self, arm: str, kind: str, message: str) -> None:
        super().__init__(message)
        self.arm = arm
        self.kind = kind

    def saying(self, message: str) -> WorkerFault:
        """A fault of the same kind in other words."""
        return type(self)(self.arm, self.kind, message)


class EngineFault(AispError):
    """A task of Ray or Slurm that came back without a case's record.

    kind: one word ("lost", "time_limit", "failed", "refused").
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


MAX_LINES, MAX_LINE = 60, 4_000
"""What a message shows: a file with thousands of mistakes is told by its first ones."""


def printable(text: str) -> list[str]:
    """The lines of a message without what moves a cursor or colours a terminal, long ones cut, and so many at most."""
    lines = text.split("\n")
    told = ["".join(c if c.isprintable() else " " if c.isspace() else "?" for c in line[:MAX_LINE]) for line in lines]
    told = [line + ("..." if len(whole) > MAX_LINE else "") for line, whole in zip(told, lines, strict=True)]
    more = len(told) - MAX_LINES
    return [*told[:MAX_LINES], f"and {more} more"] if more > 0 else told


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' Did you mean 'x'?' for the nearest known word, or an empty string."""
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""
