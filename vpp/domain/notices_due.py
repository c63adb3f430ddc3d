"""Which notices are due: what an event's story so far means to the people whose homes it concerns.

Pure and repeatable: asked twice about the same facts it gives the same notices under the same keys, so a
store that keeps each key once can be asked as often as anybody likes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import pairwise

from vpp.domain.enrollment import Enrollment
from vpp.domain.event_end import ended_at
from vpp.domain.grid_event import EventHistory, EventStatus, GridEvent, is_test
from vpp.domain.interval import Interval
from vpp.domain.notice import STARTING_BEFORE, Contact, Notice, NoticeKind
from vpp.domain.payout import Payout, PayoutState
from vpp.domain.quantities import MicroDollars, dollars, two_decimals
from vpp.domain.settlement import Settlement, SettlementState

RESULT_AFTER = timedelta(minutes=10)
"""A result is told when late readings have had time to come: most of a first result would be missing."""

CHANGE_IS_NEWS_FOR = timedelta(hours=1)
"""Whoever leaves an address later is not told of it any more."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A point of an event's story that owners are told of; ``key`` names it among all events."""

    key: str
    kind: NoticeKind
    history: EventHistory
    interval: Interval


def moments(history: EventHistory, *, goes_ahead: bool, now: datetime) -> list[Moment]:
    """Return what is to be told of an event now, in the order in which it is told.

    Args:
        history: The event.
        goes_ahead: Whether anything of it may be dispatched: what waits for leave is not announced.
        now: The present instant.
    """
    asked = [version for version in history.versions if version.interval is not None]
    if not asked:
        return []
    latest, first = history.latest, asked[0]
    interval = asked[-1].interval
    assert interval is not None
    found = []
    cancelled = latest.status is EventStatus.CANCELLED
    if not cancelled and goes_ahead and now < interval.ends_at:
        found.append(_moment(NoticeKind.SCHEDULED, "", history, interval))
        announced_early = first.committed_at < interval.starts_at - STARTING_BEFORE
        if announced_early and interval.starts_at - STARTING_BEFORE <= now < interval.starts_at:
            found.append(_moment(NoticeKind.STARTING, str(latest.version), history, interval))
    # Named by the version that moved it: one that moves nothing may come before anybody was told.
    change = _last_move(asked)
    if cancelled:
        change = latest if latest.committed_at < interval.ends_at else None
    if change and now - change.committed_at < CHANGE_IS_NEWS_FOR:
        found.append(_moment(NoticeKind.CHANGED, str(change.version), history, interval))
    over = ended_at(history)
    began = over > interval.starts_at
    if began and now >= over + RESULT_AFTER and goes_ahead:
        found.append(_moment(NoticeKind.ENDED, "", history, interval))
    return found


def _last_move(asked: Sequence[GridEvent]) -> GridEvent | None:
    """Return the last version that runs at another time than the one before it."""
    moves = [after for before, after in pairwise(asked) if after.interval != before.interval]
    return moves[-1] if moves else None


def _moment(kind: NoticeKind, part: str, history: EventHistory, interval: Interval) -> Moment:
    key = ":".join(word for word in (kind.value, history.latest.event_id, part) if word)
    return Moment(key, kind, history, interval)


@dataclass(frozen=True, slots=True)
class Told:
    """What one owner is told about: the homes that an event means, their zone, and who opted out."""

    contact: Contact
    homes: tuple[Enrollment, ...]
    zone: str
    out: bool = False


def event_notices(
    moment: Moment, owners: Sequence[Told], settlement: Settlement | None, *, now: datetime
) -> list[Notice]:
    """Return one notice for each owner who wants that kind; nobody who opted out is told of the start."""
    latest = moment.history.latest
    shared = {
        "starts_at": _instant(moment.interval.starts_at),
        "ends_at": _instant(moment.interval.ends_at),
        "name": latest.name,
        "test": "yes" if is_test(moment.history) else "",
        "cancelled": "yes" if latest.status is EventStatus.CANCELLED else "",
    }
    found = []
    for told in owners:
        owner_id = told.contact.party
        if not told.contact.wants(moment.kind) or (told.out and moment.kind is NoticeKind.STARTING):
            continue
        facts = shared | {"zone": told.zone}
        reserves = {home.reserve_permille for home in told.homes}
        if len(reserves) == 1:
            facts["reserve_pct"] = f"{reserves.pop() / 10:g}"
        if moment.kind is NoticeKind.ENDED and not is_test(moment.history):
            facts |= _result(owner_id, settlement)
        key = f"{moment.key}:{owner_id}"
        found.append(Notice(key, owner_id, moment.kind, latest.event_id, now, facts))
    return found


def _result(owner_id: str, settlement: Settlement | None) -> dict[str, str]:
    lines = [line for line in settlement.lines if line.owner_id == owner_id] if settlement else []
    energy_wh = sum((line.incremental_wh for line in lines), Fraction(0))
    amount = MicroDollars(sum(line.amount for line in lines))
    return {
        "counted_kwh": two_decimals(energy_wh / 1000),
        "amount_usd": dollars(amount),
        "used": "yes" if any(line.hours for line in lines) else "",
        "final": "yes" if settlement and settlement.state is not SettlementState.PROVISIONAL else "",
    }


def payout_notices(
    payouts: Sequence[Payout], contacts: Mapping[str, Contact], *, now: datetime
) -> list[Notice]:
    """Return one notice for each payout that arrived at an owner who wants to know."""
    return [
        Notice(
            f"{NoticeKind.PAID}:{payout.entry.entry_id}",
            payout.owner_id,
            NoticeKind.PAID,
            payout.run_id,
            now,
            {"amount_usd": dollars(payout.amount)},
        )
        for payout in payouts
        if payout.state is PayoutState.PAID
        and payout.owner_id in contacts
        and contacts[payout.owner_id].wants(NoticeKind.PAID)
    ]


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
