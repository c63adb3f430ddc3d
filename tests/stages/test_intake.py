"""Intake over the real wire: from the bytes that a grid operator publishes to the receipt it reads."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.domain.grid_world import START, program
from vpp.adapters.clock import SteppedClock
from vpp.adapters.keys import FileKeys
from vpp.adapters.memory.broker import MemoryBroker, MemoryTransport
from vpp.adapters.memory.store import MemoryStore
from vpp.adapters.openadr import OpenAdrFeed, event_topic, receipt_topic, source_of
from vpp.domain.fleet import Roster
from vpp.domain.grid_event import (
    EventStatus,
    Grant,
    GrantKind,
    GridSource,
    Operation,
    RawSignal,
    Receipt,
    ReceiptState,
)
from vpp.domain.quantities import Watts
from vpp.stages.intake import Arrival, UnreadableSignal, arrive, intake
from vpp.wire.openadr import Ask, decode_receipt, encode_notification
from vpp.wire.signed import SigningKey, VerifyingKey, sign, split, verify

NOW = START - timedelta(hours=1)
MINUTE = timedelta(minutes=1)
CAISO = SigningKey(b"c" * 32)
PGE = SigningKey(b"p" * 32)


@dataclass
class World:
    """A controller's intake with a memory store, and two grid operators on a memory broker."""

    controller: MemoryTransport
    operators: dict[str, MemoryTransport]
    keys: FileKeys
    store: MemoryStore = field(default_factory=MemoryStore)
    clock: SteppedClock = field(default_factory=lambda: SteppedClock(NOW))
    roster: Roster = field(default_factory=Roster)

    async def publish(self, payload: bytes, *, source: str = "caiso") -> Arrival:
        """Let a message arrive from a source and keep it if it can be answered."""
        number = len(self.store._raw)
        raw = RawSignal(f"raw-{number}", source, event_topic(source), payload, self.clock.now())
        return await arrive([raw], feed=self.feed, store=self.store, registry=self.store)

    async def judge_all(self) -> list[Receipt]:
        """Judge everything that is pending."""
        return [await self.judge(raw) for raw in await self.store.pending()]

    async def judge(self, raw: RawSignal) -> Receipt:
        """Judge one kept signal."""
        return await intake(
            raw,
            feed=self.feed,
            store=self.store,
            registry=self.store,
            programs={"elrp": program()},
            roster=self.roster,
            clock=self.clock,
        )

    async def say(self, payload: bytes, *, source: str = "caiso") -> Receipt:
        """Publish a message that can be answered and return the answer."""
        assert (await self.publish(payload, source=source)).kept
        (receipt,) = await self.judge_all()
        return receipt

    @property
    def feed(self) -> OpenAdrFeed:
        """Return the controller's wire to the operators."""
        return OpenAdrFeed(self.controller, self.keys)

    def heard(self, source: str = "caiso") -> list[Receipt]:
        """Return the receipts that an operator got, their signatures checked."""
        receipts = []
        for packet in self.operators[source].received_now():
            message = split(packet.payload, max_bytes=16_384)
            assert message.kid == self.keys.kid
            receipts.append(
                decode_receipt(verify(message, VerifyingKey(self.keys.public_key)), source=source)
            )
        return receipts


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    broker = MemoryBroker()
    controller = MemoryTransport(broker, "controller")
    operators = {
        name: MemoryTransport(broker, name, filters=[receipt_topic(name)]) for name in ("caiso", "pge")
    }
    async with controller, operators["caiso"], operators["pge"]:
        world = World(controller, operators, FileKeys(tmp_path))
        for name, key in (("caiso", CAISO), ("pge", PGE)):
            await world.store.add_source(GridSource(name, key.verifying_key.raw, Watts(10**9), NOW))
        await world.store.add_source(GridSource("lab", None, Watts(10**9), NOW))
        yield world


def notification(
    operation: Operation = Operation.CREATE,
    *,
    modified_at: datetime = NOW,
    power_w: int = 5_000_000,
    targets: tuple[str, ...] = (),
    starts_at: datetime = START,
    event_id: str = "ev-1",
    program_id: str = "elrp",
    cancels: bool = False,
) -> bytes:
    """Return an unsigned two-hour emergency."""
    return encode_notification(
        operation,
        event_id=event_id,
        program_id=program_id,
        name="EEA 2",
        created_at=NOW,
        modified_at=modified_at,
        asks=() if cancels else (Ask(7_200, power_w=power_w),),
        starts_at=None if cancels else starts_at,
        targets=targets,
    )


def signed(body: bytes, key: SigningKey = CAISO, kid: str = "caiso") -> bytes:
    """Return the message of an operator."""
    return sign(body, key, kid)


def altered(**members: Any) -> bytes:
    """Return a signed notification with other members of its object."""
    body = json.loads(notification())
    body["object"] |= members
    return signed(json.dumps(body).encode())


async def test_emergency_signal_is_stored_and_its_receipt_is_signed(world: World) -> None:
    receipt = await world.say(signed(notification()))

    history = await world.store.history("ev-1")
    assert receipt == Receipt("caiso", "ev-1", Operation.CREATE, NOW, ReceiptState.ACCEPTED, None, NOW)
    assert history is not None
    assert history.latest.status is EventStatus.SCHEDULED
    assert history.latest.committed_at == NOW
    assert world.heard() == [receipt]
    assert world.heard("pge") == []


async def test_same_signal_again_changes_nothing_and_says_duplicate(world: World) -> None:
    await world.say(signed(notification()))
    world.clock.step_to(NOW + MINUTE)

    again = await world.say(signed(notification()))

    history = await world.store.history("ev-1")
    assert again.state is ReceiptState.DUPLICATE
    assert history is not None
    assert len(history.versions) == 1


async def test_newer_signal_supersedes_and_a_late_older_one_is_told_so(world: World) -> None:
    await world.say(signed(notification()))

    newer = await world.say(
        signed(notification(Operation.UPDATE, modified_at=NOW + 2 * MINUTE, power_w=1_000))
    )
    older = await world.say(signed(notification(Operation.UPDATE, modified_at=NOW + MINUTE, power_w=2_000)))
    older_again = await world.say(
        signed(notification(Operation.UPDATE, modified_at=NOW + MINUTE, power_w=2_000))
    )
    older_otherwise = await world.say(
        signed(notification(Operation.UPDATE, modified_at=NOW + MINUTE, power_w=3))
    )

    history = await world.store.history("ev-1")
    assert history is not None
    assert history.latest.steps[0].power == 1_000
    assert [newer.state, older.state, older_again.state, older_otherwise.state] == [
        ReceiptState.ACCEPTED,
        ReceiptState.SUPERSEDED,
        ReceiptState.DUPLICATE,
        ReceiptState.REJECTED,
    ]


async def test_other_content_under_the_same_key_is_rejected(world: World) -> None:
    await world.say(signed(notification()))

    receipt = await world.say(signed(notification(power_w=9_000_000)))

    assert (receipt.state, receipt.reason) == (ReceiptState.REJECTED, "conflicting_content")


async def test_another_source_cannot_speak_for_an_event(world: World) -> None:
    await world.say(signed(notification()))

    receipt = await world.say(signed(notification(Operation.DELETE), PGE, "pge"), source="pge")

    history = await world.store.history("ev-1")
    assert (receipt.state, receipt.reason) == (ReceiptState.REJECTED, "not_your_event")
    assert world.heard("pge") == [receipt]
    assert history is not None
    assert history.latest.status is EventStatus.SCHEDULED


async def test_cancel_is_accepted_and_final(world: World) -> None:
    await world.say(signed(notification()))
    world.clock.step_to(NOW + MINUTE)

    cancel = await world.say(signed(notification(Operation.DELETE, modified_at=NOW - MINUTE)))
    revival = await world.say(signed(notification(Operation.UPDATE, modified_at=NOW + MINUTE)))

    history = await world.store.history("ev-1")
    assert cancel.state is ReceiptState.ACCEPTED
    assert (revival.state, revival.reason) == (ReceiptState.REJECTED, "cancelled")
    assert history is not None
    assert (history.latest.status, history.latest.committed_at) == (EventStatus.CANCELLED, NOW + MINUTE)


async def test_delete_before_its_create_wins(world: World) -> None:
    bare = b'{"objectType":"EVENT","operation":"DELETE","object":{"id":"ev-1"}}'

    delete = await world.say(signed(bare))
    delete_again = await world.say(signed(bare))
    create = await world.say(signed(notification()))

    assert [delete.state, delete_again.state] == [ReceiptState.ACCEPTED, ReceiptState.DUPLICATE]
    assert (create.state, create.reason) == (ReceiptState.REJECTED, "cancelled")


async def test_update_to_no_duration_cancels(world: World) -> None:
    await world.say(signed(notification()))

    receipt = await world.say(signed(notification(Operation.UPDATE, modified_at=NOW + MINUTE, cancels=True)))

    history = await world.store.history("ev-1")
    assert receipt.state is ReceiptState.ACCEPTED
    assert history is not None
    assert history.latest.status is EventStatus.CANCELLED


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (notification(), "bad_signature"),
        (signed(notification()).replace(b"5000.0", b"9000.0"), "bad_signature"),
        (signed(notification()) + b"\n", "bad_signature"),
        (signed(notification(), PGE), "bad_signature"),
        (signed(notification(), PGE, "pge"), "unknown_key"),
        (signed(notification() + b" " * (16_384 - len(notification()))), "longer than 16384 bytes"),
        (signed(notification(program_id="elrp-b")), "unknown_program"),
        (signed(notification(modified_at=NOW + 6 * MINUTE)), "modified_too_far_ahead"),
        (altered(intervalPeriod={"start": "soon", "duration": "PT1H"}), "start is not an RFC 3339 time"),
        (altered(intervalPeriod={"start": "2026-09-10T01:00:00Z"}), "duration is not an ISO 8601 duration"),
        (
            altered(intervals=[{"id": 0, "payloads": [{"type": "SIMPLE", "values": [4]}]}]),
            "SIMPLE is not one",
        ),
        (altered(payloadDescriptors={"units": "KW"}), "payloadDescriptors is not a list"),
    ],
)
async def test_signal_that_breaks_a_rule_is_answered_and_changes_nothing(
    world: World, payload: bytes, reason: str
) -> None:
    receipt = await world.say(payload)

    assert receipt.state is ReceiptState.REJECTED
    assert receipt.reason is not None
    assert receipt.reason.startswith(reason)
    assert (receipt.event_id, receipt.operation) == ("ev-1", Operation.CREATE)
    assert world.heard() == [receipt]
    assert await world.store.history("ev-1") is None


@pytest.mark.parametrize(
    ("payload", "source", "reason"),
    [
        (signed(notification()), "stranger", "unknown_source"),
        (notification(), "stranger", "unknown_source"),
        (b"", "caiso", "not JSON"),
        (signed(b'{"objectType":"EVENT"}'), "caiso", "operation is not a text"),
        (b"x" * 20_000, "caiso", "longer than 16384 bytes"),
        (signed(notification()[:-1] + b',"x":"' + b"x" * 16_384 + b'"}'), "caiso", "longer than 16384 bytes"),
        (altered(modificationDateTime="yesterday"), "caiso", "modificationDateTime is not"),
    ],
)
async def test_signal_that_nobody_can_be_told_about_is_only_counted(
    world: World, payload: bytes, source: str, reason: str
) -> None:
    arrival = await world.publish(payload, source=source)

    assert arrival.kept == ()
    (counted,) = arrival.refused.values()
    assert counted.startswith(reason)
    assert await world.store.pending() == []
    assert world.heard() == []


async def test_rejected_signal_is_taken_once_what_stood_against_it_is_gone(world: World) -> None:
    ahead = signed(notification(modified_at=NOW + 6 * MINUTE))
    assert (await world.say(ahead)).state is ReceiptState.REJECTED

    world.clock.step_to(NOW + 2 * MINUTE)

    assert (await world.say(ahead)).state is ReceiptState.ACCEPTED


async def test_source_without_a_key_may_send_bare_json_over_several_lines(world: World) -> None:
    pretty = json.dumps(json.loads(notification()), indent=2).encode() + b"\n"

    assert (await world.say(pretty, source="lab")).state is ReceiptState.ACCEPTED
    signed_by_somebody = signed(notification())
    assert (await world.say(signed_by_somebody, source="lab")).state is ReceiptState.DUPLICATE


async def test_unknown_target_is_named_in_the_receipt_of_an_accepted_signal(world: World) -> None:
    world.roster.counties.number("Kern")

    receipt = await world.say(signed(notification(targets=("PGE", "A4", "kern", "Krn"))))

    assert (receipt.state, receipt.reason) == (ReceiptState.ACCEPTED, "unknown_target:Krn")


async def test_signal_out_of_its_program_is_accepted_and_flagged(world: World) -> None:
    receipt = await world.say(signed(notification(starts_at=START + timedelta(hours=2))))

    history = await world.store.history("ev-1")
    assert (receipt.state, receipt.reason) == (ReceiptState.ACCEPTED, "out_of_program:out_of_window")
    assert history is not None
    assert history.latest.out_of_program == ("out_of_window",)


async def test_hours_of_other_events_of_the_season_count(world: World) -> None:
    for day in range(30):
        earlier = START - timedelta(days=day + 1)
        world.clock = SteppedClock(earlier - timedelta(hours=1))
        said = notification(event_id=f"ev-{day + 2}", starts_at=earlier, modified_at=world.clock.now())
        assert (await world.say(signed(said))).reason is None
    world.clock = SteppedClock(NOW)

    over = await world.say(signed(notification()))

    assert over.reason == "out_of_program:season_cap"


async def test_hours_that_wait_for_force_are_not_counted(world: World) -> None:
    flagged = notification(event_id="ev-9", starts_at=START + timedelta(hours=2))
    await world.say(signed(flagged))
    assert (await world.store.histories())[0].latest.out_of_program

    await world.store.grant(Grant("ev-9", 1, GrantKind.FORCE, "ana", NOW))

    assert (await world.say(signed(notification()))).reason is None


async def test_crash_between_commit_and_receipt_is_healed_by_the_operator_s_resend(world: World) -> None:
    await world.publish(signed(notification()))
    (raw,) = await world.store.pending()
    await world.judge(raw)
    world.heard()  # the receipt is lost on the way

    resent = await world.say(signed(notification()))

    assert resent.state is ReceiptState.DUPLICATE
    assert world.heard() == [resent]
    assert await world.store.pending() == []


async def test_kept_signal_of_a_source_that_is_unknown_stays_pending(world: World) -> None:
    raw = RawSignal("raw-0", "stranger", event_topic("stranger"), notification(), NOW)
    unreadable = RawSignal("raw-1", "lab", event_topic("lab"), b"{", NOW)
    await world.store.keep([raw, unreadable])

    for each in (raw, unreadable):
        with pytest.raises(UnreadableSignal):
            await world.judge(each)

    assert await world.store.pending() == [raw, unreadable]


def test_topic_names_its_source() -> None:
    assert source_of(event_topic("caiso")) == "caiso"
    assert source_of("grid/v1/caiso/receipt") is None
    assert source_of("grid/v1/a/b/event") is None
    assert source_of("vpp/v1/00/s-1/ack") is None
