"""What every wire promises: the broker in memory, the embedded one and mosquitto, with one set of tests."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from tests.mosquitto import Mosquitto
from vpp import ports
from vpp.adapters.embedded_broker import EmbeddedBroker
from vpp.adapters.memory.broker import MemoryBroker, MemoryTransport
from vpp.adapters.mqtt import Access, Backoff, MqttTransport
from vpp.ports import Packet

WITHIN_S = 20.0


class Client(ports.Transport, Protocol):
    """A transport that connects on entering and leaves in good order."""

    async def __aenter__(self) -> "Client": ...

    async def __aexit__(self, *_: object) -> None: ...


class Wire(Protocol):
    """A broker under test."""

    def client(
        self, name: str, filters: Sequence[str] = (), will: Packet | None = None, *, persistent: bool = True
    ) -> Client: ...

    def cut(self, client: ports.Transport) -> None:
        """Break a client's connection without a farewell."""
        ...

    async def restart(self) -> None:
        """Kill the broker and start it again."""
        ...


class MemoryWire:
    """The simulated broker."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()

    def client(
        self, name: str, filters: Sequence[str] = (), will: Packet | None = None, *, persistent: bool = True
    ) -> MemoryTransport:
        return MemoryTransport(self.broker, name, filters=filters, will=will, persistent=persistent)

    def cut(self, client: ports.Transport) -> None:
        assert isinstance(client, MemoryTransport)
        client.drop()
        client.reconnect()

    async def restart(self) -> None:
        self.broker.crash()
        self.broker.start()


class MqttWire:
    """A broker behind a socket."""

    def __init__(self, broker: EmbeddedBroker | Mosquitto) -> None:
        self.broker = broker

    def client(
        self, name: str, filters: Sequence[str] = (), will: Packet | None = None, *, persistent: bool = True
    ) -> MqttTransport:
        access = Access("127.0.0.1", self.broker.port, name, will=will, persistent=persistent)
        backoff = Backoff(first_s=0.05, longest_s=0.2)
        return MqttTransport(access, filters=filters, jitter=lambda: 0.9, backoff=backoff)

    def cut(self, client: ports.Transport) -> None:
        assert isinstance(client, MqttTransport)
        assert client._client is not None
        connection = client._client._client.socket()
        assert connection is not None
        with socket.socket(fileno=os.dup(connection.fileno())) as same_connection:
            same_connection.shutdown(socket.SHUT_RDWR)

    async def restart(self) -> None:
        if isinstance(self.broker, Mosquitto):
            await self.broker.kill()
            await self.broker.start()
            return
        assert self.broker._child is not None
        self.broker._child.kill()
        await self.broker.__aexit__()
        await self.broker.__aenter__()


@pytest.fixture(params=["memory", "embedded", "mosquitto"])
async def wire(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Wire]:
    if request.param == "memory":
        yield MemoryWire()
    else:
        async with EmbeddedBroker() if request.param == "embedded" else Mosquitto(tmp_path) as broker:
            yield MqttWire(broker)


async def connected(client: ports.Transport) -> None:
    if isinstance(client, MqttTransport):
        await asyncio.wait_for(client.wait_connected(), WITHIN_S)
    assert client.connected


async def heard(client: ports.Transport, count: int) -> list[Packet]:
    """Return the next ``count`` packets."""
    packets: list[Packet] = []
    async with asyncio.timeout(WITHIN_S):
        while len(packets) < count:
            packets += await client.receive(count - len(packets))
    return packets


def payloads(packets: Sequence[Packet]) -> list[bytes]:
    return [packet.payload for packet in packets]


async def test_packets_arrive_in_the_order_they_were_sent(wire: Wire) -> None:
    async with wire.client("home", ["vpp/#"]) as home, wire.client("controller") as controller:
        await connected(home)

        await controller.send([Packet("vpp/command", b"%d" % number) for number in range(300)])

        assert payloads(await heard(home, 300)) == [b"%d" % number for number in range(300)]
        await asyncio.wait_for(controller.flush(), WITHIN_S)


async def test_stops_overtake_what_still_waits(wire: Wire) -> None:
    async with wire.client("home", ["vpp/#"]) as home:
        await connected(home)
        controller = wire.client("controller")
        # Taken before there is a connection, so that all of it waits together.
        await controller.send([Packet("vpp/command", b"start"), Packet("vpp/command", b"stop", lane=0)])
        async with controller:
            assert payloads(await heard(home, 2)) == [b"stop", b"start"]


async def test_wildcards_select_topics(wire: Wire) -> None:
    async with (
        wire.client("level", ["vpp/v1/+/s-1/ack"]) as level,
        wire.client("tree", ["vpp/v1/0a/#"]) as tree,
        wire.client("sender") as sender,
    ):
        await connected(level)
        await connected(tree)

        await sender.send(
            [
                Packet("vpp/v1/0a/s-1/ack", b"both"),
                Packet("vpp/v1/0a/s-2/ack", b"tree"),
                Packet("vpp/v1/0b/s-1/ack", b"level"),
                Packet("vpp/v1/0a/s-1/ack/more", b"tree"),
                Packet("vpp/v1/0a", b"tree"),
                Packet("vpp/v2/0a/s-1/ack", b"none"),
                Packet("vpp/v1/0a/s-1/ack", b"last"),
            ]
        )

        assert payloads(await heard(level, 3)) == [b"both", b"level", b"last"]
        assert payloads(await heard(tree, 5)) == [b"both", b"tree", b"tree", b"tree", b"last"]


async def test_a_promised_packet_arrives_as_one(wire: Wire) -> None:
    async with wire.client("listener", ["t"]) as listener, wire.client("sender") as sender:
        await connected(listener)

        await sender.send([Packet("t", b"sample", qos=0)])
        sample = await heard(listener, 1)
        await sender.send([Packet("t", b"proof", qos=1)])
        proof = await heard(listener, 1)

        assert proof == [Packet("t", b"proof", qos=1)]
        # The embedded broker raises a packet to the quality of the subscription; the others do not.
        assert sample[0].qos == (
            1 if isinstance(wire, MqttWire) and isinstance(wire.broker, EmbeddedBroker) else 0
        )


async def test_a_late_listener_gets_the_retained_copy_and_is_told_so(wire: Wire) -> None:
    async with wire.client("early", ["status/#"]) as early, wire.client("home") as home:
        await connected(early)
        await home.send([Packet("status/s-1", b"online", retain=True)])
        live = await heard(early, 1)

        async with wire.client("late", ["status/#"]) as late:
            kept = await heard(late, 1)

        assert (live[0].payload, live[0].retain) == (b"online", False)
        assert (kept[0].payload, kept[0].retain) == (b"online", True)


async def test_an_empty_retained_packet_clears_the_copy(wire: Wire) -> None:
    async with wire.client("early", ["status/#"]) as early, wire.client("home") as home:
        await connected(early)
        await home.send([Packet("status/s-1", b"online", retain=True)])
        await home.send([Packet("status/s-1", b"", retain=True), Packet("status/s-2", b"here", retain=True)])
        await heard(early, 3)

        async with wire.client("late", ["status/#"]) as late:
            assert payloads(await heard(late, 1)) == [b"here"]


async def test_the_broker_says_a_vanished_clients_will(wire: Wire) -> None:
    will = Packet("status/s-1", b"offline", retain=True)
    async with (
        wire.client("controller", ["status/#"]) as controller,
        wire.client("home", will=will) as home,
    ):
        await connected(controller)
        await connected(home)

        wire.cut(home)

        assert payloads(await heard(controller, 1)) == [b"offline"]


async def test_a_client_that_takes_its_leave_has_no_will(wire: Wire) -> None:
    async with wire.client("controller", ["status/#"]) as controller, wire.client("other") as other:
        await connected(controller)
        async with wire.client("home", will=Packet("status/s-1", b"offline")) as home:
            await connected(home)
        await other.send([Packet("status/s-2", b"after")])

        assert payloads(await heard(controller, 1)) == [b"after"]


async def test_a_persistent_session_keeps_what_was_promised_while_away(wire: Wire) -> None:
    async with wire.client("controller") as controller:
        async with wire.client("home", ["command"]) as home:
            await connected(home)
        await controller.send([Packet("command", b"first"), Packet("command", b"second")])
        await asyncio.wait_for(controller.flush(), WITHIN_S)

        async with wire.client("home", ["command"]) as back:
            assert payloads(await heard(back, 2)) == [b"first", b"second"]


async def test_a_cut_connection_comes_back_and_listens_again(wire: Wire) -> None:
    async with wire.client("home", ["command"]) as home, wire.client("controller") as controller:
        await connected(home)
        await connected(controller)

        wire.cut(home)
        wire.cut(controller)
        await controller.send([Packet("command", b"after the cut")])

        assert b"after the cut" in payloads(await heard(home, 1))


async def test_a_restarted_broker_finds_its_clients_again(wire: Wire) -> None:
    async with (
        wire.client("home", ["command"], persistent=False) as home,
        wire.client("controller", ["ack"], persistent=False) as controller,
    ):
        await connected(home)
        await connected(controller)

        await wire.restart()

        async with asyncio.timeout(WITHIN_S):  # homes repeat; a restarted broker may meet one of us first
            while not (answered := home.received_now()):
                await controller.send([Packet("command", b"still there?")])
                await asyncio.sleep(0.1)
            await home.send([Packet("ack", b"yes")])
        assert answered[0].payload == b"still there?"
        assert payloads(await heard(controller, 1)) == [b"yes"]


async def test_a_grid_signal_of_the_largest_size_passes(wire: Wire) -> None:
    async with wire.client("controller", ["grid/#"]) as controller, wire.client("operator") as operator:
        await connected(controller)

        await operator.send([Packet("grid/v1/caiso/event", b"x" * 20_000)])

        assert len((await heard(controller, 1))[0].payload) == 20_000


async def test_nothing_received_is_an_answer_too(wire: Wire) -> None:
    async with wire.client("home", ["command"]) as home:
        assert home.received_now() == []


async def test_one_call_takes_at_most_what_was_asked_for(wire: Wire) -> None:
    async with wire.client("home", ["command"]) as home, wire.client("controller") as controller:
        await connected(home)
        await controller.send([Packet("command", b"%d" % number) for number in range(10)])

        assert len(await heard(home, 10)) == 10
        await controller.send([Packet("command", b"%d" % number) for number in range(10)])
        assert len(await asyncio.wait_for(home.receive(3), WITHIN_S)) <= 3
