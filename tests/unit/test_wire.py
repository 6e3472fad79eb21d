"""Frames over a real socket pair, both ways."""

import asyncio
import itertools
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenwire.engine.wire import FrameSocket, PeerGoneError, encode_frame, read_frame

WAIT_S = 20
BIG = list(range(1_000_000))
"""Several MiB as a frame: more than the kernel buffers."""


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The front end's end and the engine's."""
    ours, theirs = socket.socketpair()
    ours.settimeout(WAIT_S)
    with ours, theirs:
        yield ours, theirs


def receive(frames: FrameSocket, count: int) -> list[object]:
    messages: list[object] = []
    while len(messages) < count:
        messages += frames.receive(wait=True)
    return messages


def test_many_small_messages_arrive_whole_and_in_order(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    messages = [("message", number) for number in range(500)]
    ours.sendall(b"".join(map(encode_frame, messages)))
    assert receive(FrameSocket(theirs), len(messages)) == messages


def test_nothing_is_waited_for_where_nothing_came(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    frames = FrameSocket(theirs)
    assert frames.receive(wait=False) == []
    ours.sendall(encode_frame("half")[:-1])
    assert frames.receive(wait=False) == []
    ours.sendall(encode_frame("half")[-1:])
    assert frames.receive(wait=False) == ["half"]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6), st.data())
def test_any_split_of_the_bytes_gives_the_same_messages(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(encode_frame, messages))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)) | {0, len(stream)})
    ours, theirs = socket.socketpair()
    with ours, theirs:
        frames = FrameSocket(theirs)
        received: list[object] = []
        for start, end in itertools.pairwise(cuts):
            ours.sendall(stream[start:end])
            received += frames.receive(wait=False)
    assert received == messages


async def test_a_message_of_several_mib_passes_both_ways(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    frames = FrameSocket(theirs)

    def echo() -> None:
        (message,) = receive(frames, 1)
        frames.send(message)

    reader, writer = await asyncio.open_connection(sock=ours)
    echoing = asyncio.create_task(asyncio.to_thread(echo))
    writer.write(encode_frame(BIG))
    assert await asyncio.wait_for(read_frame(reader), WAIT_S) == BIG
    await asyncio.wait_for(echoing, WAIT_S)
    writer.close()
    await writer.wait_closed()


def test_a_send_waits_for_a_slow_reader(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(FrameSocket(theirs).send, BIG)
        assert receive(FrameSocket(ours), 1) == [BIG]
        sending.result(WAIT_S)


def test_the_engine_notices_that_its_peer_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    frames = FrameSocket(theirs)
    ours.sendall(encode_frame("last"))
    assert frames.receive(wait=True) == ["last"]
    ours.close()
    with pytest.raises(PeerGoneError):
        frames.receive(wait=True)
    with pytest.raises(PeerGoneError):
        frames.send("anybody?")


@pytest.mark.parametrize("sent", [b"", b"\x08", encode_frame("cut off")[:-3]])
async def test_the_front_end_notices_that_its_peer_is_gone(
    pair: tuple[socket.socket, socket.socket], sent: bytes
) -> None:
    ours, theirs = pair
    reader, writer = await asyncio.open_connection(sock=ours)
    theirs.sendall(sent)
    theirs.close()
    with pytest.raises(PeerGoneError):
        await asyncio.wait_for(read_frame(reader), WAIT_S)
    writer.close()
    await writer.wait_closed()
