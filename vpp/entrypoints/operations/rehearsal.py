"""Run an event now, on the fleet as it is, through the real stages in virtual time; no command leaves.

Everything happens on adapters in memory. Homes are modelled: they ramp, stop at their reserve, and as many
of them fail as their track record lets expect. Dispatch is rehearsed, and nothing else: intake judges no
signal here, and nothing is settled.
"""

import asyncio
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from http import HTTPStatus

import numpy as np

from vpp.adapters.clock import SteppedClock
from vpp.adapters.memory.store import MemoryStore
from vpp.domain.board import Board, hear
from vpp.domain.burden import SeasonUse
from vpp.domain.command import AckBatch, CommandBatch
from vpp.domain.delivery import MeterReceipt
from vpp.domain.demands import LEAD
from vpp.domain.dispatch_plan import REASONS
from vpp.domain.dispatch_terms import DispatchTerms
from vpp.domain.eligibility import STALE_AFTER_S
from vpp.domain.enrollment import EnrollmentRequest
from vpp.domain.fleet import FleetState, Roster
from vpp.domain.grid_event import (
    EventHistory,
    EventStatus,
    Grant,
    GrantKind,
    GridEvent,
    is_test,
    steps_in_force,
)
from vpp.domain.home_model import HomeModel
from vpp.domain.interval import Interval, from_epoch, to_epoch, whole_second
from vpp.domain.proof import ProofState
from vpp.domain.quantities import IntColumn
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant, percent
from vpp.entrypoints.operations.live import Live
from vpp.entrypoints.operations.records import track_record
from vpp.entrypoints.operations.starting import read_wish, version_of
from vpp.ports import Heard, Packet
from vpp.stages.collect import collect
from vpp.stages.control import control, resume
from vpp.stages.season import count_season

CURVE_EVERY_S = 60
SETTLED_AFTER_S = 300
FEEDERS_SHOWN = 20
_LONGEST = timedelta(hours=24)
_STILL_EMPTY = timedelta(hours=6)  # homes do not charge here: what ends earlier does not weaken them any more
_REHEARSING = "rehearsal"


async def rehearse_event(
    desk: Desk,
    *,
    event_id: str = "",
    program_id: str = "",
    power_mw: str = "all",
    starts_at: str = "now",
    minutes: int = 60,
    targets: Sequence[str] = (),
) -> Json:
    """Run an event on the fleet as it is now, in virtual time; nothing is stored and no command leaves.

    Args:
        event_id: An event that stands; without one the others say what would be asked.
        program_id: Whose homes.
        power_mw: Megawatts, or ``all`` that can be sustained.
        starts_at: ``now``, or a time; without an offset it is local in the program's zone.
        minutes: The length.
        targets: Names of utilities, groups, counties or feeders; none means all homes of the program.

    Returns:
        ``starts_at, ends_at, time_zone``; ``asked_wh, delivered_wh, delivered_pct``; ``after_5_min_pct``
        (delivered of asked from five minutes after the start until homes begin to end),
        ``greatest_shortfall_w`` and ``shortfall_wh`` (in the same time); ``sites`` (commanded), ``commands,
        ticks``; ``reasons`` (sites by reason at the end), ``lowest_charge_pct``; ``curve``: ``at, asked_w,
        planned_w, delivered_w`` each minute; ``worst_feeders``: ``name, sites, planned_wh, delivered_wh,
        shortfall_wh, peak_w, cap_w``; ``out_of_program, test``. Leave and approval are taken as given.
        Events that are on, or will be on before its end, are rehearsed with it: from now on, with the
        commands homes have, who is held back, and what each home was found to give. Dispatch alone is
        rehearsed: no signal is judged and nothing is settled.
    """
    live, now = desk.running, whole_second(desk.clock.now())
    history = await _history(desk, event_id, program_id, power_mw, starts_at, minutes, targets, now)
    span = _span_left(history, now)
    stage = await _set_stage(desk, live, history, span, now)
    record = await track_record(desk, history.latest.program_id)
    expected = _as_long_as(record.expected_permille(), len(stage.fleet))
    stage.homes.fail(expected, history.latest.event_id)
    notes = _Notes.empty(len(stage.fleet), len(stage.roster.feeders))
    while stage.clock.now() < span.ends_at:
        await stage.step()
        if stage.clock.now() >= span.starts_at - LEAD:
            notes.write(stage, history.latest.event_id)
        await asyncio.sleep(0)  # the running controller has its turn between two virtual ticks
    return _report(stage, notes, history, span, desk.time_zone(history.latest.program_id))


def _as_long_as(share: IntColumn, sites: int) -> IntColumn:
    missing = sites - len(share)
    return np.append(share, np.full(missing, 1000, dtype=np.int64)) if missing > 0 else share[:sites]


async def _history(
    desk: Desk, event_id: str, program_id: str, power_mw: str, starts_at: str, minutes: int,
    targets: Sequence[str], now: datetime,
) -> EventHistory:  # fmt: skip
    """Return the event to rehearse, with all the leave it needs."""
    if event_id:
        history = await desk.history(event_id)
        versions: tuple[GridEvent, ...] = history.versions
    else:
        wish = read_wish(desk, program_id, power_mw, starts_at, minutes, targets)
        versions = (await version_of(desk, wish, now),)
    granted = tuple(
        Grant(version.event_id, version.version, kind, _REHEARSING, version.committed_at)
        for version in versions
        for kind in GrantKind
    )
    return EventHistory(versions, granted)


def _span_left(history: EventHistory, now: datetime) -> Interval:
    """Return what is left of an event. Raises OperationRefused where nothing is, or it never ends."""
    event_id = history.latest.event_id
    steps = [step.interval for step in steps_in_force(history) if step.interval.ends_at > now]
    if not steps or history.latest.status is EventStatus.CANCELLED:
        raise OperationRefused(f"event {event_id} asks for nothing any more", HTTPStatus.CONFLICT)
    begins = max(steps[0].starts_at, now)
    return Interval(begins, min(steps[-1].ends_at, begins + _LONGEST))


@dataclass(slots=True)
class _ModelledLink:
    """A device link whose homes are modelled. Acknowledgements wait to be heard."""

    homes: HomeModel
    clock: SteppedClock
    commands: int = 0
    answers: list[AckBatch] = field(default_factory=list)

    def decode(self, packets: Sequence[Packet]) -> Heard:
        """Refuse: no packet comes in a rehearsal."""
        raise AssertionError(f"{len(packets)} packets came into a rehearsal")

    async def command(self, batches: Sequence[CommandBatch]) -> None:
        """Let the modelled homes take the batches and answer."""
        for batch in batches:
            rows = self.homes.take(batch)
            self.commands += len(batch.order.site_no)
            self.answers.append(
                AckBatch(
                    site_no=rows,
                    epoch=np.full(len(rows), batch.epoch, dtype=np.int64),
                    sequence=np.full(len(rows), batch.sequence, dtype=np.int64),
                    at_s=np.full(len(rows), to_epoch(self.clock.now()), dtype=np.int64),
                    event_id=(batch.order.event_id,) * len(rows),
                    refusal=(None,) * len(rows),
                )
            )

    async def acknowledge(self, receipts: Sequence[MeterReceipt]) -> None:
        """Do nothing: no meter speaks in a rehearsal."""


@dataclass(slots=True)
class _Stage:
    """A controller of its own on memory, over a copy of the fleet."""

    desk: Desk
    store: MemoryStore
    clock: SteppedClock
    fleet: FleetState
    roster: Roster
    board: Board
    homes: HomeModel
    link: _ModelledLink
    terms: DispatchTerms
    ticks: int = 0
    _reported_s: int = 0

    async def step(self) -> None:
        """Let one control period pass: homes move and report, control decides."""
        self.clock.step_to(self.clock.now() + timedelta(seconds=self.terms.tick_s))
        now_s = to_epoch(self.clock.now())
        self.homes.advance(now_s)
        due = now_s - self._reported_s >= self.terms.sample_period_s
        await self.hear(report=due)
        await count_season(
            self.board.season, self.store, self.fleet, self.roster, self.desk.programs,
            terms=self.terms, now=self.clock.now(),
        )  # fmt: skip
        tick = await control(
            board=self.board, fleet=self.fleet, roster=self.roster, programs=self.desk.programs,
            store=self.store, link=self.link, clock=self.clock, terms=self.terms, fresh=False,
        )  # fmt: skip
        self.ticks += tick is not None

    async def hear(self, *, report: bool) -> None:
        """Take in the answers that wait, and samples where they are due."""
        answers, self.link.answers = self.link.answers, []
        nothing: IntColumn = np.zeros(0, dtype=np.int64)
        samples = self.homes.samples()
        none = type(samples)(**{each.name: getattr(samples, each.name)[:0] for each in fields(samples)})
        if report:
            self._reported_s = to_epoch(self.clock.now())
        for place, acks in enumerate(answers or [AckBatch(nothing, nothing, nothing, nothing, (), ())]):
            telemetry = samples if report and place == 0 else none
            heard = Heard(telemetry=telemetry, acks=acks, meter=(), statuses=())
            await collect(
                heard,
                fleet=self.fleet,
                roster=self.roster,
                programs=self.desk.programs,
                store=self.store,
                link=self.link,
                clock=self.clock,
            )
            hear(self.board, acks, self.clock.now())


async def _set_stage(desk: Desk, live: Live, history: EventHistory, span: Interval, now: datetime) -> _Stage:
    """Return a controller of its own that knows what the real one does.

    It begins two minutes before the event, where there is the time, or before the others that are on by then.
    """
    mine = history.latest.event_id
    others = [each for each in await desk.store.histories(ending_after=now) if each.latest.event_id != mine]
    clock = SteppedClock(_begins_at(span, others, now))
    store = await _store(desk, live, history, others, now)
    season = SeasonUse(before=await _asked_before(desk, live, clock.now()))
    # From here to the copy nothing is awaited: fleet and board are those of one moment.
    fleet, roster, terms = live.controller.fleet.copied(), live.controller.roster, live.controller.terms
    start_s = to_epoch(clock.now())
    reporting = fleet.online & (to_epoch(now) - fleet.sampled_at_s <= STALE_AFTER_S)
    site_ids = [enrollment.site_id for enrollment in roster.enrollments]
    homes = HomeModel(fleet.snapshot(), site_ids, reporting, now_s=start_s)
    known = live.controller.board
    if known is None:
        period_s = terms.sample_period_s
        board = await resume(store=store, fleet=fleet, clock=clock, sample_period_s=period_s)
    else:
        board = _own_board(known, len(fleet))
        board.epoch = await store.take_epoch(at=clock.now())
        homes.hold(board.leases, board.events.words, spread_s=terms.spread_s, ramp_s=terms.ramp_s)
        doubted = board.held_back_until_s > start_s
        if known.assessment is not None:
            short = known.assessment.sites_in(ProofState.SHORT)
            doubted[: len(short)] |= short
        homes.limit(doubted)
    board.ramp.since_s = 0
    board.season = season
    link = _ModelledLink(homes, clock)
    stage = _Stage(desk, store, clock, fleet, roster, board, homes, link, terms)
    await stage.hear(report=True)
    return stage


def _begins_at(span: Interval, others: Sequence[EventHistory], now: datetime) -> datetime:
    """Return when to begin: ahead of the event and of all that empties its homes, but not before now."""
    first = span.starts_at - LEAD
    beside = [
        step.interval.starts_at - LEAD
        for each in others
        for step in steps_in_force(each)
        if max(now, first - _STILL_EMPTY) < step.interval.ends_at and step.interval.starts_at < span.ends_at
    ]
    return max(now, min([first, *beside]))


def _own_board(board: Board, sites: int) -> Board:
    """Return a board that stands as the controller's does; what is decided on it is not told to that one."""
    own = replace(
        board,
        leases=deepcopy(board.leases),
        events=deepcopy(board.events),
        plans=dict(board.plans),
        held_back_until_s=board.held_back_until_s.copy(),
        held_back_for_s=board.held_back_for_s.copy(),
        proof=deepcopy(board.proof),
        facts=None,
        ramp=deepcopy(board.ramp),
        unrecorded=[],
        stored=FleetState(),  # its own store has nothing yet
        believed_at_s=dict(board.believed_at_s),
        known=None,
    )
    own.grow(sites)
    return own


async def _asked_before(desk: Desk, live: Live, at: datetime) -> SeasonUse:
    """Return what earlier events asked of the homes: the rehearsal's own store does not hold them."""
    board = live.controller.board
    use = SeasonUse(of_ended={} if board is None else dict(board.season.of_ended))
    fleet, roster, terms = live.controller.fleet, live.controller.roster, live.controller.terms
    await count_season(use, desk.store, fleet, roster, desk.programs, terms=terms, now=at)
    return use


async def _store(
    desk: Desk, live: Live, history: EventHistory, others: Sequence[EventHistory], now: datetime
) -> MemoryStore:
    """Return a store in memory with the homes, the sources, the event, and the others."""
    store = MemoryStore()
    names = {each.name for each in fields(EnrollmentRequest)}
    requests = [
        EnrollmentRequest(**{name: getattr(enrollment, name) for name in names})
        for enrollment in live.controller.roster.enrollments
    ]
    await store.enroll(requests, at=now)
    for source in await desk.store.sources():
        await store.add_source(source)
    for each in (history, *others):
        for version in each.versions:
            await store.append_version(version, actor=_REHEARSING)
        for grant in each.grants:
            await store.grant(grant)
    for opt_out in await desk.store.opt_outs([each.latest.event_id for each in (history, *others)]):
        if opt_out.taken_back_at is None:
            await store.opt_out(opt_out)
    return store


@dataclass(slots=True)
class _Notes:
    """What is written down after every step: energies by site in watt-seconds, peaks by feeder in watts."""

    planned_ws: IntColumn
    given_ws: IntColumn
    feeder_peak_w: IntColumn
    curve: list[tuple[int, int, int, int]] = field(default_factory=list)  # at_s, asked, planned, delivered

    @classmethod
    def empty(cls, sites: int, feeders: int) -> "_Notes":
        """Return a clean page."""
        nothing = np.zeros(sites, dtype=np.int64)
        return cls(nothing, nothing.copy(), np.zeros(feeders, dtype=np.int64))

    def write(self, stage: _Stage, event_id: str) -> None:
        """Note the power of this moment."""
        plan = stage.board.plans.get(event_id)
        setpoint_w = np.zeros(len(self.planned_ws), dtype=np.int64) if plan is None else plan.setpoint_w
        delivered_w = np.where(setpoint_w > 0, stage.homes.power_w, 0)
        self.planned_ws += setpoint_w * stage.terms.tick_s
        self.given_ws += delivered_w * stage.terms.tick_s
        on_feeder = by_feeder(stage, delivered_w)
        self.feeder_peak_w = np.maximum(self.feeder_peak_w, on_feeder)
        asked_w = plan.requested_w if plan is not None else 0
        at_s = to_epoch(stage.clock.now())
        self.curve.append((at_s, asked_w, int(setpoint_w.sum()), int(delivered_w.sum())))


def by_feeder(stage: _Stage, column: IntColumn) -> IntColumn:
    """Return the sums of a column of sites by feeder."""
    sums = np.zeros(len(stage.roster.feeders.words), dtype=np.int64)
    np.add.at(sums, stage.fleet.feeder_no, column)
    return sums


def _report(stage: _Stage, notes: _Notes, history: EventHistory, span: Interval, zone: str) -> Json:
    tick_s, begins_s = stage.terms.tick_s, to_epoch(span.starts_at)
    during = [each for each in notes.curve if begins_s <= each[0] < to_epoch(span.ends_at)]
    winds_down_s = to_epoch(span.ends_at) - stage.terms.spread_s - stage.terms.ramp_s
    settled = [each for each in during if begins_s + SETTLED_AFTER_S <= each[0] < winds_down_s]
    asked_ws, delivered_ws = (sum(each[place] for each in during) * tick_s for place in (1, 3))
    later_asked, later_delivered = (sum(each[place] for each in settled) for place in (1, 3))
    short = [max(0, asked - delivered) for _, asked, _, delivered in settled]
    plan = stage.board.plans.get(history.latest.event_id)
    counts = np.bincount(plan.reason_code, minlength=len(REASONS)) if plan else np.zeros(len(REASONS))
    used = notes.planned_ws > 0
    lowest = int(stage.homes.soc_permille[used].min()) if used.any() else None
    return {
        "event_id": history.latest.event_id if history.latest.event_id != "preview" else None,
        "starts_at": instant(span.starts_at),
        "ends_at": instant(span.ends_at),
        "time_zone": zone,
        "asked_wh": asked_ws // 3600,
        "delivered_wh": delivered_ws // 3600,
        "delivered_pct": _share_pct(delivered_ws, asked_ws),
        "after_5_min_pct": _share_pct(later_delivered, later_asked),
        "greatest_shortfall_w": max(short, default=0),
        "shortfall_wh": sum(short) * tick_s // 3600,
        "sites": int(used.sum()),
        "commands": stage.link.commands,
        "ticks": stage.ticks,
        "reasons": {each.value: int(counts[place]) for place, each in enumerate(REASONS) if counts[place]},
        "lowest_charge_pct": None if lowest is None else percent(lowest),
        "curve": [
            {"at": instant(from_epoch(at_s)), "asked_w": asked, "planned_w": planned, "delivered_w": given}
            for at_s, asked, planned, given in notes.curve
            if at_s % CURVE_EVERY_S == begins_s % CURVE_EVERY_S
        ],
        "worst_feeders": _worst_feeders(stage, notes),
        "out_of_program": list(history.latest.out_of_program),
        "test": is_test(history),
    }


def _share_pct(part: int, whole: int) -> float | None:
    return percent(1000 * part // whole) if whole else None


def _worst_feeders(stage: _Stage, notes: _Notes) -> list[Json]:
    """Return the feeders whose homes fell furthest short of what they were asked, the worst first."""
    words = stage.roster.feeders.words
    planned, given = by_feeder(stage, notes.planned_ws), by_feeder(stage, notes.given_ws)
    sites = by_feeder(stage, (notes.planned_ws > 0).astype(np.int64))
    short = np.maximum(planned - given, 0)
    order = [place for place in np.argsort(-short, kind="stable").tolist() if sites[place]]
    return [
        {
            "name": words[place],
            "sites": int(sites[place]),
            "planned_wh": int(planned[place]) // 3600,
            "delivered_wh": int(given[place]) // 3600,
            "shortfall_wh": int(short[place]) // 3600,
            "peak_w": int(notes.feeder_peak_w[place]),
            "cap_w": stage.terms.feeder_caps_w.get(words[place]),
        }
        for place in order[:FEEDERS_SHOWN]
    ]
