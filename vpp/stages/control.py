"""Decide and command: assess, plan, lease, once per tick, from one snapshot, in one commit.

Everything a tick decides is committed as one ``DispatchTick`` before anything leaves. The board in
memory follows the store: it is written after the commit, and rebuilt from it at the start.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import numpy as np

from vpp.domain.board import (
    HOLDS_READ_BACK,
    Board,
    Facts,
    hold_back,
    hold_back_again,
    keep_in_process,
    newly_short,
)
from vpp.domain.brake import Allowance, Brake, RampCaps, brake_for
from vpp.domain.candidates import Candidates
from vpp.domain.command import (
    LONGEST_LEASE,
    CommandBatch,
    DispatchTick,
    Order,
    PlanRevision,
    Unrecorded,
    releases_only,
)
from vpp.domain.demands import in_turn, open_demands, told_ceiling
from vpp.domain.dispatch_terms import DispatchTerms, network_limits
from vpp.domain.event_plan import Delivered, Demand, EventPlan, plan_event
from vpp.domain.fleet import FleetState, Roster
from vpp.domain.grid_event import is_test
from vpp.domain.interval import to_epoch, whole_second
from vpp.domain.known_leases import KnownLeases
from vpp.domain.lease import (
    Issued,
    Leases,
    doubt_answers,
    doubt_releases,
    note_sent,
    note_told,
)
from vpp.domain.orders import batches_of
from vpp.domain.plan_revision import Lowered, lowered_for_too_little, plan_at, revision_of
from vpp.domain.program import Program
from vpp.domain.proof import Assessment, ProofState, Response, assess
from vpp.domain.quantities import BoolColumn, IntColumn, column
from vpp.domain.telling import Telling, asked_of, tick_orders
from vpp.domain.tick_basis import (
    LastSamples,
    PlanBasis,
    TickBasis,
    basis_of,
    changed_samples,
    remember,
    write_stored,
)
from vpp.domain.track_record import told_in_order
from vpp.ports import (
    Clock,
    DeviceLink,
    DispatchStore,
    OwnerSpoke,
    Patience,
    Registry,
    SignalStore,
    StoreUnavailable,
)

READ_AGAIN = timedelta(minutes=1)


class ControlStore(SignalStore, Registry, DispatchStore, Protocol):
    """The part of the store that control reads and writes."""


async def _however_long(
    commit: Awaitable[None],
    meanwhile: Callable[[], Awaitable[None]],  # noqa: ARG001  # who waits on does nothing meanwhile
) -> None:
    await commit


async def resume(
    *,
    store: ControlStore,
    fleet: FleetState,
    clock: Clock,
    sample_period_s: int = 30,
    epoch: int | None = None,
    known: Board | None = None,
) -> Board:
    """Become leader and return the board as committed ticks and stored acknowledgements tell it.

    The ``fleet`` gets the samples that were stored with the ticks, where it knows none newer. With an
    ``epoch`` that was taken before, nobody is replaced: only what was committed is read back, and what
    is ``known`` in this process of proofs and of who is held back stays. Otherwise nobody is judged in the
    first two telemetry periods: what was sampled meanwhile is not known.
    """
    now, sites = clock.now(), len(fleet)
    taken = await store.take_epoch(at=now) if epoch is None else epoch
    last = await store.last_tick()
    board = Board(taken, last.sequence, Leases(sites), Issued(last, leading=taken))
    board.grow(sites)
    board.judged_from_s = to_epoch(now) + 2 * sample_period_s
    board.ramp.since_s = to_epoch(now)
    since = now - LONGEST_LEASE
    ticks = await store.ticks(since=since)
    # A home may have to be released again by an event that was over long before.
    spoken_of = {history.latest.event_id for history in await store.histories(ending_after=since)}
    spoken_of |= {order.event_id for tick in ticks for order in tick.orders}
    recent = {each.latest.event_id for each in await store.histories(ending_after=now - HOLDS_READ_BACK)}
    revisions = {event_id: await store.revisions(event_id) for event_id in sorted(spoken_of | recent)}
    lowered: list[Lowered] = []
    for event_id, each in revisions.items():
        if event_id in recent:
            lowered += lowered_for_too_little(each, sites)
        if each and event_id in spoken_of:
            board.plans[event_id] = plan_at(each, each[-1].revision, sites)
    for basis in await store.bases(since=since):
        remember(fleet, basis.samples)
        write_stored(board.stored, basis.samples)
    batches = told_in_order(ticks, revisions, sites)
    told = [(batch, board.events.number(batch.order.event_id)) for batch in batches]
    note_told(board.leases, told, await store.acks(since=since))
    board.tick_number = max([board.tick_number, *(tick.number for tick in ticks)])
    doubt_releases(board.leases)
    if known is None:
        refusals = await store.acks(since=now - HOLDS_READ_BACK, refused=True)
        issued_s = {tick.number: to_epoch(tick.at) for tick in ticks}
        hold_back_again(board, refusals, lowered, issued_s, to_epoch(now))
    else:
        keep_in_process(board, known)
    return board


@dataclass(frozen=True, slots=True)
class _Scene:
    """What one tick decides from."""

    fleet: FleetState
    roster: Roster
    programs: Mapping[str, Program]
    facts: Facts
    terms: DispatchTerms
    now: datetime


async def control(
    *,
    board: Board,
    fleet: FleetState,
    roster: Roster,
    programs: Mapping[str, Program],
    store: ControlStore,
    link: DeviceLink,
    clock: Clock,
    terms: DispatchTerms,
    fresh: bool = True,
    words: tuple[int, int] | None = None,
    patience: Patience = _however_long,
) -> DispatchTick | None:
    """Commit and send what the events in force need now; return the tick, or None when nothing is due.

    ``fresh`` reads again what people and the grid said; without it, what was read within the last
    minute is good enough, because whoever stores such a fact wakes control. ``words`` is what the
    store's ``last_words`` said before the enrolments of ``roster`` were read. Releases leave first, and
    once more with the rest, where the commit takes longer than ``patience`` has.
    """
    now, stops = whole_second(clock.now()), board.stops
    if fresh or board.facts is None or now - board.facts.read_at >= READ_AGAIN:
        known, board.facts = board.facts, await _read_facts(store, now)
        board.grow(len(fleet))
        doubt_answers(board.leases, _said_no_since(known, board.facts, roster))
    board.grow(len(fleet))
    if not board.facts.histories and not board.leases.unfinished(to_epoch(now)):
        return None
    scene = _Scene(fleet=fleet, roster=roster, programs=programs, facts=board.facts, terms=terms, now=now)
    if board.stops != stops:
        return None  # everything was stopped while we read what stood before
    response = Response(terms.spread_s, terms.ramp_s, terms.sample_period_s)
    assessment = assess(
        fleet, board.leases, board.proof, response, now_s=to_epoch(now), judged_from_s=board.judged_from_s
    )
    board.assessment = assessment
    hold_back(board, np.flatnonzero(newly_short(board, assessment, to_epoch(now))), to_epoch(now))
    caps = terms.ramp_caps(roster.counties)
    planned, bases = _plans(board, scene, assessment, caps)
    revisions = _revisions(board, planned, fleet, now)
    plans = {**board.plans, **{demand.event_id: plan for demand, plan in planned}}
    told_without = partial(_told_now, board, scene, assessment, planned, plans, caps)
    orders, telling = told_without(frozenset())
    if not orders and not revisions:
        board.plans = plans
        return None
    tick = DispatchTick(board.tick_number + 1, board.epoch, now, orders)
    basis = TickBasis(tick.number, _samples(board, fleet, tick, revisions), tuple(bases), telling)
    board.tick_number = tick.number  # a stop meanwhile takes the next
    wait = partial(patience, meanwhile=partial(_send_stops, tick, plans, link))
    try:
        tick, basis = await _commit(tick, revisions, store, words, basis, told_without, wait)
    except StoreUnavailable:
        await _stop_first(board, tick, revisions, plans, link)
        raise
    write_stored(board.stored, basis.samples)
    for demand, plan in planned:
        change_w = plan.change_from(_before(board, demand, fleet))
        board.ramp.note(change_w, fleet.county_no, caps, to_epoch(now))
    board.plans = plans
    told = tick if board.stops == stops else releases_only(tick)  # what was stopped meanwhile stays so
    batches = batches_of(told, plans)
    _note_told(board, basis.telling, batches, stopped=board.stops != stops)
    await link.command(batches)
    return tick


def _revisions(
    board: Board, planned: Sequence[tuple[Demand, EventPlan]], fleet: FleetState, now: datetime
) -> list[PlanRevision]:
    """Return what changed in plans; an event's first takes all that is known with it into the store.

    So an event can be made again from its own ticks.
    """
    revisions = []
    for demand, plan in planned:
        before = _before(board, demand, fleet)
        if plan.revision != before.revision:
            revisions.append(revision_of(before, plan, demand=demand, at=now))
    if any(revision.revision == 1 for revision in revisions):
        board.stored, board.known = FleetState(), None
    return revisions


def _told_now(
    board: Board,
    scene: _Scene,
    assessment: Assessment,
    planned: Sequence[tuple[Demand, EventPlan]],
    plans: Mapping[str, EventPlan],
    caps: RampCaps,
    left_out: frozenset[int],
) -> tuple[tuple[Order, ...], Telling]:
    """Return what is due now and what that follows from; who is ``left_out`` is told no discharge."""
    tests = {each.latest.event_id for each in scene.facts.histories if is_test(each)}
    terms, leases, lost = scene.terms.telling(caps), board.leases, assessment.lost
    orders = tick_orders(
        leases,
        planned,
        terms,
        scene.now,
        lost=lost,
        left_out=left_out,
        plans=plans,
        event_id_of=board.events.word,
        tests=tests,
        zone_no=scene.fleet.county_no,
    )
    known = board.known or KnownLeases(len(leases))
    return orders, Telling(
        afresh=board.known is None,
        news=known.news(leases, lost, to_epoch(scene.now)),
        asked=asked_of(planned),
        left_out=column(sorted(left_out)),
        tests=tuple(sorted(tests)),
        terms=terms,
    )


def _note_told(
    board: Board, telling: Telling | None, batches: Sequence[CommandBatch], *, stopped: bool
) -> None:
    """Write what leaves now to the board, and what the store knows: nothing, where all was stopped."""
    known = None
    if telling is not None and not stopped:
        known = board.known or KnownLeases(len(board.leases))
        known.take_in(telling.news, board.leases)
    for batch in batches:
        event_no = board.events.number(batch.order.event_id)
        note_sent(board.leases, batch, event_no)
        if known is not None:
            note_sent(known.leases, batch, event_no)
    board.known = known


async def _send_stops(tick: DispatchTick, plans: Mapping[str, EventPlan], link: DeviceLink) -> None:
    batches = batches_of(releases_only(tick), plans)
    if batches:
        await link.command(batches)


async def _stop_first(
    board: Board,
    tick: DispatchTick,
    revisions: Sequence[PlanRevision],
    plans: Mapping[str, EventPlan],
    link: DeviceLink,
) -> None:
    """Let the releases of a tick leave that could not be committed, or of which that is not known.

    Whether it stands shows when it is recorded: a tick of that number then holds these releases already.
    """
    stops = releases_only(tick)
    if stops.orders:
        batches = tuple(batches_of(stops, plans))
        board.unrecorded.append(Unrecorded(stops, tuple(revisions), batches))
        board.plans = dict(plans)
        await link.command(batches)


def _samples(
    board: Board, fleet: FleetState, tick: DispatchTick, revisions: Sequence[PlanRevision]
) -> LastSamples:
    """Return the samples to store: those of commanded sites, and of the whole fleet where a plan was made."""
    if revisions:
        return changed_samples(fleet, board.stored)
    commanded = board.leases.discharging(to_epoch(tick.at))
    for order in tick.orders:
        commanded[order.site_no] = True
    return changed_samples(fleet, board.stored, commanded)


async def _commit(
    tick: DispatchTick,
    revisions: Sequence[PlanRevision],
    store: DispatchStore,
    words: tuple[int, int] | None,
    basis: TickBasis,
    told_without: Callable[[frozenset[int]], tuple[tuple[Order, ...], Telling]],
    wait: Callable[[Awaitable[None]], Awaitable[None]],
) -> tuple[DispatchTick, TickBasis]:
    """Commit a tick and return what was committed: a home whose owner spoke meanwhile is left out of it."""
    left_out: frozenset[int] = frozenset()
    while True:
        try:
            await wait(store.commit(tick, revisions, words=words, basis=basis))
        except OwnerSpoke as spoke:
            left_out |= spoke.site_nos  # at least one more each time, so this comes to an end
            orders, telling = told_without(left_out)
            tick, basis = replace(tick, orders=orders), replace(basis, telling=telling)
        else:
            return tick, basis


async def _read_facts(store: ControlStore, now: datetime) -> Facts:
    histories = await store.histories(ending_after=now - LONGEST_LEASE)
    return Facts(
        read_at=now,
        histories=histories,
        sources={source.name: source for source in await store.sources()},
        opt_outs=await store.opt_outs([history.latest.event_id for history in histories]),
    )


def _said_no_since(known: Facts | None, facts: Facts, roster: Roster) -> IntColumn:
    """Return the sites whose owners said no since the facts that were known; after a start, all who did."""
    said = set(facts.opt_outs).difference(() if known is None else known.opt_outs)
    numbers = (roster.site_no_of.get(each.site_id) for each in said if each.taken_back_at is None)
    sites = {number for number in numbers if number is not None}
    return np.array(sorted(sites), dtype=np.int64)


def _before(board: Board, demand: Demand, fleet: FleetState) -> EventPlan:
    return board.plans.get(demand.event_id) or EventPlan.empty(len(fleet))


def _plans(
    board: Board, scene: _Scene, assessment: Assessment, caps: RampCaps
) -> tuple[list[tuple[Demand, EventPlan]], list[PlanBasis]]:
    """Return every demanded event's plan, made in order of precedence: a site serves one event.

    A plan that differs from the one before carries the next revision number. What the plans before it
    use of a feeder, a zone and the ramp is not there for the next.
    """
    fleet, now_s = scene.fleet, to_epoch(scene.now)
    limits = network_limits(scene.terms, scene.roster)
    running = board.leases.discharging(now_s)
    short, silent, refused = (
        assessment.sites_in(state) for state in (ProofState.SHORT, ProofState.SILENT, ProofState.REFUSED)
    )
    busy = np.zeros(len(fleet), dtype=np.bool_)
    allowance = board.ramp.allowance(caps, now_s)
    silent_w = np.where(silent, board.leases.setpoint_w, 0)  # what no plan has counted yet
    planned: list[tuple[Demand, EventPlan]] = []
    used_w: dict[str, int] = {}
    bases: list[PlanBasis] = []
    demands = open_demands(
        scene.facts.histories,
        fleet=fleet,
        roster=scene.roster,
        programs=scene.programs,
        events=board.events,
        sources=scene.facts.sources,
        now=scene.now,
    )
    candidates = Candidates(
        board,
        fleet,
        scene.roster,
        assessment,
        scene.facts.opt_outs,
        season_cap_s=scene.terms.site_season_cap_s,
        silent_after_s=2 * scene.terms.sample_period_s,
        now=scene.now,
    )
    said = scene.facts
    for left in in_turn(demands, said.histories, said.sources, planned_w=used_w, now=scene.now):
        demand = left[0]
        before = _before(board, demand, fleet)
        if before.revision and before.asked != demand.asked and before.still_answers(demand):
            before = replace(before, asked=demand.asked)  # after a restart, or a word that changes nothing
        elsewhere = board.leases.event_no != demand.event_no
        silent_w = np.where(elsewhere, silent_w, 0)
        room = limits.less(silent_w, fleet)
        # A planned site whose lease is not running is about to be commanded: it counts as planned.
        counted_w = np.where(running, assessment.counted_w, before.setpoint_w)
        delivered = Delivered(counted_w, short, assessment.lost, refused, assessment.unseen)
        brake = _brake(caps, allowance, demand, before, assessment.lost, scene, len(demands))
        told_w = {**_silent_w_of(board, scene, silent_w), **used_w}
        most_w = told_ceiling(said.histories, said.sources, demand.event_id, told_w)
        brake = replace(brake, ceiling_w=min(brake.ceiling_w, most_w))
        for codes in candidates.choices(left, busy, room, brake):
            plan = plan_event(before, demand, fleet, codes, room, delivered, brake)
            if plan.is_nearly_whole:
                break
        if plan.revision != before.revision:
            bases.append(basis_of(before, plan, demand, codes, room, delivered, brake))
        planned.append((demand, plan))
        used_w[demand.event_id] = int(plan.setpoint_w.sum())
        busy = busy | (plan.setpoint_w > 0)
        limits = limits.less(plan.setpoint_w, fleet)
        allowance = allowance.less(plan.change_from(before), fleet.county_no)
    return planned, bases


def _silent_w_of(board: Board, scene: _Scene, silent_w: IntColumn) -> dict[str, int]:
    """Return, by event id, the setpoints of silent homes that no plan has counted yet."""
    told_w: dict[str, int] = {}
    if not silent_w.any():
        return told_w
    for history in scene.facts.histories:
        number = board.events.find(history.latest.event_id)
        if number is not None:
            told_w[history.latest.event_id] = int(silent_w[board.leases.event_no == number].sum())
    return told_w


def _brake(
    caps: RampCaps,
    allowance: Allowance,
    demand: Demand,
    before: EventPlan,
    silent: BoolColumn,
    scene: _Scene,
    events: int,
) -> Brake:
    return brake_for(
        caps,
        allowance,
        stretches=demand.stretches,
        starts_in_s=to_epoch(demand.starts_at) - to_epoch(scene.now),
        planned_w=before.setpoint_w,
        silent=silent,
        zone_no=scene.fleet.county_no,
        events=events,
    )
