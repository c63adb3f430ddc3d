"""The running controller as operations may look at it, and the power of each event as it was measured.

Knows what the controller holds in memory; stores nothing and decides nothing.
"""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from vpp.domain.board import Board
from vpp.domain.course import EventPower
from vpp.domain.dispatch_plan import held_w, holding_s, sustainable_w
from vpp.domain.dispatch_terms import DispatchTerms
from vpp.domain.event_plan import EventPlan
from vpp.domain.fanout import Fanout, fanout
from vpp.domain.fleet import FleetState, Roster, homes_by_program
from vpp.domain.grid_event import Receipt, is_test
from vpp.domain.headroom import Limits, offers_of
from vpp.domain.interval import from_epoch, to_epoch, whole_second
from vpp.domain.lease import CROSSING_S, NO_EVENT, Standing
from vpp.domain.link_health import LinkHealth
from vpp.domain.proof import Output, ProofState, Response, output_of, state_now
from vpp.domain.quantities import BoolColumn, IntColumn
from vpp.entrypoints.operations.dispatched import Dispatched

SAMPLES_KEPT = 2_880  # four hours at one in five seconds
EVENTS_KEPT = 20
SAMPLE_EVERY_S = 5
SAID_AT_ONCE = timedelta(minutes=1)
KEEP_EVERY = timedelta(seconds=15)  # in the store, with what no later process could see again


class Dispatching(Protocol):
    """The part of the controller that is looked at."""

    fleet: FleetState
    roster: Roster
    board: Board | None
    terms: DispatchTerms
    health: LinkHealth

    def stopping(self) -> AbstractContextManager[None]:
        """Decide nothing while every event is being cancelled, one after the other."""
        ...

    async def stop_everything(self, actor: str) -> int:
        """Release every home before the database knows of it; return how many were asked for power."""
        ...

    async def take_signal(
        self, topic: str, message: bytes, *, within_s: float, stops: bool = False
    ) -> Receipt | str | None:
        """Take a signal that was posted; return its receipt, why it was not kept, or None: not known yet."""
        ...

    @property
    def connected(self) -> bool:
        """Return whether the broker can be reached now."""
        ...

    @property
    def unsent(self) -> Mapping[str, int]:
        """Return by event how many discharges are committed and were not handed to the broker yet."""
        ...

    def traffic(self) -> dict[str, object]:
        """Return what became of every message since the start."""
        ...


@dataclass(frozen=True, slots=True)
class LetGo:
    """When an event let a home go, None where that is not known any more, and whether the home said so."""

    at: datetime | None
    confirmed: bool


@dataclass(slots=True)
class Live:
    """The running controller, and the course of power. Bounded in events and samples."""

    controller: Dispatching
    seasons: dict[str, object] = field(default_factory=dict)  # by program, what was added up lately
    reasons: dict[str, bytes] = field(default_factory=dict)  # by event that is over, each site's last reason
    evenings: dict[str, dict[str, object]] = field(default_factory=dict)  # by event that is over, how it went
    dispatched: dict[str, Dispatched] = field(
        default_factory=dict
    )  # by event, the sums of plans and commands
    unkept: list[EventPower] = field(default_factory=list)  # seen, and not in the store yet
    _course: defaultdict[str, deque[EventPower]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=SAMPLES_KEPT))
    )
    _recalled: set[str] = field(default_factory=set)
    _kept_at: dict[str, datetime] = field(default_factory=dict)  # by event, the newest that goes to the store
    _dated: dict[str, datetime] = field(default_factory=dict)  # by event, the newest word of a client

    def date_word(self, event_id: str, earliest: datetime, now: datetime) -> datetime:
        """Return when a client's word on an event was said: two at once that are not judged yet differ."""
        self._dated = {each: at for each, at in self._dated.items() if at >= now - SAID_AT_ONCE}
        before = self._dated.get(event_id)
        at = earliest if before is None else max(earliest, before + timedelta(seconds=1))
        self._dated[event_id] = at
        return at

    def note(self, now: datetime) -> None:
        """Keep the power of every event that has a plan; more often than every five seconds keeps one."""
        board = self.controller.board
        for event_id, plan in board.plans.items() if board else ():
            course = self._course[event_id]
            if course and (now - course[-1].at).total_seconds() < SAMPLE_EVERY_S:
                continue
            seen = self._power(event_id, plan, now)
            if not seen.planned_w and not (course and course[-1].planned_w):
                continue
            course.append(seen)
            kept_at = self._kept_at.get(event_id)
            if kept_at is None or not seen.planned_w or now - kept_at >= KEEP_EVERY:
                self._kept_at[event_id] = now
                self.unkept.append(seen)
        del self.unkept[:-SAMPLES_KEPT]
        while len(self._course) > EVENTS_KEPT:
            del self._course[next(iter(self._course))]

    def _power(self, event_id: str, plan: EventPlan, now: datetime) -> EventPower:
        serving = self.serving(event_id, now)
        planned_w, output = self.planned_w(serving), self.output(serving)
        return EventPower(
            event_id=event_id,
            at=whole_second(now),
            asked_w=plan.requested_w if planned_w else 0,
            planned_w=planned_w,
            measured_w=int(output.measured_w.sum()),
            estimated_w=int(output.estimated_w.sum()),
            shortfall_w=plan.shortfall_w if planned_w else 0,
            sites=int(serving.sum()),
        )

    def unread(self) -> list[str]:
        """Return the events with a plan of which an earlier process may have seen more."""
        board = self.controller.board
        return [event_id for event_id in board.plans if event_id not in self._recalled] if board else []

    def recall(self, event_id: str, seen: Sequence[EventPower]) -> None:
        """Take in what an earlier process saw of an event."""
        self._recalled.add(event_id)
        course = self._course[event_id]
        if not course:
            course.extend(seen)

    def course(self, event_id: str) -> Sequence[EventPower]:
        """Return an event's power as it was seen, in order; empty before its first command."""
        return tuple(self._course.get(event_id, ()))

    def plan(self, event_id: str) -> EventPlan | None:
        """Return the newest plan, None before there is one; it stays after the event."""
        board = self.controller.board
        plan = board.plans.get(event_id) if board else None
        return plan.grown(len(self.controller.fleet)) if plan else None

    def serving(self, event_id: str, now: datetime) -> BoolColumn:
        """Return the sites whose newest command is a discharge for the event that has not ended."""
        nobody: BoolColumn = np.zeros(len(self.controller.fleet), dtype=np.bool_)
        board = self.controller.board
        if board is None or event_id not in board.events.words:
            return nobody
        found = board.leases.discharging(to_epoch(now)) & (
            board.leases.event_no == board.events.number(event_id)
        )
        nobody[: len(found)] = found
        return nobody

    def proof_of(self, event_id: str, site_no: int, now: datetime) -> ProofState | None:
        """Return how far a site's command for the event is proved; None where it holds no such command."""
        return ProofState(int(self.states()[site_no])) if self.serving(event_id, now)[site_no] else None

    def in_state(self, state: ProofState) -> BoolColumn:
        """Return which sites are in a state of proof."""
        found: BoolColumn = self.states() == int(state)
        return found

    def busy(self, now: datetime) -> BoolColumn:
        """Return the sites that are commanded to discharge now, for any event."""
        found: BoolColumn = np.zeros(len(self.controller.fleet), dtype=np.bool_)
        board = self.controller.board
        if board is not None:
            found[: len(board.leases)] = board.leases.discharging(to_epoch(now))
        return found

    def let_go(self, site_no: int, now: datetime) -> LetGo | None:
        """Return how an event let a site go; None while one has it, or once a sample tells what came after.

        A sample measured within seconds of the release may have crossed it; where the home did not accept
        the release, what it measures may still be the event's however new it is.
        """
        board, now_s = self.controller.board, to_epoch(now)
        if board is None or site_no >= len(board.leases) or self.busy(now)[site_no]:
            return None
        leases = board.leases
        if leases.standing[site_no] == Standing.NONE:
            return None
        discharge = leases.setpoint_w[site_no] > 0
        at_s = int((leases.expires_at_s if discharge else leases.issued_at_s)[site_no])
        confirmed = bool(leases.running_until_s[site_no] <= now_s)
        if confirmed and self.controller.fleet.sampled_at_s[site_no] > at_s + CROSSING_S:
            return None
        return LetGo(from_epoch(at_s) if at_s else None, confirmed)

    def asked_unseen(self, site_no: int, now: datetime) -> datetime | None:
        """Return from when on an event asks a site, while no sample can tell of it yet; else None."""
        board = self.controller.board
        if board is None or site_no >= len(board.leases) or not self.busy(now)[site_no]:
            return None
        begins_s = int(board.leases.first_start_s[site_no])
        return from_epoch(begins_s) if self.controller.fleet.sampled_at_s[site_no] <= begins_s else None

    def served_no(self, now: datetime) -> IntColumn:
        """Return the number of the event that each site serves now, ``NO_EVENT`` where it serves none."""
        found: IntColumn = np.full(len(self.controller.fleet), NO_EVENT, dtype=np.int64)
        board = self.controller.board
        if board is not None:
            running = board.leases.discharging(to_epoch(now))
            found[: len(running)] = np.where(running, board.leases.event_no, NO_EVENT)
        return found

    def event_ids(self) -> tuple[str, ...]:
        """Return the ids behind the numbers of events."""
        board = self.controller.board
        return () if board is None else board.events.words

    def tests(self) -> frozenset[str]:
        """Return the events that were on or near at the last look and are tests."""
        board = self.controller.board
        known = board.facts.histories if board is not None and board.facts is not None else ()
        return frozenset(each.latest.event_id for each in known if is_test(each))

    def setpoint_w(self) -> IntColumn:
        """Return what each site was last told to discharge."""
        found: IntColumn = np.zeros(len(self.controller.fleet), dtype=np.int64)
        board = self.controller.board
        if board is not None:
            found[: len(board.leases)] = board.leases.setpoint_w
        return found

    def program_sizes(self) -> dict[str, int]:
        """Return how many homes each program has."""
        return homes_by_program(self.controller.fleet, self.controller.roster)

    def held_w(self, sites: BoolColumn, seconds: int) -> int:
        """Return the power that these sites can hold for that long, within their limits."""
        return int(self.held_by_site_w(sites, seconds).sum())

    def held_by_site_w(self, sites: BoolColumn, seconds: int) -> IntColumn:
        """Return what each of these sites can hold for that long, within its limit; zero for the others."""
        none: IntColumn = np.zeros(0, dtype=np.int64)
        rows = np.flatnonzero(sites)
        held_w: IntColumn = np.zeros(len(sites), dtype=np.int64)
        held_w[rows] = sustainable_w(offers_of(self.controller.fleet, rows, Limits(none, none)), seconds)
        return held_w

    def planned_w(self, serving: BoolColumn) -> int:
        """Return what these sites were told to discharge."""
        return int(self.setpoint_w()[serving].sum())

    def output(self, sites: BoolColumn) -> Output:
        """Return what each of these sites gives now, and the part of it that nobody measures."""
        board = self.controller.board
        return output_of(self.controller.fleet, board.assessment if board else None, sites)

    def states(self) -> IntColumn:
        """Return each site's state of proof, as people are told it now."""
        board = self.controller.board
        states: IntColumn = np.full(len(self.controller.fleet), int(ProofState.IDLE), dtype=np.int64)
        if board is not None:
            known = state_now(board.assessment, board.leases, board.proof)
            states[: len(known)] = known
        return states

    def silent(self, serving: BoolColumn) -> BoolColumn:
        """Return which of these sites are silent, at the last tick."""
        return serving & self.in_state(ProofState.SILENT)

    def unjudged(self) -> BoolColumn:
        """Return which sites nobody could judge at the last tick: those that are starting, or raised."""
        found: BoolColumn = np.zeros(len(self.controller.fleet), dtype=np.bool_)
        board = self.controller.board
        if board is not None and board.assessment is not None:
            known = board.assessment.waiting
            found[: len(known)] = known
        return found

    def proof(self, serving: BoolColumn) -> dict[str, int]:
        """Return how many of these sites are in each state of proof."""
        counts = np.bincount(self.states()[serving], minlength=len(ProofState))
        return {each.name.lower(): int(counts[each]) for each in ProofState if counts[each]}

    def fanout(self, serving: BoolColumn, now: datetime, *, unsent: int) -> Fanout:
        """Return how far the commands of these sites are, of which so many are not handed over yet."""
        board, terms = self.controller.board, self.controller.terms
        if board is None:
            return Fanout(0, 0, 0, 0, 0, None)
        return fanout(
            board.leases,
            board.proof,
            self.states()[: len(board.leases)],
            serving[: len(board.leases)],
            Response(terms.spread_s, terms.ramp_s, terms.sample_period_s),
            unsent=unsent,
            now_s=to_epoch(now),
            judged_from_s=board.judged_from_s,
        )

    def energy_left_wh(self, serving: BoolColumn) -> int:
        """Return the energy above every floor in these sites."""
        return int(held_w(*self._stored(np.flatnonzero(serving)), 3600).sum())

    def forecast_w(self, serving: BoolColumn, seconds_ahead: Sequence[int]) -> list[int]:
        """Return the power these sites still have at moments ahead, in order: each gives until its floor."""
        rows = np.flatnonzero(serving & (self.setpoint_w() > 0))
        setpoint_w = self.setpoint_w()[rows]
        moments = np.searchsorted(seconds_ahead, holding_s(*self._stored(rows), setpoint_w), side="right")
        until_w = np.bincount(moments, weights=setpoint_w, minlength=len(seconds_ahead) + 1)
        return [int(power_w) for power_w in until_w.sum() - until_w.cumsum()[:-1]]

    def _stored(self, rows: IntColumn) -> tuple[IntColumn, IntColumn]:
        """Return the full energy of these sites' batteries, and how far each is above its floor."""
        fleet = self.controller.fleet
        return fleet.energy_full_wh[rows], (fleet.soc_permille - fleet.binding_reserve_permille())[rows]

    def newest_sample_age_s(self, serving: BoolColumn, now: datetime) -> int | None:
        """Return the age of the newest sample of these sites, None where none ever came."""
        sampled = self.controller.fleet.sampled_at_s[serving]
        newest = int(sampled.max()) if len(sampled) else 0
        return max(0, to_epoch(now) - newest) if newest else None
