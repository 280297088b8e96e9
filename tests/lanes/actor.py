"""A lane's process that judges nothing: it does what a test has written down for its GPU. Run by path, as a lane is started.

$ACTS is a folder with a file for each UUID, a word a line, which are used up one after the other: refuse, wait and begin are
for a start (begin, where the file has nothing); run, lost, broken, die and later are for a case (run, where it has nothing).
later: runs it when the other files are used up.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from aisp_runner.wire import Channel, ChannelClosed

STARTS = ("refuse", "wait", "begin")


def act(uuid: str, starting: bool) -> str:
    path = Path(os.environ["ACTS"]) / uuid
    words = path.read_text().split() if path.is_file() else []
    if not words or (words[0] in STARTS) != starting:
        return "begin" if starting else "run"
    path.write_text(" ".join(words[1:]))
    return words[0]


def wait_for_the_others(uuid: str) -> None:
    until = time.monotonic() + 60
    others = [path for path in Path(os.environ["ACTS"]).glob("GPU-*") if path.name != uuid]
    while any(path.read_text().split() for path in others) and time.monotonic() < until:
        time.sleep(0.02)


def play(channel: Channel) -> None:
    told, _ = channel.receive(None)
    uuid = told["uuids"][0]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == uuid and uuid not in os.environ["AISP_BESIDE"].split(",")
    start = act(uuid, True)
    if start == "refuse":
        channel.send("refused", why="it is in use by another run")
        return
    if start == "wait":
        channel.send("said", text="waiting for at most 60 s")
        time.sleep(60)
    channel.send("ready", facts={"cpu": "a CPU", "missing": {}})
    while True:
        message, _ = channel.receive(None)
        time.sleep(0.02)
        do = act(uuid, False)
        if do == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if do == "later":
            wait_for_the_others(uuid)
        made = {"status": "ERROR" if do in ("lost", "broken") else "VALID", "number": message["number"], "pid": os.getpid()}
        made |= {"speedup": None, "quarantined": False}
        descriptor = os.memfd_create("record")
        os.write(descriptor, json.dumps(made).encode())
        lost = "NVML: GPU is lost" if do == "lost" else ""
        channel.send("record", fds=(descriptor,), seconds=0.02, lost=lost, last=do == "broken")
        os.close(descriptor)


if __name__ == "__main__":
    try:
        play(Channel(socket.socket(fileno=int(sys.argv[1])), ("open", "case")))
    except ChannelClosed:
        sys.exit(0)
