"""Messages between processes arrive unchanged, over real sockets too."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from service.core.orders import IndexEntry
from service.ipc.messages import (
    Abandon,
    DeviceChosen,
    Done,
    Failed,
    Fatal,
    FrontendGone,
    Heartbeat,
    Job,
    LoadModel,
    Message,
    ModelOrder,
    ModelOrderDone,
    ModelStatus,
    Ready,
    Released,
    Result,
    Running,
    Stop,
    UnloadModel,
    WorkerInfo,
    WorkerModels,
    WorkerStates,
    address,
)
from service.ipc.transport import MESSAGES_IN_A_ROW, ClientSocket, ServerSocket, pack, unpack
from twins.card import Accuracy, Card, Geometry, Label, Normalisation
from twins.zoo.models import ModelReference

IDS = st.integers(0, 2**63 - 1)
SECONDS = st.floats(0, 1e9)
SMALL = st.integers(0, 1000)
CARD = Card(
    name="flowers",
    task="classify",
    variant="svt_small",
    labels=(Label("rose"), Label("tulip", "n01234567")),
    geometry=Geometry(248, 224),
    normalisation=Normalisation(),
    exif_orientation=True,
    source="flowers.pth",
    licence="CC0",
    measured=Accuracy({"top1": 73.0}, "a garden", "a walk"),
)
STATUSES = st.builds(ModelStatus, st.text(), st.text(), st.sampled_from(["loading", "ready", "failed", "unloading"]))
MESSAGES = st.one_of(
    st.builds(Job, IDS, st.text(), st.text(), st.binary(), SECONDS, SMALL, SMALL, st.booleans(), st.text()),
    st.builds(Abandon, IDS),
    st.builds(Running, st.lists(IDS).map(tuple)),
    st.builds(Done, st.lists(st.builds(Result, IDS, SECONDS, SECONDS, SMALL, SMALL, SECONDS, st.text())).map(tuple)),
    st.builds(Failed, IDS, st.text(), st.text()),
    st.builds(Heartbeat, SECONDS),
    st.builds(DeviceChosen, st.text(), SMALL),
    st.builds(Ready, st.sampled_from([(), (CARD,)])),
    st.builds(Fatal, st.text()),
    st.builds(
        WorkerStates,
        st.lists(
            st.builds(
                WorkerInfo,
                st.text(),
                st.text(),
                st.sampled_from(["loading", "ready", "recovering", "broken"]),
                st.lists(STATUSES).map(tuple),
            )
        ).map(tuple),
        st.sampled_from([(), (CARD,)]),
        st.lists(st.text()).map(tuple),
    ),
    st.builds(WorkerModels, st.lists(STATUSES).map(tuple), st.sampled_from([(), (CARD,)])),
    st.builds(LoadModel, st.builds(ModelReference, st.text(), st.none() | st.just(Path("x.pth")), st.just(Path("/x")))),
    st.builds(UnloadModel, st.text()),
    st.builds(Released, st.text()),
    st.builds(ModelOrder, st.integers(0, 2**63), st.sampled_from(["load", "unload"]), st.text(), st.text()),
    st.builds(
        ModelOrderDone,
        st.integers(0, 2**63),
        st.just((IndexEntry("mine", "2", "READY", default=True),)),
        st.text(),
        st.text(),
    ),
    st.builds(FrontendGone, st.text()),
    st.just(Stop()),
)
DTYPES = st.sampled_from([np.uint8, np.int64, np.float16, np.float32, np.float64, np.bool_])
ARRAYS = st.lists(
    DTYPES.flatmap(lambda dtype: arrays_of.arrays(dtype, arrays_of.array_shapes(min_dims=0, min_side=0, max_side=5))),
    max_size=3,
)


def wire(message, arrays):
    """Return the frames as bytes, as a socket delivers them."""
    return [bytes(memoryview(frame)) for frame in pack(message, arrays)]


def test_every_kind_of_message_is_tested():
    kinds = "Job Abandon Running Done Failed Heartbeat DeviceChosen Ready Fatal FrontendGone WorkerStates Stop"
    assert {kind.__name__ for kind in Message.__subclasses__()} == {
        *kinds.split(),
        *("WorkerModels", "LoadModel", "UnloadModel", "Released", "ModelOrder", "ModelOrderDone"),
    }


@given(MESSAGES)
@settings(deadline=None)
def test_a_message_arrives_unchanged(message):
    assert unpack(wire(message, ()))[0] == message


@given(ARRAYS)
@settings(deadline=None)
def test_arrays_arrive_unchanged(arrays):
    _, found = unpack(wire(Stop(), arrays))
    assert [(a.dtype, a.shape, a.tobytes()) for a in found] == [(a.dtype, a.shape, a.tobytes()) for a in arrays]


def test_an_array_that_is_not_contiguous_arrives_unchanged():
    turned = np.arange(24, dtype=np.uint8).reshape(4, 6).T[::2]
    _, (found,) = unpack(wire(Stop(), [turned]))
    assert np.array_equal(found, turned)


@pytest.fixture
def at(tmp_path):
    """Return an address in a folder with a short name, since a socket path has about 100 characters."""
    return address(tmp_path, "s")


@pytest.fixture
async def line(at):
    """Return a server socket, and a client socket called `caller`."""
    listener, client = ServerSocket(at), ClientSocket(at, name="caller")
    yield listener, client
    client.close()
    listener.close()


async def test_a_server_socket_receives_the_identity_of_the_sender(line):
    listener, client = line
    client.send(Heartbeat(1.5))
    assert (await listener.receive())[:2] == (b"caller", Heartbeat(1.5))


async def test_an_answer_arrives_with_its_arrays(line):
    listener, client = line
    client.send(Heartbeat())
    peer, *_ = await listener.receive()
    listener.send(peer, Done((Result(7, 0.1, 0.2, 3, 1),)), [np.float32([0.5, 0.25])])
    message, (scores,) = await client.receive()
    assert (message, scores.tolist()) == (Done((Result(7, 0.1, 0.2, 3, 1),)), [0.5, 0.25])


async def test_a_message_that_is_sent_before_the_peer_listens_arrives(at):
    client = ClientSocket(at)
    client.send(Abandon(1))
    listener = ServerSocket(at)
    assert (await listener.receive())[1] == Abandon(1)
    client.close()
    listener.close()


async def test_a_listener_whose_file_was_deleted_listens_again_and_keeps_its_connections(line, tmp_path):
    listener, client = line
    client.send(Abandon(1))
    await listener.receive()
    (tmp_path / "s").unlink()
    listener.restore()
    newcomer = ClientSocket(listener.at)
    newcomer.send(Abandon(2))
    assert (await listener.receive())[1] == Abandon(2)
    client.send(Abandon(3))
    assert (await listener.receive())[1] == Abandon(3)
    newcomer.close()


async def test_a_message_to_a_peer_that_is_gone_is_dropped(line):
    listener, _ = line
    listener.send(b"another peer", Stop())


async def test_a_socket_that_receives_without_a_pause_lets_other_tasks_run(line):
    listener, client = line
    for number in range(10 * MESSAGES_IN_A_ROW):
        client.send(Abandon(number))
    await listener.receive()
    other = asyncio.create_task(asyncio.sleep(0))
    received = 1
    while not other.done():
        await listener.receive()
        received += 1
    assert received <= 2 * MESSAGES_IN_A_ROW + 2  # `sleep` has two steps


async def test_a_message_that_arrives_while_another_is_sent_is_received(line):
    listener, client = line
    client.send(Abandon(0))
    peer, *_ = await listener.receive()
    for number in range(200):
        receiving = asyncio.create_task(client.receive())
        await asyncio.sleep(0)
        listener.send(peer, Abandon(number))
        client.send(Heartbeat())  # which reads the events of the socket
        async with asyncio.timeout(30):
            assert (await receiving)[0] == Abandon(number)


def test_small_arrays_need_no_frames_of_their_own():
    assert len(pack(Stop(), [np.arange(5), np.arange(10_000)])) == 2
