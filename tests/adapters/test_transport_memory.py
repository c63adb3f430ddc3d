"""What the simulated broker adds: faults on demand, and the same history for the same calls."""

import asyncio

import pytest

from vpp.adapters.memory.broker import BrokerIsDown, MemoryBroker, MemoryTransport, topic_matches
from vpp.ports import Packet

COMMAND = Packet("command", b"start")


async def test_a_courier_may_lose_double_and_delay() -> None:
    held: list[tuple[str, Packet]] = []

    def courier(client_id: str, packet: Packet) -> list[Packet]:
        if packet.payload == b"late":
            held.append((client_id, packet))
        return {b"lost": [], b"late": [], b"twice": [packet, packet]}[packet.payload]

    broker = MemoryBroker(courier=courier)
    async with MemoryTransport(broker, "home", filters=["command"]) as home:
        for word in (b"lost", b"late", b"twice"):
            broker.publish(Packet("command", word))
        at_once = [packet.payload for packet in home.received_now()]
        broker.deliver(*held.pop())

        assert at_once == [b"twice", b"twice"]
        assert [packet.payload for packet in home.received_now()] == [b"late"]


async def test_a_crashed_broker_forgets_and_its_clients_come_back() -> None:
    broker = MemoryBroker()
    async with (
        MemoryTransport(broker, "home", filters=["command"]) as home,
        MemoryTransport(broker, "controller") as controller,
    ):
        broker.publish(Packet("status", b"kept", retain=True))
        broker.publish(COMMAND)  # accepted, and lost with the crash
        broker.crash()
        await controller.send([Packet("command", b"waits")])
        down = (home.connected, controller.sent, controller.taken, home.received_now())
        broker.start()

        assert down == (False, 0, 1, [])
        assert [packet.payload for packet in home.received_now()] == [b"waits"]
        async with MemoryTransport(broker, "late", filters=["status"]) as late:
            assert late.received_now() == []


def test_nothing_passes_a_broker_that_is_down() -> None:
    broker = MemoryBroker()
    broker.crash()
    with pytest.raises(BrokerIsDown):
        broker.publish(COMMAND)
    with pytest.raises(BrokerIsDown):
        broker.open(MemoryTransport(broker, "home"), None, persistent=True)


async def test_the_same_identity_connecting_again_ends_the_first_connection() -> None:
    broker = MemoryBroker()
    will = Packet("status", b"offline")
    async with (
        MemoryTransport(broker, "controller", filters=["status"]) as controller,
        MemoryTransport(broker, "home", filters=["command"], will=will) as first,
        MemoryTransport(broker, "home", filters=["command"]) as second,
    ):
        broker.publish(COMMAND)

        assert (first.connected, second.connected) == (False, True)
        assert (list(first.received_now()), list(second.received_now())) == ([], [COMMAND])
        assert [packet.payload for packet in controller.received_now()] == [b"offline"]


async def test_a_full_session_gives_up_the_newest_and_counts_it() -> None:
    broker = MemoryBroker(queue_limit=2)
    async with MemoryTransport(broker, "home", filters=["command"]) as home:
        for word in (b"1", b"2", b"3"):
            broker.publish(Packet("command", word))

        assert [packet.payload for packet in home.received_now()] == [b"1", b"2"]
        assert broker.shed == 1


async def test_flush_waits_for_a_broker_that_is_away() -> None:
    broker = MemoryBroker()
    broker.crash()
    async with MemoryTransport(broker, "controller") as controller:
        await controller.send([COMMAND])
        flushing = asyncio.ensure_future(controller.flush())
        await asyncio.sleep(0)
        assert not flushing.done()
        broker.start()
        await flushing


@pytest.mark.parametrize(
    ("wanted", "topic", "covered"),
    [
        ("a/b", "a/b", True),
        ("a/+", "a/b", True),
        ("a/+", "a/b/c", False),
        ("a/+", "a", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "a/b", True),
        ("+/b", "a/b", True),
        ("a/b", "a", False),
        ("a", "a/b", False),
    ],
)
def test_filters_cover_topics_as_mqtt_says(wanted: str, topic: str, covered: bool) -> None:
    assert topic_matches(wanted, topic) is covered
