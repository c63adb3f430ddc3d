"""``vpp demo``: a grid emergency from its signal to each owner's dollars, in one command.

The real controller, a real broker and a real database in a folder that is thrown away unless it is named;
only the homes and the
grid operator are simulated, in a child process. The clock is stepped five seconds at a time.
"""

import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from vpp.adapters.clock import SteppedClock
from vpp.adapters.device_link import GATEWAY_FILTERS
from vpp.adapters.embedded_broker import EmbeddedBroker
from vpp.adapters.ids import SeededIds
from vpp.adapters.keys import FileKeys
from vpp.adapters.mqtt import Access, MqttTransport
from vpp.adapters.openadr import EVENT_FILTER
from vpp.adapters.sql.store import SqlStore
from vpp.bootstrap import Controller, assemble
from vpp.domain.event_plan import EventPlan
from vpp.domain.fanout import Fanout
from vpp.domain.grid_event import EventHistory, precedence_key
from vpp.domain.interval import Interval, union
from vpp.entrypoints.demo_fleet import Homes, HomesProcess, MeasuredTransport, make_homes, run_homes
from vpp.entrypoints.operations import metering, money, sites, sources
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, usd
from vpp.entrypoints.operations.evening import keep_course
from vpp.entrypoints.operations.events import asks_for_all, requested_wh
from vpp.entrypoints.operations.live import Live
from vpp.entrypoints.operations.starting import CONSOLE
from vpp.ports import Store
from vpp.settings import Settings

STEP = timedelta(seconds=5)
COURSE_EVERY = timedelta(minutes=5)


class Audience(Protocol):
    """Whoever watches: told what is being prepared, then each instant of the story."""

    def preparing(self, what: str) -> None:
        """Hear what is being done before the story begins."""
        ...

    def reading(self, done: int, total: int) -> None:
        """Hear how much history was stored."""
        ...

    def playing(self, moment: "Moment") -> None:
        """See one instant."""
        ...


@dataclass(frozen=True, slots=True)
class Moment:
    """What an instant of the story looks like; power in watts."""

    at: datetime
    starts_at: datetime
    ends_at: datetime
    asked_w: int
    planned_w: int
    measured_w: int
    sites_asked: int
    acknowledged: int
    commands: int
    charge_pct: float
    fanout: Fanout


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the demonstration is to show."""

    sites: int = 200
    seed: int = 1
    scenario: str = "default"
    keep: Path | None = None  # where the database and the keys stay; None: they are thrown away


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures of a demonstration (``summary`` is what ``--json`` prints), and what stands beside them."""

    summary: Json
    homes: Homes
    peak_w: int
    hours: float
    owners: tuple[tuple[str, int, int], ...]  # owner, delivered Wh, micro-dollars; best paid first


class Afterwards(Protocol):
    """What happens while everything still runs after the story, before it is taken down."""

    async def __call__(self, stage: "Stage", outcome: "Outcome", /) -> None:
        """Do it, and return when everything may end."""
        ...


async def play(
    wanted: Wanted, settings: Settings, audience: Audience, afterwards: Afterwards | None = None
) -> Outcome:
    """Play a story and return what came of it.

    Raises:
        OperationRefused: It cannot be played: no such story, a folder to keep it in that holds something
            already, or the homes went away.
    """
    began = time.perf_counter()
    with _folder(wanted.keep) as folder:
        audience.preparing(f"three weeks in the life of {wanted.sites} homes")
        homes = await make_homes(
            folder / "homes", sites=wanted.sites, seed=wanted.seed, scenario=wanted.scenario
        )
        async with _stage(homes, wanted, settings, folder) as stage:
            await _prepare(stage, homes, audience)
            await stage.begin()
            await _run(stage, homes, audience)
            outcome = await _outcome(stage, homes, wanted, began)
            if afterwards is not None:
                await afterwards(stage, outcome)
            return outcome


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Give a folder to play in: one that is thrown away, or one that stays for other commands."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="vpp-demo-") as thrown_away:
            yield Path(thrown_away)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True, mode=0o700)
        taken = any(keep.iterdir())
    except OSError as failure:
        raise OperationRefused(f"{keep}: {failure.strerror}") from failure
    if taken:
        raise OperationRefused(f"{keep} holds something already; name a new folder")
    yield keep.resolve()


@dataclass(slots=True)
class Stage:
    """Controller, homes, and the one clock that both follow. ``folder`` is what VPP_STATE_DIR would name."""

    folder: Path
    broker_url: str
    controller: Controller
    desk: Desk
    clock: SteppedClock
    wire: MeasuredTransport
    homes: HomesProcess
    peak_w: int = 0
    kept_at: datetime | None = None  # when the course of events was stored last

    async def begin(self) -> None:
        """Take in what the homes said when they came online."""
        packets = await self.wire.receive_all(await self.homes.ready())
        await self.controller.runner.turn(packets)

    async def step_to(self, at: datetime) -> None:
        """Move both sides to an instant and let them talk until no command is left to be answered.

        Meter receipts need no answer: the homes take them in with the next step.
        """
        self.clock.step_to(at)
        while True:
            commands = self.wire.commands
            packets = await self.wire.receive_all(await self.homes.step(at, self.wire.sent))
            await self.controller.runner.turn(packets)
            if self.wire.commands == commands:
                # A transaction for every quarter of a played minute would take a sixth of the whole time.
                self.desk.running.note(at)
                if self.kept_at is None or at - self.kept_at >= COURSE_EVERY:
                    self.kept_at = at
                    await keep_course(self.desk)
                return


@asynccontextmanager
async def _stage(homes: Homes, wanted: Wanted, settings: Settings, folder: Path) -> AsyncIterator[Stage]:
    """Give everything connected: broker, database, controller, homes."""
    settings = settings.model_copy(update={"state_dir": folder, "database_url": "", "production": False})
    clock, keys = SteppedClock(homes.starts_at), FileKeys(folder)
    store = await SqlStore.open(settings.store_url, durable=False)  # played again rather than mended
    try:
        async with EmbeddedBroker() as broker:
            access = Access.from_url(broker.url, client_id=keys.kid)
            jitter = secrets.SystemRandom().random
            async with MqttTransport(
                access, filters=(*GATEWAY_FILTERS, EVENT_FILTER), jitter=jitter
            ) as transport:
                await transport.wait_connected()
                wire = MeasuredTransport(transport)
                controller = assemble(
                    settings, clock=clock, store=store, keys=keys, transport=wire, ids=SeededIds(wanted.seed)
                )
                live = Live(controller)
                desk = Desk(
                    store,
                    clock,
                    keys,
                    controller.programs,
                    changed=controller.wake,
                    live=live,
                    messenger=False,
                )
                key = await sources.show_keys(desk)
                async with run_homes(
                    homes, broker_url=broker.url, controller_key=f"{key['kid']}:{key['public_key']}"
                ) as child:
                    yield Stage(folder, broker.url, controller, desk, clock, wire, child)
    finally:
        await store.close()


async def _prepare(stage: Stage, homes: Homes, audience: Audience) -> None:
    """Enrol the homes, import their history, let the grid operator signal: all by the usual operations."""
    audience.preparing("enrolment")
    await sites.enroll_sites(stage.desk, content=homes.sites_file.read_bytes(), file_name="sites.csv")
    await metering.import_readings(
        stage.desk,
        content=homes.history_file.read_bytes(),
        file_name="history.csv",
        progress=audience.reading,
    )
    await sources.add_source(
        stage.desk, name=homes.source, key=homes.source_public_key, max_mw=str(homes.max_mw)
    )
    own = await sources.show_keys(stage.desk)
    await sources.add_source(stage.desk, name=CONSOLE, key=str(own["public_key"]), max_mw=str(homes.max_mw))


async def _run(stage: Stage, homes: Homes, audience: Audience) -> None:
    at = homes.starts_at
    while at < homes.ends_at:
        at = min(at + STEP, homes.ends_at)
        await stage.step_to(at)
        moment = _moment(stage, homes)
        stage.peak_w = max(stage.peak_w, moment.measured_w)
        audience.playing(moment)
    for event_id in homes.event_ids:
        await stage.controller.settle_event(event_id)


def _moment(stage: Stage, homes: Homes) -> Moment:
    fleet, board = stage.controller.fleet, stage.controller.board
    now, live = stage.clock.now(), stage.desk.running
    stands = list(board.plans.values()) if board else []
    plans = [plan for plan in stands if plan.asked is not None and plan.asked[3] > now]  # that end later
    planned = sum((plan.setpoint_w for plan in plans), start=fleet.battery_w * 0)
    asked = planned > 0
    known = fleet.sampled_at_s > 0
    return Moment(
        at=now,
        starts_at=homes.starts_at,
        ends_at=homes.ends_at,
        asked_w=_asked_w([plan for plan in plans if plan.setpoint_w.any()]),
        planned_w=int(planned.sum()),
        measured_w=int(live.output(live.busy(now)).measured_w.sum()),
        sites_asked=int(asked.sum()),
        acknowledged=len(stage.wire.answered_s),
        commands=stage.wire.commands,
        charge_pct=round(float(fleet.soc_permille[known].mean()) / 10, 1) if known.any() else 0.0,
        fanout=live.fanout(live.busy(now), now, unsent=sum(stage.controller.unsent.values())),
    )


def _asked_w(plans: Sequence[EventPlan]) -> int:
    """Return what the plans in force ask together; beside one that takes all there is, no other counts."""
    for_all = [plan for plan in plans if plan.asked is not None and plan.asked[1] is None]
    return sum(plan.requested_w for plan in for_all or plans)


@dataclass(slots=True)
class Sums:
    """Sums over the events of a demo; energy in Wh, money in micro-dollars."""

    requested_wh: int = 0
    delivered_wh: int = 0
    incremental_wh: Fraction = Fraction(0)
    paid: int = 0
    hours: float = 0.0
    dispatched: set[int] = field(default_factory=set)
    owners: dict[str, tuple[int, int]] = field(default_factory=dict)
    asked_for_all: tuple[Interval, ...] = ()

    async def add_all(self, store: Store, event_ids: Sequence[str]) -> None:
        """Add the events of a story, the most important first: it alone asks for all that there is."""
        histories = []
        for event_id in event_ids:
            history = await store.history(event_id)
            if history is None:
                raise OperationRefused(f"the signal of {event_id} was not accepted; see the log above")
            histories.append(history)
        for history in sorted(histories, key=lambda each: precedence_key(each.latest, test=False)):
            await self._add(store, history)

    async def _add(self, store: Store, history: EventHistory) -> None:
        """Add one event as the store tells it."""
        event_id = history.latest.event_id
        revisions = await store.revisions(event_id)
        self.requested_wh += requested_wh(
            history, [(each.at, each.requested_w) for each in revisions], but_for=self.asked_for_all
        )
        self.asked_for_all = union((*self.asked_for_all, *asks_for_all(history)))
        interval = history.versions[0].interval
        self.hours = max(self.hours, interval.seconds / 3600 if interval else 0.0)
        for tick in await store.event_ticks(event_id):
            for order in tick.orders:
                self.dispatched.update(order.site_no.tolist())
        settlement = await store.settlement(event_id)
        for line in settlement.lines if settlement else ():
            metered_wh = sum(hour.metered_wh or 0 for hour in line.hours)
            self.delivered_wh += metered_wh
            self.incremental_wh += line.incremental_wh
            self.paid += line.amount
            energy_wh, amount = self.owners.get(line.owner_id, (0, 0))
            self.owners[line.owner_id] = (energy_wh + metered_wh, amount + line.amount)


async def _outcome(stage: Stage, homes: Homes, wanted: Wanted, began: float) -> Outcome:
    sums = Sums()
    await sums.add_all(stage.desk.store, homes.event_ids)
    seen = await stage.homes.report()
    books = await money.verify_ledger(stage.desk)
    summary: Json = {
        "event_id": "+".join(homes.event_ids),
        "scenario": homes.scenario,
        "sites_enrolled": wanted.sites,
        "sites_dispatched": len(sums.dispatched),
        "requested_wh": sums.requested_wh,
        "delivered_wh": sums.delivered_wh,
        "incremental_wh": round(sums.incremental_wh),  # once: homes rounded one by one sum to another
        "paid_usd": usd(sums.paid),
        "ledger_balanced": bool(books["balanced"] and books["chain_holds"]),
        "reserve_violations": seen["reserve_violations"],
        "commands_sent": stage.wire.commands,
        "commands_acknowledged": len(stage.wire.answered_s),
        "acked_p99_s": stage.wire.answered_p99_s(),
        "wall_s": round(time.perf_counter() - began, 1),
    }
    best = sorted(sums.owners.items(), key=lambda each: (-each[1][1], each[0]))
    return Outcome(
        summary=summary,
        homes=homes,
        peak_w=stage.peak_w,
        hours=sums.hours,
        owners=tuple((owner, energy_wh, amount) for owner, (energy_wh, amount) in best),
    )
