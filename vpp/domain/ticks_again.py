"""Ticks made again: whom each told what, from the plans and what was stored of each home's lease with it.

The same function that control ran is run once more. Given are when events asked, which homes were silent or
behind, and whose owner spoke meanwhile; that a home answered is believed where its answer is stored.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

import numpy as np

from vpp.domain.brake import Numbers
from vpp.domain.command import AckBatch, Action, DispatchTick, Order, PlanRevision, releases_only
from vpp.domain.enrollment import Enrollment
from vpp.domain.event_plan import EventPlan
from vpp.domain.fleet import FleetState, Names, Roster, enroll
from vpp.domain.known_leases import KnownLeases, LeaseNews, copy_told
from vpp.domain.lease import Leases, Standing, note_sent
from vpp.domain.orders import commands_of
from vpp.domain.plan_revision import followed, plan_at
from vpp.domain.quantities import IntColumn
from vpp.domain.telling import Telling, demand_again, tick_orders
from vpp.domain.tick_basis import TickBasis

_ANSWERED = np.isin(list(Standing), (Standing.ACCEPTED, Standing.REJECTED, Standing.DWELLING))
_PAIRS = 1 << 40  # more ticks than any fleet will ever have
_EARLIER = ""  # stands for the event that told a home something before the first tick that is looked at
_TO_DO = {Action.DISCHARGE: "to discharge", Action.RELEASE: "to stop"}
_SAID = (
    ("revision", "it would name plan revision {}, and names {}"),
    ("starts_at", "its start would be {}, and is {}"),
    ("expires_at", "its lease would end at {}, and ends at {}"),
    ("event_ends_at", "its event end would be {}, and is {}"),
    ("ramp_s", "its ramp would be {} s, and is {} s"),
    ("spread_s", "its spread would be {} s, and is {} s"),
    ("test", "that it is a test would be {}, and is {}"),
)


class TicksAgain:
    """Makes ticks again, in order, and compares the orders of some events.

    ``made`` counts the ticks that hold such orders; a tick that should have held one is found too. What kept
    nothing is passed over, and so are the ticks after it until one begins afresh: a stop that left ahead of
    the database, or ticks from before this was kept or after it was deleted.

    Args:
        roster: Every enrolment by number.
        of_events: The events whose orders are compared.
        answers: Every stored answer to a command of the ticks.
    """

    def __init__(self, roster: Sequence[Enrollment], of_events: Collection[str], answers: AckBatch) -> None:
        self.made = 0
        self._fleet, self._roster = FleetState(), Roster()
        enroll(self._fleet, self._roster, roster)
        self._of_events = of_events
        pairs = np.unique(answers.site_no * _PAIRS + answers.sequence)
        self._answered = np.append(pairs, np.iinfo(np.int64).max)  # a last one, of nobody
        self._events = Names()
        self._revisions: dict[str, Sequence[PlanRevision]] = {}
        self._plans: dict[str, EventPlan] = {_EARLIER: EventPlan.empty(0)}
        self._before_guess: dict[str, EventPlan] = {}  # plans as they were before a tick that kept nothing
        self._ticks: dict[int, DispatchTick] = {}
        self._told = Leases(len(roster))  # what ticks told, and nothing else
        self._known: KnownLeases | None = None
        self._first = self._newest = 0  # the numbers of the first tick of all, and of the present one
        self._gap = 0  # the number of a tick that kept nothing after others had
        self._epoch = 0

    def unread(self, tick: DispatchTick, basis: TickBasis | None) -> list[str]:
        """Return the events whose plan revisions must be given to ``learn`` before this tick."""
        named = {order.event_id for order in tick.orders}
        if basis is not None and basis.telling is not None:
            named |= {asked.event_id for asked in basis.telling.asked}
        return sorted(named.difference(self._revisions))

    def learn(self, event_id: str, revisions: Sequence[PlanRevision]) -> None:
        """Take in all plan revisions of an event, in order."""
        self._revisions[event_id] = revisions
        self._plans[event_id] = EventPlan.empty(len(self._told))

    def fault_at(self, tick: DispatchTick, basis: TickBasis | None) -> str | None:
        """Return where a tick differs from what follows from what was known, None where it does not."""
        telling = None if basis is None else basis.telling
        self._first, self._newest = self._first or tick.number, tick.number
        if tick.epoch != self._epoch:  # whoever leads begins afresh
            self._epoch, self._known, self._gap = tick.epoch, None, 0
        if telling is None:
            fault = self._nothing_kept(tick)
        else:
            fault = self._plans_fault(telling) or self._news_fault(telling)
            if fault is None and self._known is not None:
                self.made += any(order.event_id in self._of_events for order in tick.orders)
                fault = self._orders_fault(tick, telling, self._known)
        self._note(tick)
        return None if fault is None else f"tick {tick.number}: {fault}"

    def _nothing_kept(self, tick: DispatchTick) -> str | None:
        """Follow the plans of a tick without a basis; where others had one, only stops may lack it."""
        for event_id, revisions in self._revisions.items():
            made_then = [each.revision for each in revisions if each.at == tick.at]
            self._before_guess.setdefault(event_id, self._plans[event_id])
            self._follow(event_id, max(made_then, default=0))
        if self._known is None:
            return None
        self._known, self._gap = None, tick.number
        only_stops = len(releases_only(tick).orders) == len(tick.orders)
        return None if only_stops else "what was known when it was decided is not stored"

    def _plans_fault(self, telling: Telling) -> str | None:
        for asked in telling.asked:
            reached = self._plans[asked.event_id].revision
            certain = self._before_guess.pop(asked.event_id, None)
            if certain is not None and certain.revision <= asked.revision < reached:
                # Of the revisions of that second some were made after the tick that kept nothing.
                self._plans[asked.event_id], reached = certain, certain.revision
            if asked.revision < reached:
                return f"it follows plan revision {asked.revision}, after {reached} was made"
            if not any(each.revision == asked.revision for each in self._revisions[asked.event_id]):
                return f"plan revision {asked.revision} of event {asked.event_id} is not there"
            self._follow(asked.event_id, asked.revision)
        return None

    def _follow(self, event_id: str, revision: int) -> None:
        plan = self._plans[event_id]
        if revision > plan.revision:
            new = [each for each in self._revisions[event_id] if plan.revision < each.revision <= revision]
            self._plans[event_id] = followed(plan, new)

    def _news_fault(self, telling: Telling) -> str | None:
        """Take in what was heard of leases; return what of it cannot be."""
        if telling.afresh:
            self._known, self._gap = KnownLeases(len(self._told)), 0
        elif self._known is None:
            gap, self._gap = self._gap, 0
            if gap:
                return f"what was known when tick {gap} was decided is not stored"
            first = any(each.revision == 1 and each.event_id in self._of_events for each in telling.asked)
            return "it is an event's first, and does not begin afresh" if first else None
        news = telling.news
        beyond = news.site_no[(news.site_no < 0) | (news.site_no >= len(self._told))]
        if len(beyond):
            return f"it knows of site {beyond[0]}, and {len(self._told)} are enrolled"
        if (news.standing >= len(_ANSWERED)).any():
            return "it knows of an answer that no home gives"
        told, fault = self._told_then(news, afresh=telling.afresh)
        fault = fault or self._heard_fault(news, told, self._known, afresh=telling.afresh)
        self._known.take_in(news, told)
        return fault

    def _told_then(self, news: LeaseNews, *, afresh: bool) -> tuple[Leases, str | None]:
        """Return what the ticks that the news name told their sites, and where they did not.

        Only a leader that begins afresh may know another command as the newest: an older one after a stop,
        where a tick stands of which nothing left, or the stop itself, which is stored later than it left.
        """
        other = self._told.sequence[news.site_no] != news.sequence
        if not other.any():
            return self._told, None
        told, fault = Leases(len(self._told)), None
        copy_told(told, self._told, news.site_no[~other])
        for sequence in np.unique(news.sequence[other]).tolist():
            sites = news.site_no[other & (news.sequence == sequence)]
            if sequence < self._first or (afresh and sequence > self._newest):
                told.event_no[sites] = self._events.number(_EARLIER)
                continue
            then = Leases(len(self._told))
            if sequence in self._ticks:
                self._tell(then, self._ticks[sequence])
            copy_told(told, then, sites)
            if not afresh:
                newest = self._told.sequence[sites[0]]
                fault = fault or f"{self._site(sites[0])} counts as told by tick {sequence}, and {newest} did"
            if (then.sequence[sites] == 0).any():
                silent = sites[then.sequence[sites] == 0]
                fault = fault or f"{self._site(silent[0])} counts as told by tick {sequence}, which did not"
        return told, fault

    def _heard_fault(self, news: LeaseNews, told: Leases, known: KnownLeases, *, afresh: bool) -> str | None:
        """Return which home cannot have been known so, after what ticks told it and what it answered."""
        if not len(news):
            return None
        sites = news.site_no
        ours = (news.sequence >= self._first) & (news.sequence < self._newest)
        answered = _ANSWERED[news.standing]
        keys = sites * _PAIRS + news.sequence
        stored = self._answered[np.searchsorted(self._answered, keys)] == keys
        other_time = (news.issued_at_s != 0) & (news.issued_at_s != told.issued_at_s[sites])
        goes_on = ours & (known.leases.sequence[sites] == news.sequence) & (not afresh)
        runs = (news.running_until_s != 0) & (news.running_until_s != told.expires_at_s[sites])
        cannot = (
            (ours & answered & ~stored, "counts as having answered tick {}, and no such answer is stored"),
            (ours & other_time, "counts as told at another time than that of tick {}"),
            (goes_on & (news.resends != known.leases.resends[sites]), "counts tick {} as another repeat"),
            (
                goes_on & runs & (news.running_until_s != known.leases.running_until_s[sites]),
                "counts as running until another time than tick {} said",
            ),
        )
        for rows, words in cannot:
            for row in np.flatnonzero(rows):
                return f"{self._site(sites[row])} {words.format(news.sequence[row])}"
        return None

    def _orders_fault(self, tick: DispatchTick, telling: Telling, known: KnownLeases) -> str | None:
        planned = [
            (
                demand_again(each, self._events.number(each.event_id), test=each.event_id in telling.tests),
                self._plans[each.event_id],
            )
            for each in telling.asked
        ]
        made = tick_orders(
            known.leases,
            planned,
            telling.terms,
            tick.at,
            lost=known.lost,
            left_out=telling.left_out.tolist(),
            plans=self._plans,
            event_id_of=self._events.word,
            tests=telling.tests,
            zone_no=self._zones_of(len(telling.terms.caps.zone_w_per_min)),
        )
        for event_id in sorted(self._of_events):
            pair = [[each for each in orders if each.event_id == event_id] for orders in (made, tick.orders)]
            fault = None if _same_sites(*pair) else self._whom(*pair)
            fault = fault or _what(*pair)
            if fault is not None:
                return fault
        return None

    def _zones_of(self, zones: int) -> Numbers:
        """Return each site's zone; a site in a zone that was enrolled later was told nothing then."""
        return np.minimum(self._fleet.county_no, zones - 1) if zones else self._fleet.county_no

    def _whom(self, made: Sequence[Order], stored: Sequence[Order]) -> str | None:
        """Return which site should have been told something, or should not have been."""
        for action, to_do in _TO_DO.items():
            again, was = _sites(made, action), _sites(stored, action)
            for site in np.setdiff1d(again, was):
                return f"{self._site(site)} would be told {to_do}, and is not"
            for site in np.setdiff1d(was, again):
                return f"{self._site(site)} is told {to_do}, and would not be"
        return None

    def _site(self, site_no: int) -> str:
        known = 0 <= site_no < len(self._told)
        return f"site {self._roster.site_id(site_no) if known else site_no}"

    def _note(self, tick: DispatchTick) -> None:
        self._ticks[tick.number] = tick
        self._tell(self._told, tick)
        if self._known is not None:
            self._tell(self._known.leases, tick)

    def _tell(self, leases: Leases, tick: DispatchTick) -> None:
        for order in tick.orders:
            plan, revisions = self._plans[order.event_id], self._revisions[order.event_id]
            if plan.revision != order.revision:
                plan = plan_at(revisions, order.revision, len(self._told))
            note_sent(leases, commands_of(tick, order, plan), self._events.number(order.event_id))


def _sites(orders: Sequence[Order], action: Action) -> IntColumn:
    named = [order.site_no for order in orders if order.action is action]
    return np.concatenate([np.zeros(0, dtype=np.int64), *named])


def _same_sites(made: Sequence[Order], stored: Sequence[Order]) -> bool:
    return len(made) == len(stored) and all(
        again.action is was.action and np.array_equal(again.site_no, was.site_no)
        for again, was in zip(made, stored, strict=True)
    )


def _what(made: Sequence[Order], stored: Sequence[Order]) -> str | None:
    """Return what orders to the same sites say otherwise."""
    if len(made) != len(stored):
        return f"it would hold {len(made)} orders of the event, and holds {len(stored)}"
    for again, was in zip(made, stored, strict=True):
        for name, words in _SAID:
            one, other = getattr(again, name), getattr(was, name)
            if one != other:
                return words.format(_shown(one), _shown(other))
        if not np.array_equal(again.site_no, was.site_no):
            return "its orders would share their sites otherwise"
    return None


def _shown(value: object) -> str:
    return f"{value:%H:%M:%S} UTC" if isinstance(value, datetime) else str(value)
