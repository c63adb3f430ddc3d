"""What becomes of the words of homes: samples, presence, answers, and meter evidence with its receipts."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stages.world import EVENING, GRID, PROGRAM, ListeningLink, a_program, a_request
from vpp.adapters.clock import SteppedClock
from vpp.adapters.memory.store import MemoryStore
from vpp.domain.command import AckBatch, Refusal
from vpp.domain.delivery import QUALITY_CODES, MeterMessage, MeterReading, MeterReceipt, Quality, SiteStatus
from vpp.domain.enrollment import OptOut
from vpp.domain.fleet import FleetState, Roster, TelemetryBatch, enroll
from vpp.domain.grid_event import EventHistory, EventStatus, GridEvent, Operation, Step
from vpp.domain.interval import Interval, to_epoch
from vpp.domain.quantities import Permille, WattHours, Watts, column, flags
from vpp.ports import Heard, StoreUnavailable
from vpp.stages.collect import Collected, collect

BOOT = "b91c5e7702d144f8b91c5e7702d144f8"
ADA, BEN, CLEO = 0, 1, 2


class ReceiptLink(ListeningLink):
    """A link that keeps the receipts it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.receipts: list[MeterReceipt] = []

    async def acknowledge(self, receipts: Sequence[MeterReceipt]) -> None:
        self.receipts.extend(receipts)


class StoreWithoutOptOuts(MemoryStore):
    """A store that goes away before an owner's word is kept."""

    async def histories(self, *, ending_after: datetime | None = None) -> Sequence[EventHistory]:
        raise StoreUnavailable(f"the database is away; nothing after {ending_after} can be read")


class Street:
    """Three enrolled homes, the store, and the fleet in memory."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = SteppedClock(EVENING)
        self.link = ReceiptLink()
        self.fleet = FleetState()
        self.roster = Roster()

    @classmethod
    async def of_three(cls) -> "Street":
        street = cls()
        await street.store.add_source(GRID)
        requests = [a_request(site) for site in (ADA, BEN, CLEO)]
        await street.store.enroll(requests, at=EVENING - timedelta(days=60))
        await street.know_again()
        return street

    async def know_again(self) -> None:
        """Forget what was in memory and read the enrolments, as after a restart."""
        self.fleet, self.roster = FleetState(), Roster()
        enroll(self.fleet, self.roster, await self.store.enrollments())

    async def hear(
        self,
        *samples: dict[str, Any],
        acks: AckBatch | None = None,
        meter: Sequence[MeterMessage] = (),
        statuses: Sequence[SiteStatus] = (),
    ) -> Collected:
        heard = Heard(batch_of(*samples), acks or answers(), meter, statuses)
        return await collect(
            heard,
            fleet=self.fleet,
            roster=self.roster,
            programs={PROGRAM: a_program()},
            store=self.store,
            link=self.link,
            clock=self.clock,
        )

    async def announce(self, event_id: str, starts_at: datetime, *, targets: tuple[str, ...] = ()) -> None:
        """Commit an event of two hours."""
        event = GridEvent(
            event_id=event_id, version=1, source=GRID.name, operation=Operation.CREATE,
            modified_at=EVENING, content_sha256="0" * 64, program_id=PROGRAM, name="EEA 2", priority=0,
            targets=targets, steps=(Step(Interval(starts_at, starts_at + timedelta(hours=2)), Watts(5_000)),),
            status=EventStatus.SCHEDULED, out_of_program=(), test=False, committed_at=EVENING,
        )  # fmt: skip
        await self.store.append_version(event, actor="story")

    async def noes(self, event_id: str) -> list[tuple[str, str, bool]]:
        """Return (site, origin, still binding) of an event's opt-outs."""
        found = await self.store.opt_outs([event_id])
        return [(each.site_id, each.origin, each.taken_back_at is None) for each in found]


def a_sample(site: int, *, after_s: int = 0, **changed: Any) -> dict[str, Any]:
    usual = {
        "site_no": site, "at_s": to_epoch(EVENING) + after_s, "epoch": 7, "sequence": 45,
        "soc_permille": 800, "battery_w": 4_000, "discharge_limit_w": 5_000, "energy_full_wh": 13_500,
        "reserve_permille": 200, "discharged_wh": 10, "charged_wh": 12, "grid_connected": True,
        "storm_mode": False, "opted_out": False, "faulted": False,
    }  # fmt: skip
    return usual | changed


def batch_of(*samples: dict[str, Any]) -> TelemetryBatch:
    columns: dict[str, Any] = {}
    for name, usual in a_sample(ADA).items():
        values = [sample[name] for sample in samples]
        columns[name] = flags(values) if isinstance(usual, bool) else column(values)
    return TelemetryBatch(**columns)


def answers(*given: tuple[int, int, Refusal | None]) -> AckBatch:
    """Return acknowledgements of (site, sequence, refusal)."""
    return AckBatch(
        site_no=column(site for site, _, _ in given),
        epoch=column(7 for _ in given),
        sequence=column(sequence for _, sequence, _ in given),
        at_s=column(to_epoch(EVENING) for _ in given),
        event_id=tuple("ev-1" for _ in given),
        refusal=tuple(refusal for _, _, refusal in given),
    )


def a_reading(index: int, *, minutes: int, discharged_wh: int, site: int = ADA) -> MeterReading:
    return MeterReading(
        site_id=f"s-{site:04d}", boot_id=BOOT, index=index, at=EVENING + timedelta(minutes=minutes),
        discharged_wh=WattHours(discharged_wh), charged_wh=WattHours(0), soc_permille=Permille(800),
        quality=Quality.OK,
    )  # fmt: skip


def a_message(*readings: MeterReading) -> MeterMessage:
    return MeterMessage(readings[0].site_id, BOOT, 1, readings)


def presence(site: int, *, online: bool, retained: bool = False) -> SiteStatus:
    return SiteStatus(site, online, retained, None, 0, 0, None, None)


async def test_a_sample_becomes_the_state_of_its_home() -> None:
    street = await Street.of_three()

    collected = await street.hear(a_sample(BEN, soc_permille=613, reserve_permille=350, battery_w=-1_200))

    fleet = street.fleet
    assert (fleet.soc_permille[BEN], fleet.home_reserve_permille[BEN], fleet.battery_w[BEN]) == (
        613, 350, -1_200,
    )  # fmt: skip
    assert fleet.online.tolist() == [False, True, False]
    assert collected.stored == {"telemetry": 1}


async def test_samples_that_cannot_be_true_change_nothing_and_are_counted() -> None:
    street = await Street.of_three()
    await street.hear(a_sample(ADA, after_s=-60))

    collected = await street.hear(
        a_sample(ADA, after_s=31, soc_permille=1),
        a_sample(ADA, after_s=-61, soc_permille=2),
        a_sample(ADA, energy_full_wh=27_001, soc_permille=3),
        a_sample(ADA, battery_w=-10_001, soc_permille=4),
    )

    assert collected.refused == {
        ("telemetry", "from_the_future"): 1,
        ("telemetry", "older_than_known"): 1,
        ("telemetry", "energy_out_of_range"): 1,
        ("telemetry", "power_out_of_range"): 1,
    }
    assert street.fleet.soc_permille[ADA] == 800
    assert not collected.stored


async def test_a_home_that_withdrew_is_not_listened_to() -> None:
    street = await Street.of_three()
    street.fleet.enrolled[BEN] = street.fleet.consented[BEN] = False

    collected = await street.hear(a_sample(BEN), statuses=[presence(BEN, online=True)])

    assert collected.refused == {("telemetry", "not_enrolled"): 1, ("status", "not_enrolled"): 1}
    assert not street.fleet.online[BEN]
    assert street.fleet.sampled_at_s[BEN] == 0


async def test_a_home_is_never_asked_for_more_than_it_was_enrolled_with() -> None:
    street = await Street.of_three()

    await street.hear(a_sample(ADA, discharge_limit_w=11_500))

    assert street.fleet.discharge_limit_w[ADA] == 5_000


async def test_the_same_sample_twice_is_one_sample() -> None:
    street = await Street.of_three()

    first = await street.hear(a_sample(ADA), a_sample(ADA))
    again = await street.hear(a_sample(ADA))

    assert (first.stored["telemetry"], first.duplicate["telemetry"]) == (1, 1)
    assert (again.stored["telemetry"], again.duplicate["telemetry"]) == (0, 1)


async def test_going_off_the_grid_in_the_second_of_a_usual_sample_is_not_overlooked() -> None:
    for order in ((True, False), (False, True)):
        street = await Street.of_three()
        for connected in order:
            await street.hear(a_sample(ADA, grid_connected=connected))
        assert street.fleet.islanded[ADA]


SAID: list[tuple[int, int, dict[str, Any]]] = [
    (ADA, -60, {}),
    (ADA, 0, {"storm_mode": True}),
    (ADA, 0, {"grid_connected": False, "reserve_permille": 500}),
    (BEN, -30, {"opted_out": True}),
    (BEN, -30, {"faulted": True, "discharge_limit_w": 250}),
    (BEN, -90, {"sequence": 46}),
    (CLEO, -5, {}),
]
SAMPLES = [
    a_sample(site, after_s=after_s, soc_permille=800 - step, battery_w=100 * step, **said)
    for step, (site, after_s, said) in enumerate(SAID)
]


@given(st.permutations(SAMPLES + SAMPLES[:4]), st.integers(1, 10))
async def test_any_order_and_any_copies_of_samples_lead_to_one_fleet(
    samples: list[dict[str, Any]], cut: int
) -> None:
    expected, street = await Street.of_three(), await Street.of_three()
    await expected.hear(*SAMPLES)

    await street.hear(*samples[:cut])
    await street.hear(*samples[cut:])

    for name in ("soc_permille", "battery_w", "discharge_limit_w", "energy_full_wh", "home_reserve_permille",
                 "in_force_sequence", "sampled_at_s", "islanded", "storm_mode", "faulted",
                 "opted_out_at_home", "online"):  # fmt: skip
        np.testing.assert_array_equal(getattr(street.fleet, name), getattr(expected.fleet, name), name)


async def test_control_is_woken_by_what_must_not_wait_and_by_nothing_else() -> None:
    street = await Street.of_three()
    await street.hear(a_sample(ADA, after_s=-30), a_sample(BEN, after_s=-30), a_sample(CLEO, after_s=-30))
    unwelcome: list[dict[str, Any]] = [
        {"grid_connected": False}, {"storm_mode": True}, {"faulted": True},
        {"opted_out": True}, {"reserve_permille": 300},
    ]  # fmt: skip

    usual = await street.hear(a_sample(ADA, after_s=-20, soc_permille=790))
    for after_s, change in enumerate(unwelcome, start=-10):
        collected = await street.hear(a_sample(BEN, after_s=after_s, **change))
        assert collected.changed.tolist() == [BEN], change
    over = await street.hear(a_sample(BEN))  # all well again, and the reserve lowered

    assert not usual.urgent
    assert not over.urgent


async def test_a_home_that_vanishes_is_silent_at_once() -> None:
    street = await Street.of_three()
    await street.hear(a_sample(ADA))

    gone = await street.hear(statuses=[presence(ADA, online=False)])
    again = await street.hear(statuses=[presence(ADA, online=False)])
    back = await street.hear(statuses=[presence(ADA, online=True)])

    assert (gone.changed.tolist(), gone.stored["status"]) == ([ADA], 1)
    assert (again.urgent, again.duplicate["status"]) == (False, 1)
    assert (back.urgent, [status.site_no for status in back.online]) == (False, [ADA])
    assert street.fleet.online[ADA]


async def test_a_retained_word_tells_presence_and_not_arrival() -> None:
    street = await Street.of_three()

    collected = await street.hear(statuses=[presence(ADA, online=True, retained=True)])

    assert street.fleet.online[ADA]
    assert not collected.online


async def test_a_no_at_home_binds_the_running_event_until_the_home_takes_it_back() -> None:
    street = await Street.of_three()
    await street.announce("ev-next", EVENING + timedelta(days=1))
    await street.announce("ev-1", EVENING - timedelta(minutes=10))
    await street.hear(a_sample(ADA, after_s=-30))

    said_no = await street.hear(a_sample(ADA, after_s=-20, opted_out=True))
    while_no = await street.noes("ev-1")
    said_yes = await street.hear(a_sample(ADA, after_s=-10))

    assert (said_no.opted_out.tolist(), said_yes.opted_in.tolist()) == ([ADA], [ADA])
    assert while_no == [("s-0000", "home", True)]
    assert await street.noes("ev-1") == [("s-0000", "home", False)]
    assert await street.noes("ev-next") == []


async def test_a_no_at_home_binds_every_running_event_that_means_the_home_and_no_other() -> None:
    street = await Street.of_three()
    await street.announce("ev-elsewhere", EVENING - timedelta(minutes=20), targets=("kern",))
    await street.announce("ev-here", EVENING - timedelta(minutes=10), targets=("a4", "ALAMEDA"))
    await street.announce("ev-everywhere", EVENING - timedelta(minutes=5))

    await street.hear(a_sample(ADA, opted_out=True))

    assert await street.noes("ev-elsewhere") == []
    assert await street.noes("ev-here") == [("s-0000", "home", True)]
    assert await street.noes("ev-everywhere") == [("s-0000", "home", True)]


async def test_a_no_at_home_before_an_event_binds_the_next_one() -> None:
    street = await Street.of_three()
    await street.announce("ev-later", EVENING + timedelta(days=2))
    await street.announce("ev-next", EVENING + timedelta(days=1))

    await street.hear(a_sample(BEN, opted_out=True))

    assert await street.noes("ev-next") == [("s-0001", "home", True)]
    assert await street.noes("ev-later") == []


async def test_a_yes_at_home_does_not_take_back_what_the_owner_said_elsewhere() -> None:
    street = await Street.of_three()
    await street.announce("ev-1", EVENING - timedelta(minutes=10))
    await street.store.opt_out(OptOut("s-0000", "ev-1", EVENING, "portal"))

    await street.hear(a_sample(ADA, after_s=-20, opted_out=True))
    await street.hear(a_sample(ADA, after_s=-10))

    assert await street.noes("ev-1") == [("s-0000", "portal", True), ("s-0000", "home", False)]


async def test_a_yes_at_home_counts_after_a_restart_too() -> None:
    street = await Street.of_three()
    await street.announce("ev-1", EVENING - timedelta(minutes=10))
    await street.hear(a_sample(ADA, after_s=-20, opted_out=True))

    await street.know_again()
    await street.hear(a_sample(ADA, after_s=-10))

    assert await street.noes("ev-1") == [("s-0000", "home", False)]


async def test_a_no_at_home_that_could_not_be_stored_is_stored_with_the_next_sample() -> None:
    street = await Street.of_three()
    await street.announce("ev-1", EVENING - timedelta(minutes=10))
    whole, street.store = street.store, StoreWithoutOptOuts()
    with pytest.raises(StoreUnavailable):
        await street.hear(a_sample(ADA, after_s=-20, opted_out=True))
    street.store = whole

    again = await street.hear(a_sample(ADA, after_s=-10, opted_out=True))

    assert await street.noes("ev-1") == [("s-0000", "home", True)]
    assert not again.urgent


async def test_a_no_at_home_that_no_event_was_there_for_binds_the_next_one_announced() -> None:
    street = await Street.of_three()
    await street.hear(a_sample(ADA, after_s=-20, opted_out=True))
    await street.announce("ev-1", EVENING + timedelta(hours=1))

    await street.hear(a_sample(ADA, after_s=-10, opted_out=True))

    assert await street.noes("ev-1") == [("s-0000", "home", True)]


async def test_readings_from_before_consent_are_refused_and_their_values_forgotten() -> None:
    street = await Street.of_three()
    consent_at = street.roster.enrollments[ADA].consent.given_at
    minutes = int((consent_at - EVENING).total_seconds()) // 60
    private = a_reading(1, minutes=minutes - 5, discharged_wh=7_000)
    agreed = a_reading(2, minutes=minutes, discharged_wh=7_010)

    await street.hear(meter=[a_message(private, agreed)])

    rows = await street.store.readings(["s-0000"], [Interval(private.at, agreed.at)])
    assert rows.discharged_wh.tolist() == [0, 7_010]
    assert [QUALITY_CODES[code] for code in rows.quality] == [Quality.BAD, Quality.OK]
    assert street.link.receipts[-1].stored_through == 2


async def test_answers_are_stored_once_and_a_refusal_wakes_control() -> None:
    street = await Street.of_three()

    accepted = await street.hear(acks=answers((ADA, 45, None), (ADA, 45, None)))
    refused = await street.hear(acks=answers((BEN, 45, Refusal.STORM_MODE)))
    stale = await street.hear(acks=answers((CLEO, 45, Refusal.STALE_SEQUENCE)))

    assert (accepted.stored["ack"], accepted.duplicate["ack"], accepted.urgent) == (1, 1, False)
    assert refused.changed.tolist() == [BEN]
    assert not stale.urgent


async def test_a_receipt_follows_the_commit_and_covers_what_has_no_hole() -> None:
    street = await Street.of_three()
    first = a_message(a_reading(1, minutes=-15, discharged_wh=0))
    third = a_message(a_reading(3, minutes=-5, discharged_wh=40))
    second = a_message(a_reading(2, minutes=-10, discharged_wh=20))

    for message in (first, third, second):
        await street.hear(meter=[message])

    assert [receipt.stored_through for receipt in street.link.receipts] == [1, 1, 3]


async def test_the_same_readings_again_earn_the_same_receipt() -> None:
    street = await Street.of_three()
    message = a_message(a_reading(1, minutes=-15, discharged_wh=0))

    collected = await street.hear(meter=[message, message])
    await street.hear(meter=[message])

    assert (collected.stored["meter"], collected.duplicate["meter"]) == (1, 1)
    assert {receipt.stored_through for receipt in street.link.receipts} == {1}


async def test_each_message_is_counted_exactly_once() -> None:
    street = await Street.of_three()
    message = a_message(a_reading(1, minutes=-15, discharged_wh=0))

    collected = await street.hear(
        a_sample(ADA), a_sample(ADA), a_sample(BEN, after_s=99),
        acks=answers((ADA, 45, None), (ADA, 45, None)),
        meter=[message, message],
        statuses=[presence(ADA, online=True)],
    )  # fmt: skip

    total = collected.stored + collected.duplicate
    for (kind, _), count in collected.refused.items():
        total[kind] += count
    assert total == {"telemetry": 3, "ack": 2, "meter": 2, "status": 1}
