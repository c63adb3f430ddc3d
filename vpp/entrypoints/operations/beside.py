"""What an event would get beside those that are on, and take from them, by control's own rules."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from datetime import datetime

import numpy as np

from vpp.domain.board import Board
from vpp.domain.candidates import Candidates
from vpp.domain.demands import has_begun, in_turn, open_demands
from vpp.domain.dispatch_terms import network_limits
from vpp.domain.enrollment import OptOut
from vpp.domain.event_plan import Delivered, Demand, EventPlan, plan_event
from vpp.domain.fleet import FleetState
from vpp.domain.grid_event import EventHistory, Grant, GrantKind, GridEvent, GridSource, is_test
from vpp.domain.headroom import Limits
from vpp.domain.interval import to_epoch
from vpp.domain.program import Program
from vpp.domain.proof import Assessment, ProofState
from vpp.domain.quantities import BoolColumn, IntColumn
from vpp.entrypoints.operations.desk import Desk, Json
from vpp.entrypoints.operations.live import Live

_WISH = ""  # no event's id


@dataclass(frozen=True, slots=True)
class Turn:
    """One event's turn in planning: whom it may use, what the network leaves it, and what it gets."""

    codes: IntColumn
    limits: Limits
    plan: EventPlan


@dataclass(frozen=True, slots=True)
class _Said:
    histories: Sequence[EventHistory]
    sources: Mapping[str, GridSource]
    opt_outs: Sequence[OptOut]


async def beside_others(desk: Desk, wish: GridEvent, now: datetime) -> tuple[Turn, list[Json]] | None:
    """Return the turn of an event that is only wished, and what it takes from each that is on.

    Everybody's leave for the wish is taken as given. All are planned twice, with it and without. None where
    nothing was planned here yet, or nobody is in its program.
    """
    live, board = desk.running, desk.running.controller.board
    at = max(now, wish.steps[0].interval.starts_at)
    on = [each for each in await desk.store.histories(ending_after=at) if has_begun(each, now)]
    sources = {each.name: each for each in await desk.store.sources()}
    opt_outs = await desk.store.opt_outs([each.latest.event_id for each in on])
    wished = _allowed(replace(wish, event_id=_WISH))
    if board is None:
        return None
    with_it = _turns(live, board, desk.programs, _Said([*on, wished], sources, opt_outs), now, at)
    without = _turns(live, board, desk.programs, _Said(on, sources, opt_outs), now, at)
    if _WISH not in with_it:
        return None
    return with_it[_WISH], _taken(on, with_it, without)


def _allowed(version: GridEvent) -> EventHistory:
    grants = (Grant(version.event_id, 1, kind, "", version.committed_at) for kind in GrantKind)
    return EventHistory((version,), tuple(grants))


def _taken(
    on: Iterable[EventHistory], with_it: Mapping[str, Turn], without: Mapping[str, Turn]
) -> list[Json]:
    """Return what each event loses, the one that loses most first."""
    mine = with_it[_WISH].plan.setpoint_w > 0
    found: list[tuple[int, Json]] = []
    for history in on:
        event_id = history.latest.event_id
        if event_id not in without or event_id not in with_it:
            continue
        had_w = without[event_id].plan.setpoint_w
        sites = int((mine & (had_w > 0)).sum())
        power_w = max(0, int(had_w.sum() - with_it[event_id].plan.setpoint_w.sum()))
        if sites or power_w:
            row: Json = {
                "event_id": event_id,
                "name": history.latest.name,
                "test": is_test(history),
                "sites": sites,
                "power_w": power_w,
            }
            found.append((power_w, row))
    return [row for _, row in sorted(found, key=lambda each: -each[0])]


def _turns(
    live: Live, board: Board, programs: Mapping[str, Program], said: _Said, now: datetime, at: datetime
) -> dict[str, Turn]:
    """Return every event's turn as control would plan at a moment, on the fleet as it is now; no brakes."""
    fleet, roster, terms = live.controller.fleet, live.controller.roster, live.controller.terms
    board, sites, now_s = _own(board, len(fleet), at), len(fleet), to_epoch(now)
    running = board.leases.discharging(now_s)
    assessment = _assessed(board, running)
    demands = open_demands(
        said.histories, fleet=fleet, roster=roster, programs=programs, events=board.events,
        sources=said.sources, now=at,
    )  # fmt: skip
    # Before its start an event takes nobody from another; here it has started.
    demands = [replace(each, starts_at=min(each.starts_at, now)) for each in demands]
    candidates = Candidates(
        board, fleet, roster, assessment, said.opt_outs, season_cap_s=terms.site_season_cap_s,
        silent_after_s=2 * terms.sample_period_s, now=now,
    )  # fmt: skip
    short, silent, refused = (
        assessment.sites_in(state) for state in (ProofState.SHORT, ProofState.SILENT, ProofState.REFUSED)
    )
    silent_w = np.where(silent, board.leases.setpoint_w, 0)
    limits, busy = network_limits(terms, roster), np.zeros(sites, dtype=np.bool_)
    used_w: dict[str, int] = {}
    found: dict[str, Turn] = {}
    for left in in_turn(demands, said.histories, said.sources, planned_w=used_w, now=at):
        demand = left[0]
        before = board.plans.get(demand.event_id) or EventPlan.empty(sites)
        silent_w = np.where(board.leases.event_no != demand.event_no, silent_w, 0)
        counted_w = np.where(running, assessment.counted_w, before.setpoint_w)
        delivered = Delivered(counted_w, short, assessment.lost, refused, assessment.unseen)
        room = limits.less(silent_w, fleet)
        choices = list(candidates.choices(left, busy, room))
        plan = _first_that_reaches(before, demand, fleet, choices, room, delivered)
        found[demand.event_id] = Turn(choices[-1], room, plan)
        used_w[demand.event_id] = int(plan.setpoint_w.sum())
        busy = busy | (plan.setpoint_w > 0)
        limits = limits.less(plan.setpoint_w, fleet)
    return found


def _first_that_reaches(
    before: EventPlan, demand: Demand, fleet: FleetState, choices: Sequence[IntColumn], room: Limits,
    delivered: Delivered,
) -> EventPlan:  # fmt: skip
    plan = before
    for codes in choices:
        plan = plan_event(before, demand, fleet, codes, room, delivered)
        if plan.is_nearly_whole:
            break
    return plan


def _own(board: Board, sites: int, at: datetime) -> Board:
    """Return a board to plan on, so that the controller's own learns of no event and no home by it."""
    until_s = board.held_back_until_s
    own = replace(
        board,
        events=deepcopy(board.events),
        held_back_until_s=np.where(until_s > to_epoch(at), until_s, 0),
    )
    if len(board.leases) < sites:
        own.leases, own.proof = deepcopy(board.leases), deepcopy(board.proof)
        own.grow(sites)
    own.plans = {event_id: plan.grown(sites) for event_id, plan in own.plans.items()}
    return own


def _assessed(board: Board, running: BoolColumn) -> Assessment:
    """Return the last assessment of homes that still run; nothing is held of others, nor of new ones."""
    nothing, nobody = np.zeros(len(running), dtype=np.int64), np.zeros(len(running), dtype=np.bool_)
    found = Assessment(nothing, nothing.copy(), nothing.copy(), nobody, nobody.copy())
    if board.assessment is not None:
        rows = np.flatnonzero(running[: len(board.assessment.state)])
        for each in fields(Assessment):
            getattr(found, each.name)[rows] = getattr(board.assessment, each.name)[rows]
    return found
