"""A small world for stories about money: homes with metered evenings, and events that were dispatched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.domain.money_world import (
    EVENT_DAY,
    Row,
    a_meter,
    a_program,
    an_evening_history,
    local,
)
from vpp.adapters.clock import SteppedClock
from vpp.adapters.memory.store import MemoryStore
from vpp.domain.command import Action, DispatchTick, Order
from vpp.domain.delivery import MeterMessage, MeterReading
from vpp.domain.enrollment import Consent, EnrollmentRequest, OptOut
from vpp.domain.grid_event import EventHistory, EventStatus, GridEvent, GridSource, Operation, Step
from vpp.domain.interval import Interval
from vpp.domain.ledger import Account, JournalEntry, balances
from vpp.domain.program import Program
from vpp.domain.quantities import Permille, WattHours, Watts, column
from vpp.domain.settlement import Settlement
from vpp.stages.pay import pay
from vpp.stages.settle import settle

STARTS_AT, ENDS_AT = local(EVENT_DAY, 18), local(EVENT_DAY, 21)
ENROLLED_AT = STARTS_AT - timedelta(days=90)
TEN_DAYS = [[1_000, 1_000, 1_000]] * 10


@dataclass
class MoneyStory:
    """The money stages on memory adapters."""

    store: MemoryStore = field(default_factory=MemoryStore)
    clock: SteppedClock = field(default_factory=lambda: SteppedClock(ENDS_AT + timedelta(minutes=20)))
    program: Program = field(default_factory=a_program)
    ticks: int = 0
    boots: int = 0

    async def home(
        self, name: str, *evenings: Mapping[datetime, int], accuracy_permille: int | None = None
    ) -> None:
        """Enroll a home of an owner of the same name and give it the metered hours."""
        request = EnrollmentRequest(
            site_id=name, owner_id=f"owner-{name}", program_id=self.program.program_id,
            utility="PGE", county="Alameda", feeder="f-1",
            full_energy_wh=WattHours(13_500), max_discharge_w=Watts(5_000),
            reserve_permille=Permille(200), gateway_public_key=bytes(32),
            consent=Consent("2026-05", ENROLLED_AT),
            meter_accuracy_permille=None if accuracy_permille is None else Permille(accuracy_permille),
        )  # fmt: skip
        await self.store.enroll([request], at=ENROLLED_AT)
        hours: dict[datetime, int] = {}
        for evening in evenings:
            hours |= evening
        in_time = min(self.clock.now(), ENDS_AT + timedelta(minutes=20))
        await self.metered(name, a_meter(hours), received_at=in_time)

    async def metered(
        self, name: str, rows: Sequence[Row], *, received_at: datetime | None = None, at_grid: bool = False
    ) -> None:
        """Store readings as one boot of the home's gateway, received now unless a time is given.

        With ``at_grid`` the home has no load, so its grid meter counts what the battery does.
        """
        self.boots += 1
        readings = tuple(
            MeterReading(
                name,
                f"{self.boots:032x}",
                index,
                at,
                WattHours(discharged),
                WattHours(charged),
                None,
                quality,
                imported_wh=WattHours(charged) if at_grid else None,
                exported_wh=WattHours(discharged) if at_grid else None,
            )
            for index, (at, discharged, charged, quality) in enumerate(rows, start=1)
        )
        message = MeterMessage(name, f"{self.boots:032x}", 1, readings)
        await self.store.append([message], at=received_at or self.clock.now())

    async def event(
        self,
        event_id: str = "ev-1",
        *,
        starts_at: datetime = STARTS_AT,
        ends_at: datetime = ENDS_AT,
        committed_at: datetime | None = None,
        out_of_program: tuple[str, ...] = (),
        priority: int | None = None,
        max_power_w: int = 10**9,
        test: bool = False,
    ) -> None:
        """Commit the first version of an event."""
        source = GridSource("caiso", None, Watts(max_power_w), ENROLLED_AT)
        await self.store.add_source(source)
        committed_at = committed_at or starts_at - timedelta(hours=4)
        version = GridEvent(
            event_id=event_id, version=1, source="caiso", operation=Operation.CREATE,
            modified_at=committed_at, content_sha256="0" * 64, program_id=self.program.program_id,
            name=event_id, priority=priority, targets=(),
            steps=(Step(Interval(starts_at, ends_at), Watts(10_000)),), status=EventStatus.SCHEDULED,
            out_of_program=out_of_program, test=test, committed_at=committed_at,
        )  # fmt: skip
        await self.store.append_version(version, actor="caiso")

    async def cancelled(self, event_id: str, *, at: datetime) -> None:
        """Commit a cancel."""
        history = await self.store.history(event_id)
        assert history is not None
        latest = history.latest
        version = GridEvent(
            event_id=event_id, version=latest.version + 1, source="caiso", operation=Operation.DELETE,
            modified_at=at, content_sha256="0" * 64, program_id=latest.program_id, name=latest.name,
            priority=latest.priority, targets=(), steps=(), status=EventStatus.CANCELLED,
            out_of_program=latest.out_of_program, test=False, committed_at=at,
        )  # fmt: skip
        await self.store.append_version(version, actor="caiso")

    async def dispatched(
        self,
        *site_nos: int,
        event_id: str = "ev-1",
        at: datetime = STARTS_AT,
        action: Action = Action.DISCHARGE,
    ) -> None:
        """Commit a tick that tells sites to discharge, or to stop."""
        self.ticks += 1
        order = Order(
            event_id=event_id, revision=1, action=action, site_no=column(site_nos),
            starts_at=at, expires_at=at + timedelta(minutes=15), event_ends_at=at + timedelta(hours=3),
            ramp_s=30, spread_s=60, test=False,
        )  # fmt: skip
        epoch = await self.store.take_epoch(at=at)
        await self.store.commit(DispatchTick(self.ticks, epoch, at, (order,)), ())

    async def opted_out(
        self, name: str, *, at: datetime, event_id: str = "ev-1", taken_back_at: datetime | None = None
    ) -> None:
        """Commit an owner's no to the event."""
        await self.store.opt_out(OptOut(name, event_id, at, "portal"))
        if taken_back_at is not None:
            await self.store.take_back_opt_out(name, event_id, at=taken_back_at)

    async def history(self, event_id: str = "ev-1") -> EventHistory:
        """Return what was committed about an event."""
        history = await self.store.history(event_id)
        assert history is not None
        return history

    async def settled(self, event_id: str = "ev-1", *, correcting: bool = False) -> Settlement | None:
        """Let the settle stage settle an event."""
        history = await self.history(event_id)
        programs = {self.program.program_id: self.program}
        return await settle(
            history, store=self.store, programs=programs, clock=self.clock, correcting=correcting
        )

    async def settled_and_paid(self, event_id: str = "ev-1", *, correcting: bool = False) -> Settlement:
        """Let both stages work on an event."""
        settlement = await self.settled(event_id, correcting=correcting)
        assert settlement is not None
        await pay(settlement, books=self.store, clock=self.clock)
        return settlement

    async def books(self) -> Sequence[JournalEntry]:
        """Return the journal."""
        return await self.store.entries()

    async def owed(self, name: str) -> tuple[int, int]:
        """Return what a home's owner is owed, posted and pending, in cents."""
        balance = balances(await self.books()).get((Account.OWNER_PAYABLE, f"owner-{name}"))
        return (0, 0) if balance is None else (-balance.posted // 10_000, -balance.pending // 10_000)


async def a_dispatched_home(*, now: datetime = ENDS_AT + timedelta(minutes=20)) -> MoneyStory:
    """Return a world with one home that was dispatched and earns 9 kWh, $18.00."""
    story = MoneyStory(clock=SteppedClock(now))
    await story.home("home", an_evening_history([4_000, 4_000, 4_000], TEN_DAYS))
    await story.event()
    await story.dispatched(0)
    return story
