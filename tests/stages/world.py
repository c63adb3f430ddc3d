"""A small world for stage stories: a memory store, a stepped clock, enrolled homes, a link that listens."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from vpp.adapters.clock import SteppedClock
from vpp.adapters.memory.store import MemoryStore
from vpp.domain.board import Board, hear
from vpp.domain.command import AckBatch, Action, CommandBatch, DispatchTick, Refusal
from vpp.domain.delivery import MeterReceipt
from vpp.domain.dispatch_terms import DispatchTerms
from vpp.domain.enrollment import Consent, EnrollmentRequest
from vpp.domain.fleet import FleetState, Roster, TelemetryBatch, enroll, update
from vpp.domain.grid_event import EventStatus, GridEvent, GridSource, Operation, Step
from vpp.domain.interval import Interval, to_epoch, whole_second
from vpp.domain.program import Program
from vpp.domain.quantities import IntColumn, Permille, WattHours, Watts, column, flags
from vpp.ports import Heard, Packet
from vpp.stages.control import control, resume
from vpp.stages.season import count_season

EVENING = datetime(2026, 9, 10, 1, 0, tzinfo=UTC)  # 18:00 in California on 9 September
PROGRAM = "elrp-a4-pge"
TERMS = DispatchTerms(lease_s=900, spread_s=60, ramp_s=30, ack_timeout_s=10, sample_period_s=30)
GRID = GridSource("caiso", None, Watts(1_000_000_000), EVENING - timedelta(days=30))


class ListeningLink:
    """A device link that keeps what it was told to send."""

    def __init__(self) -> None:
        self.sent: list[CommandBatch] = []

    def decode(self, packets: Sequence[Packet]) -> Heard:
        raise AssertionError(f"nothing is decoded in these stories, not even {len(packets)} packets")

    async def command(self, batches: Sequence[CommandBatch]) -> None:
        self.sent.extend(batches)

    async def acknowledge(self, receipts: Sequence[MeterReceipt]) -> None:
        raise AssertionError(f"no meter speaks in these stories, yet {len(receipts)} receipts were made")

    def take(self, action: Action) -> dict[int, int]:
        """Return watts by site of the commands of one kind, and forget them."""
        found = {
            int(site): int(watts)
            for batch in self.sent
            if batch.order.action is action
            for site, watts in zip(batch.order.site_no, batch.setpoint_w, strict=True)
        }
        self.sent = [batch for batch in self.sent if batch.order.action is not action]
        return found


def a_request(site_no: int, *, reserve_permille: int = 200, county: str = "Alameda") -> EnrollmentRequest:
    return EnrollmentRequest(
        site_id=f"s-{site_no:04d}",
        owner_id=f"o-{site_no:04d}",
        program_id=PROGRAM,
        utility="pge",
        county=county,
        feeder=f"f-{site_no % 3}",
        full_energy_wh=WattHours(13_500),
        max_discharge_w=Watts(5_000),
        reserve_permille=Permille(reserve_permille),
        gateway_public_key=bytes([site_no % 256]) * 32,
        consent=Consent("2026-05", EVENING - timedelta(days=100)),
    )


def a_program() -> Program:
    """Return a program without terms: control asks it only for the groups it answers to."""
    return Program(PROGRAM, "ELRP A.4", "pge", ("a4",), ZoneInfo("America/Los_Angeles"), 8, ())


class World:
    """The control stage on memory adapters. ``tick`` moves the clock and lets control decide once."""

    def __init__(self, store: MemoryStore, programs: dict[str, Program]) -> None:
        self.store = store
        self.programs = programs
        self.clock = SteppedClock(EVENING)
        self.link = ListeningLink()
        self.fleet = FleetState()
        self.roster = Roster()
        self.board = Board.__new__(Board)
        self.terms = TERMS

    @classmethod
    async def of(cls, requests: Sequence[EnrollmentRequest], *, soc_permille: Sequence[int]) -> "World":
        world = cls(MemoryStore(), {PROGRAM: a_program()})
        await world.store.add_source(GRID)
        enrolled = await world.store.enroll(requests, at=EVENING - timedelta(days=60))
        enroll(world.fleet, world.roster, enrolled)
        world.board = await resume(store=world.store, fleet=world.fleet, clock=world.clock)
        world.sample(soc_permille=soc_permille)
        return world

    async def restart(self) -> None:
        """Forget everything in memory, as a killed process does, and begin again from the store."""
        self.fleet, self.roster = FleetState(), Roster()
        enroll(self.fleet, self.roster, await self.store.enrollments())
        self.board = await resume(store=self.store, fleet=self.fleet, clock=self.clock)

    def sample(
        self,
        *,
        soc_permille: Sequence[int],
        battery_w: Sequence[int] | None = None,
        limit_w: Sequence[int] | None = None,
        islanded: Sequence[int] = (),
    ) -> None:
        """Let every home report now."""
        sites = len(self.fleet)
        zeros = column([0] * sites)
        update(
            self.fleet,
            TelemetryBatch(
                site_no=column(range(sites)),
                at_s=column([to_epoch(self.clock.now())] * sites),
                epoch=zeros,
                sequence=zeros,
                soc_permille=column(soc_permille),
                battery_w=column(battery_w) if battery_w is not None else zeros,
                discharge_limit_w=column(limit_w) if limit_w is not None else column([5_000] * sites),
                energy_full_wh=column([13_500] * sites),
                reserve_permille=column([200] * sites),
                discharged_wh=zeros,
                charged_wh=zeros,
                grid_connected=flags([site not in islanded for site in range(sites)]),
                storm_mode=flags([False] * sites),
                opted_out=flags([False] * sites),
                faulted=flags([False] * sites),
            ),
        )

    def deliver(
        self,
        *,
        soc_permille: Sequence[int],
        short: dict[int, int] | None = None,
        silent: Collection[int] = (),
    ) -> None:
        """Let every home but the silent report that it gives what it was asked, or less."""
        powers = self.board.leases.setpoint_w.tolist()
        for site, power_w in (short or {}).items():
            powers[site] = power_w
        quiet = sorted(silent)
        heard = self.fleet.sampled_at_s[quiet].copy(), self.fleet.battery_w[quiet].copy()
        online = self.fleet.online[quiet].copy()
        self.sample(soc_permille=soc_permille, battery_w=powers)
        self.fleet.sampled_at_s[quiet], self.fleet.battery_w[quiet] = heard
        self.fleet.online[quiet] = online

    async def signal(
        self,
        power_w: int | None,
        *,
        event_id: str = "ev-1",
        starts_at: datetime = EVENING,
        hours: int = 2,
        minutes: int = 0,
        priority: int | None = 0,
        cancelled: bool = False,
        targets: tuple[str, ...] = (),
        steps: Sequence[int | None] | None = None,
        test: bool = False,
    ) -> None:
        """Commit a version of an event, as intake would; ``steps`` are powers of as many ``hours`` each.

        With ``minutes`` it lasts that long instead.
        """
        history = await self.store.history(event_id)
        version = 1 if history is None else history.latest.version + 1
        now = self.clock.now()
        length = timedelta(minutes=minutes or 60 * hours)
        powers = [power_w] if steps is None else steps
        asked = tuple(
            Step(
                Interval(starts_at + place * length, starts_at + (place + 1) * length),
                None if each is None else Watts(each),
            )
            for place, each in enumerate(powers)
        )
        event = GridEvent(
            event_id=event_id,
            version=version,
            source=GRID.name,
            operation=Operation.DELETE if cancelled else Operation.CREATE,
            modified_at=now,
            content_sha256=f"{version:064x}",
            program_id=PROGRAM,
            name="EEA 2",
            priority=priority,
            targets=targets,
            steps=() if cancelled else asked,
            status=EventStatus.CANCELLED if cancelled else EventStatus.SCHEDULED,
            out_of_program=(),
            test=test,
            committed_at=now,
        )
        await self.store.append_version(event, actor="story")

    async def tick(self, *, seconds: int = 0) -> DispatchTick | None:
        self.clock.step_to(self.clock.now() + timedelta(seconds=seconds))
        now = whole_second(self.clock.now())
        await count_season(
            self.board.season, self.store, self.fleet, self.roster, self.programs, terms=self.terms, now=now
        )
        return await control(
            board=self.board,
            fleet=self.fleet,
            roster=self.roster,
            programs=self.programs,
            store=self.store,
            link=self.link,
            clock=self.clock,
            terms=self.terms,
        )

    async def answer(
        self,
        tick: DispatchTick,
        refusals: dict[int, Refusal] | None = None,
        *,
        sites: IntColumn | None = None,
    ) -> bool:
        """Let every commanded home, or some of one order, acknowledge a tick, or refuse with a reason."""
        refusals = refusals or {}
        if sites is None:
            sites = np.concatenate([np.zeros(0, dtype=np.int64), *(order.site_no for order in tick.orders)])
        acks = AckBatch(
            site_no=sites,
            epoch=np.full(len(sites), tick.epoch),
            sequence=np.full(len(sites), tick.number),
            at_s=np.full(len(sites), to_epoch(self.clock.now())),
            event_id=tuple(order.event_id for order in tick.orders for _ in order.site_no)[: len(sites)],
            refusal=tuple(refusals.get(int(site)) for site in sites),
        )
        await self.store.record_acks(acks)
        return hear(self.board, acks, self.clock.now())
