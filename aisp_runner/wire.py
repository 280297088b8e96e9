"""The five messages between the judge and a worker, and the socket they travel on.

    job    judge -> worker   what to load, where its memory is (file descriptors travel along)
    ready  worker -> judge   sequence 0: loaded and warm; sequence n: batch n is armed behind the gate
    batch  judge -> worker   which slots to call, in which order
    done   worker -> judge   batch n has returned; what the worker itself saw of it (recorded, not trusted)
    fault  worker -> judge   the candidate raised, and what

A message is one JSON object in one packet of at most `LIMIT` bytes (a SOCK_SEQPACKET keeps packets apart, so a worker cannot
send half a message). Nothing that is read is ever executed. The fork server speaks on the same kind of socket with words of
its own.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from aisp_runner.errors import ProtocolError

LIMIT = 65536
"""Bytes of one message. A job of 40 tensors is under 8 KiB, a batch of 512 slots under 3 KiB."""

WORKER_WORDS = ("ready", "done", "fault")
JUDGE_WORDS = ("job", "batch")


class ChannelClosed(ProtocolError):
    """The other side has gone: its process ended, or it closed the socket."""


class Channel:
    """One end of a message socket.

    words: the kinds of message this end accepts. takes_fds: whether it keeps descriptors that come along, or closes them.
    """

    def __init__(self, end: socket.socket, words: tuple[str, ...], takes_fds: bool = False) -> None:
        self.end = end
        self.words = words
        self.takes_fds = takes_fds

    @staticmethod
    def pair() -> tuple[socket.socket, socket.socket]:
        """Two connected sockets of the right kind; the second one is for the other process."""
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def send(self, kind: str, fds: tuple[int, ...] = (), **fields: Any) -> None:
        """Sends one message. Raises ChannelClosed when nobody is there to read it."""
        packet = json.dumps({"kind": kind, **fields}).encode()
        if len(packet) > LIMIT:
            raise ProtocolError(f"a '{kind}' message of {len(packet)} bytes is over the limit of {LIMIT}")
        try:
            socket.send_fds(self.end, [packet], list(fds))
        except (BrokenPipeError, ConnectionResetError) as gone:
            raise ChannelClosed("the other side of the channel has gone") from gone

    def receive(self, seconds: float | None) -> tuple[dict[str, Any], list[int]]:
        """The next message and the file descriptors that came with it.

        Raises TimeoutError after `seconds`, ChannelClosed at the end, ProtocolError for anything that is not a known message.
        """
        self.end.settimeout(seconds)
        try:
            packet, fds, flags, _ = socket.recv_fds(self.end, LIMIT, 8)
        except ConnectionResetError as gone:
            raise ChannelClosed("the other side of the channel has gone") from gone
        if not self.takes_fds:
            for fd in fds:
                os.close(fd)
            fds = []
        if not packet:
            raise ChannelClosed("the other side of the channel has gone")
        if flags & socket.MSG_TRUNC:
            raise ProtocolError(f"a message is longer than {LIMIT} bytes")
        return self._parse(packet), fds

    def _parse(self, packet: bytes) -> dict[str, Any]:
        try:
            message = json.loads(packet)
        except (ValueError, RecursionError) as bad:
            raise ProtocolError(f"{packet[:60]!r} is not a message (one JSON object)") from bad
        if not isinstance(message, dict) or message.get("kind") not in self.words:
            raise ProtocolError(f"{packet[:60]!r} is not one of the messages {', '.join(self.words)}")
        return message

    def close(self) -> None:
        self.end.close()
