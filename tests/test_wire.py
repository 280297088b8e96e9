"""The message socket between judge and worker."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from aisp_runner.errors import AispError, ProtocolError
from aisp_runner.wire import JUDGE_WORDS, LIMIT, WORKER_WORDS, Channel, ChannelClosed


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """(judge's end, worker's end)."""
    mine, theirs = Channel.pair()
    judge, worker = Channel(mine, WORKER_WORDS), Channel(theirs, JUDGE_WORDS, takes_fds=True)
    yield judge, worker
    judge.close()
    worker.close()


def test_a_message_arrives_as_it_was_sent(ends: tuple[Channel, Channel]) -> None:
    judge, worker = ends
    judge.send("batch", sequence=7, order=[2, 0, 1], gated=False, name="höchst")
    message, fds = worker.receive(1.0)
    assert message == {"kind": "batch", "sequence": 7, "order": [2, 0, 1], "gated": False, "name": "höchst"}
    assert fds == []


def test_file_descriptors_travel_along(ends: tuple[Channel, Channel]) -> None:
    judge, worker = ends
    read, write = os.pipe()
    judge.send("job", fds=(write,))
    os.close(write)
    _, (arrived,) = worker.receive(1.0)
    os.write(arrived, b"through")
    os.close(arrived)
    assert os.read(read, 100) == b"through"
    assert os.read(read, 100) == b"", "a second copy of the descriptor is still open"
    os.close(read)


def test_messages_are_kept_apart(ends: tuple[Channel, Channel]) -> None:
    judge, worker = ends
    for sequence in (1, 2, 3):
        worker.send("done", sequence=sequence)
    assert [judge.receive(1.0)[0]["sequence"] for _ in range(3)] == [1, 2, 3]


def test_waiting_for_a_message_ends_with_a_timeout(ends: tuple[Channel, Channel]) -> None:
    with pytest.raises(TimeoutError):
        ends[0].receive(0.01)


def test_the_end_of_the_other_side_is_told_apart_from_a_wrong_message(ends: tuple[Channel, Channel]) -> None:
    judge, worker = ends
    worker.close()
    for act in (lambda: judge.receive(1.0), lambda: judge.send("job")):
        with pytest.raises(ChannelClosed, match="the other side of the channel has gone"):
            act()
    assert issubclass(ChannelClosed, ProtocolError) and issubclass(ProtocolError, AispError)


def test_what_was_sent_before_the_end_is_still_read(ends: tuple[Channel, Channel]) -> None:
    judge, worker = ends
    worker.send("fault", message="last words")
    worker.close()
    assert judge.receive(1.0)[0]["message"] == "last words"
    with pytest.raises(ChannelClosed):
        judge.receive(1.0)


def test_a_message_over_the_limit_is_not_sent(ends: tuple[Channel, Channel]) -> None:
    with pytest.raises(ProtocolError, match=rf"a 'batch' message of \d+ bytes is over the limit of {LIMIT}"):
        ends[0].send("batch", order="x" * LIMIT)
    with pytest.raises(TimeoutError):
        ends[1].receive(0.01)


def test_a_message_of_just_the_limit_arrives(ends: tuple[Channel, Channel]) -> None:
    judge, worker = ends
    text = "x" * (LIMIT - len('{"kind": "fault", "message": ""}'))
    worker.send("fault", message=text)
    assert judge.receive(1.0)[0]["message"] == text


def test_a_packet_over_the_limit_is_refused(ends: tuple[Channel, Channel]) -> None:
    ends[1].end.send(b'{"kind": "done"}' + b" " * LIMIT)
    with pytest.raises(ProtocolError, match=f"a message is longer than {LIMIT} bytes"):
        ends[0].receive(1.0)


@pytest.mark.parametrize(
    "packet",
    [b"garbage!", b"\x00", b"\xff\xfe\x00", b'{"kind": "done"', b'{"kind": "done"}{"kind": "done"}', b"[" * 60000, b"9" * 5000],
    ids=["text", "zero", "not utf-8", "half", "two in one", "deep", "huge number"],
)
def test_bytes_that_are_no_json_are_refused(ends: tuple[Channel, Channel], packet: bytes) -> None:
    ends[1].end.send(packet)
    with pytest.raises(ProtocolError, match="is not a message \\(one JSON object\\)"):
        ends[0].receive(1.0)


@pytest.mark.parametrize("packet", [b"[]", b"7", b"null", b"{}", b'{"kind": 3}', b'{"kind": ["done"]}', b'{"kind": {"a": 1}}'])
def test_json_that_is_no_message_is_refused(ends: tuple[Channel, Channel], packet: bytes) -> None:
    ends[1].end.send(packet)
    with pytest.raises(ProtocolError, match="is not one of the messages ready, done, fault"):
        ends[0].receive(1.0)


def test_an_end_takes_only_the_words_of_its_side(ends: tuple[Channel, Channel]) -> None:
    judge, worker = ends
    worker.end.send(b'{"kind": "job"}')
    with pytest.raises(ProtocolError, match="is not one of the messages ready, done, fault"):
        judge.receive(1.0)
    judge.send("done")
    with pytest.raises(ProtocolError, match="is not one of the messages job, batch"):
        worker.receive(1.0)


def test_an_error_shows_no_more_than_the_beginning_of_a_packet(ends: tuple[Channel, Channel]) -> None:
    ends[1].end.send(b"z" * 5000)
    with pytest.raises(ProtocolError) as refused:
        ends[0].receive(1.0)
    assert len(str(refused.value)) < 200
