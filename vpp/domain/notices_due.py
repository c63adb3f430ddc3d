"""Which notices are due: what an event's story so far means to the people whose homes it concerns.

Pure and repeatable: asked twice about the same facts it gives the same notices under the same keys, so a
store that keeps each key once can be asked as often as anybody likes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction

from vpp.domain.enrollment import Enrollment
from vpp.domain.event_end import ended_at
from vpp.domain.grid_event import EventHistory, EventStatus, GrantKind, is_test
from vpp.domain.interval import Interval
from vpp.domain.notice import STARTING_BEFORE, Contact, Notice, NoticeKind
from vpp.domain.payout import Payout, PayoutState
from vpp.domain.quantities import MicroDollars, dollars, two_decimals
from vpp.domain.settlement import Settlement, SettlementLine, SettlementState

RESULT_AFTER = timedelta(minutes=10)
"""A result is told when late readings have had time to come: most of a first result would be missing."""

CHANGE_IS_NEWS_FOR = timedelta(hours=1)
"""Later nobody is told of a change of what is over, and whoever leaves an address not of one before."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A point of an event's story that owners are told of; ``key`` names it among all events.

    *Scheduled* is whatever stands now: to whom that is news, and what kind of it, depends on what each owner
    was told before. ``goes_ahead`` is whether anything of the event may be dispatched.
    """

    key: str
    kind: NoticeKind
    history: EventHistory
    interval: Interval
    goes_ahead: bool


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
    in_time = latest.committed_at < interval.ends_at and now - latest.committed_at < CHANGE_IS_NEWS_FOR
    if now < interval.ends_at or (cancelled and in_time):
        found.append(_moment(NoticeKind.SCHEDULED, history, interval, goes_ahead))
    if not cancelled and goes_ahead and now < interval.ends_at:
        announced_early = first.committed_at < interval.starts_at - STARTING_BEFORE
        if announced_early and interval.starts_at - STARTING_BEFORE <= now < interval.starts_at:
            found.append(_moment(NoticeKind.STARTING, history, interval, goes_ahead))
    over = ended_at(history)
    began = over > interval.starts_at
    if began and now >= over + RESULT_AFTER and goes_ahead:
        found.append(_moment(NoticeKind.ENDED, history, interval, goes_ahead))
    return found


def _moment(kind: NoticeKind, history: EventHistory, interval: Interval, goes_ahead: bool) -> Moment:
    latest = history.latest
    key = f"{kind.value}:{latest.event_id}:{latest.version}{'' if goes_ahead else ':waits'}"
    return Moment(key, kind, history, interval, goes_ahead)


@dataclass(frozen=True, slots=True)
class Told:
    """What one owner is told about: the homes that any version of an event meant, their zone, and the rest.

    ``meant`` is whether the newest version means one of the homes, and ``meant_first`` whether the first
    did; ``out`` that all of them opted out.
    """

    contact: Contact
    homes: tuple[Enrollment, ...]
    zone: str
    out: bool = False
    meant: bool = True
    meant_first: bool = True


def is_over(history: EventHistory, now: datetime) -> bool:
    """Return whether nothing of an event is left."""
    interval = history.latest.interval
    return interval is None or interval.ends_at <= now


def lacks_force(history: EventHistory) -> bool:
    """Return whether an event's newest version is out of its program and nobody forced it."""
    latest = history.latest
    forced = any(
        grant.kind is GrantKind.FORCE and grant.version == latest.version for grant in history.grants
    )
    return bool(latest.out_of_program) and not forced


@dataclass(frozen=True, slots=True)
class Earned:
    """What came of an event, by owner, and whether that is final."""

    lines_of: Mapping[str, Sequence[SettlementLine]]
    final: bool


def earned_by(settlement: Settlement | None) -> Earned:
    """Return what an event's newest settlement says of each owner; nothing where there is none."""
    lines_of: dict[str, list[SettlementLine]] = {}
    for line in settlement.lines if settlement else ():
        lines_of.setdefault(line.owner_id, []).append(line)
    return Earned(lines_of, settlement is not None and settlement.state is not SettlementState.PROVISIONAL)


def event_notices(
    moment: Moment,
    owners: Sequence[Told],
    earned: Earned,
    *,
    heard: Mapping[str, Notice],
    now: datetime,
) -> list[Notice]:
    """Return one notice for each owner to whom a moment is news and who wants that kind.

    Nobody who opted out is told of the start, and nobody of a result whose homes were not meant, or given
    up before they counted.

    Args:
        moment: What is told.
        owners: Those whose homes any version of the event meant.
        earned: What came of it; empty before it is settled.
        heard: By owner, the last notice that said when the event is, or that it is not.
        now: The present instant.
    """
    event_id = moment.history.latest.event_id
    found = []
    for told in owners:
        owner_id = told.contact.party
        news = _news(moment, told, heard.get(owner_id), owner_id in earned.lines_of, now)
        if news is None or not told.contact.wants(news.kind):
            continue
        facts = {**_facts(moment, told), **news.facts}
        if news.kind is NoticeKind.ENDED and not is_test(moment.history):
            facts |= _result(earned.lines_of.get(owner_id, ()), final=earned.final)
        key = ":".join(word for word in (news.kind.value, event_id, news.part, owner_id) if word)
        found.append(Notice(key, owner_id, news.kind, event_id, now, facts))
    return found


@dataclass(frozen=True, slots=True)
class _News:
    """What one owner is to be told; ``part`` tells two of a kind about one event apart."""

    kind: NoticeKind
    part: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


def _news(moment: Moment, told: Told, heard: Notice | None, earned: bool, now: datetime) -> _News | None:
    match moment.kind:
        case NoticeKind.SCHEDULED:
            return _standing(moment, told, heard, now)
        case NoticeKind.STARTING:
            return (
                _News(moment.kind, _instant(moment.interval.starts_at))
                if told.meant and not told.out
                else None
            )
        case _:
            return _News(moment.kind) if told.meant or earned else None


def _standing(moment: Moment, told: Told, heard: Notice | None, now: datetime) -> _News | None:
    """Return what an event's newest version means to an owner who was told ``heard`` last."""
    latest = moment.history.latest
    cancelled = latest.status is EventStatus.CANCELLED
    known = _known(moment, told, heard, now)
    version = str(latest.version)
    stands = {"starts_at": _instant(moment.interval.starts_at), "ends_at": _instant(moment.interval.ends_at)}
    if known is None:
        announced = moment.goes_ahead and told.meant and not cancelled
        return _News(NoticeKind.SCHEDULED, version if heard else "") if announced else None
    if cancelled:
        return _News(NoticeKind.CHANGED, version, {**known, "cancelled": "yes"})
    if not told.meant:
        return _News(NoticeKind.CHANGED, version, {**known, "left_out": "yes"})
    return _News(NoticeKind.CHANGED, version) if known != stands else None


def _known(moment: Moment, told: Told, heard: Notice | None, now: datetime) -> dict[str, str] | None:
    """Return when an owner thinks that an event is; None for who knows of none.

    Whoever wants no word of what is scheduled is taken to know how it began, while a change is new.
    """
    if heard is not None:
        off = heard.facts.get("cancelled") or heard.facts.get("left_out")
        return None if off else {name: heard.facts[name] for name in ("starts_at", "ends_at")}
    if told.contact.wants(NoticeKind.SCHEDULED) or not told.meant_first:
        return None
    if now - moment.history.latest.committed_at >= CHANGE_IS_NEWS_FOR:
        return None
    first = next(each.interval for each in moment.history.versions if each.interval is not None)
    return {"starts_at": _instant(first.starts_at), "ends_at": _instant(first.ends_at)}


def _facts(moment: Moment, told: Told) -> dict[str, str]:
    facts = {
        "starts_at": _instant(moment.interval.starts_at),
        "ends_at": _instant(moment.interval.ends_at),
        "name": moment.history.latest.name,
        "test": "yes" if is_test(moment.history) else "",
        "cancelled": "",
        "zone": told.zone,
    }
    reserves = {home.reserve_permille for home in told.homes}
    if len(reserves) == 1:
        facts["reserve_pct"] = f"{reserves.pop() / 10:g}"
    return facts


def _result(lines: Sequence[SettlementLine], *, final: bool) -> dict[str, str]:
    energy_wh = sum((line.incremental_wh for line in lines), Fraction(0))
    amount = MicroDollars(sum(line.amount for line in lines))
    return {
        "counted_kwh": two_decimals(energy_wh / 1000),
        "amount_usd": dollars(amount),
        "used": "yes" if any(line.hours for line in lines) else "",
        "final": "yes" if final else "",
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
