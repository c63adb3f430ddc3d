"""Watch: what operators must know while it lasts, raised as alarms and told until somebody answers.

An alarm is told rank by rank; each of its notices stands in the outbox under a key that is kept once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np

from vpp.domain.board import Board
from vpp.domain.delivery import ReadingFault
from vpp.domain.demands import waiting_power
from vpp.domain.dispute import disputes, overdue_at
from vpp.domain.grid_event import EventHistory, authorized_power, is_test
from vpp.domain.interval import to_epoch
from vpp.domain.notice import Alarm, Contact, Notice, NoticeKind, rank_to_tell
from vpp.domain.notices_due import is_over, lacks_force
from vpp.domain.program import Program, zone_of_most
from vpp.domain.rest_days import rest_days
from vpp.domain.verdict import ALARMING
from vpp.money_ports import Disputes
from vpp.notice_ports import Notices
from vpp.ports import Clock, Registry, SignalStore

QUIET_FOR = timedelta(minutes=2)
"""An alarm is over when what it is about was not seen for so long."""
CONTESTED_FOR = timedelta(minutes=30)
"""So long a rejected signal by somebody who contradicts another, or speaks for another, is news; so are
readings of two gateways that speak for one home at once, and homes that obey what nobody here told them."""
DOUBTED_FOR = timedelta(days=1)
"""So long counters that power samples refute are news: until an event closes somebody must have looked."""
APPROVED_BEFORE = timedelta(minutes=30)
"""So long before its start an event that waits for leave needs somebody now."""
LOST_AFTER = timedelta(seconds=30)
VTN_LOST_AFTER = timedelta(minutes=3)
"""A VTN of somebody else that gave no events for so long is a lost feed: six polls, usually."""
SHORT_LEAST_W = 500
QUESTIONS_EVERY = timedelta(minutes=1)


class WatchStore(Registry, SignalStore, Disputes, Notices, Protocol):
    """The part of the store that alarms are made from and kept in."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that operators must know while it lasts."""

    kind: NoticeKind
    subject: str
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Doubt:
    """How many homes' power samples refute their counters in an event, and when that was seen."""

    homes: int
    at: datetime


@dataclass(slots=True)
class Watched:
    """What was seen in this life, so that the database is not asked again; may be lost."""

    lost_since: datetime | None = None
    seen_at: dict[tuple[NoticeKind, str], datetime] = field(default_factory=dict)
    doubted: dict[str, Doubt] = field(default_factory=dict)
    questions_at: datetime | None = None
    overdue: Sequence[Condition] = ()
    events_on: frozenset[str] | None = None  # ids of those not over when last watched


async def watch(
    *,
    board: Board | None,
    connected: bool,
    silent_vtns: Mapping[str, datetime],
    store: WatchStore,
    clock: Clock,
    seen: Watched,
    programs: Mapping[str, Program],
    homes: Mapping[str, int],
) -> list[Condition]:
    """Return what operators must know now: a shortfall, a lost feed, mass silence, and what signals lack.

    ``silent_vtns`` says since when the VTN of a source gives no events. Also what owners wait for. Each says
    in which zone people read its times: that of the event's program, or of most ``homes``; one about an event
    says what people call it, its program, and when it is.
    """
    now, zone = clock.now(), zone_of_most(programs, homes)
    histories = [each for each in await store.histories(ending_after=now) if not is_over(each, now)]
    seen.events_on = frozenset(each.latest.event_id for each in histories)
    found = [] if board is None else of_dispatch(board, histories, now)
    seen.lost_since = None if connected else seen.lost_since or now
    if seen.lost_since is not None and now - seen.lost_since >= LOST_AFTER:
        found.append(Condition(NoticeKind.FEED_LOST, "broker", {}))
    found += [
        Condition(NoticeKind.FEED_LOST, source, {"vtn": source})
        for source, since in sorted(silent_vtns.items())
        if now - since >= VTN_LOST_AFTER
    ]
    found += [
        *await _waiting(histories, store, board, now),
        *await _contested(store, now),
        *await _cloned(store, now),
        *(
            Condition(NoticeKind.COUNTERS_DOUBTED, event_id, {"count": str(doubt.homes)})
            for event_id, doubt in seen.doubted.items()
            if now - doubt.at < DOUBTED_FOR
        ),
        *await _overdue(store, zone, now, seen),
        *await _raises(store),
    ]
    elsewhere = {"zone": zone}
    about = {each.subject: await store.history(each.subject) for each in found}
    return [
        replace(each, facts={**each.facts, **(_of_event(about[each.subject], programs) or elsewhere)})
        for each in found
    ]


def _of_event(history: EventHistory | None, programs: Mapping[str, Program]) -> dict[str, str] | None:
    """Return what people know an event by; None for what is no event, or of no program here."""
    program = None if history is None else programs.get(history.latest.program_id)
    if history is None or program is None:
        return None
    facts = {"name": history.latest.name, "program": program.name, "zone": program.zone.key}
    intervals = [each.interval for each in history.versions if each.interval is not None]
    for interval in intervals[-1:]:  # a cancel may have none
        facts["starts_at"] = f"{interval.starts_at:%Y-%m-%dT%H:%M:%SZ}"
        facts["ends_at"] = f"{interval.ends_at:%Y-%m-%dT%H:%M:%SZ}"
    return facts | ({"test": "yes"} if is_test(history) else {})


async def _overdue(store: WatchStore, zone: str, now: datetime, seen: Watched) -> Sequence[Condition]:
    """Return what owners asked and nobody answered in time, one condition for each event or period."""
    if seen.questions_at is not None and now - seen.questions_at < QUESTIONS_EVERY:
        return seen.overdue
    waiting: dict[str, list[datetime]] = {}
    for dispute in disputes(await store.words()) if await store.open_disputes() else ():
        since = dispute.waits_since
        if since is not None and overdue_at(since, ZoneInfo(zone), rest_days("NERC")) <= now:
            waiting.setdefault(dispute.period, []).append(since)
    seen.questions_at = now
    seen.overdue = [
        Condition(
            NoticeKind.QUESTION_WAITS,
            period,
            {"count": str(len(asked)), "asked_at": f"{min(asked):%Y-%m-%dT%H:%M:%SZ}"},
        )
        for period, asked in sorted(waiting.items())
    ]
    return seen.overdue


async def _raises(store: WatchStore) -> list[Condition]:
    """Return the sources for which somebody asked a higher limit that nobody else has approved."""
    return [
        Condition(
            NoticeKind.LIMIT_WAITS,
            source.name,
            {
                "actor": asked.actor,
                "asked_at": f"{asked.asked_at:%Y-%m-%dT%H:%M:%SZ}",
                "asked_mw": f"{asked.max_power_w / 1e6:g}",
                "limit_mw": f"{source.max_power_w / 1e6:g}",
            },
        )
        for source in await store.sources()
        if (asked := source.raise_asked) is not None
    ]


def of_dispatch(board: Board, histories: Sequence[EventHistory], now: datetime) -> list[Condition]:
    """Return what dispatch lacks. A plan outlives a cancelled event, and a test owes nobody its power."""
    found = []
    owing = {each.latest.event_id for each in histories if not is_test(each)}
    for event_id, plan in board.plans.items():
        running = plan.asked is not None and event_id in owing
        if running and plan.shortfall_w > max(SHORT_LEAST_W, plan.requested_w // 100):
            facts = {
                "missing_kw": f"{plan.shortfall_w / 1000:.1f}",
                "asked_kw": f"{plan.requested_w / 1000:.1f}",
            }
            found.append(Condition(NoticeKind.SHORTFALL, event_id, facts))
    if board.assessment is not None and board.assessment.blind:
        found.append(Condition(NoticeKind.MASS_SILENCE, "fleet", {}))
    if board.astray_at_s > to_epoch(now - CONTESTED_FOR):
        astray = np.count_nonzero(board.leases.astray)
        found.append(Condition(NoticeKind.RECORD_LOST, "fleet", {"count": str(astray)}))
    return found


async def _waiting(
    histories: Sequence[EventHistory], store: WatchStore, board: Board | None, now: datetime
) -> list[Condition]:
    """Return the events that are about to begin, or have begun, and wait for somebody's leave, or in part."""
    sources = {source.name: source for source in await store.sources()}
    allowed = authorized_power(histories, sources, now)
    above = waiting_power(histories, sources, now)
    found = []
    for history in histories:
        latest = history.latest
        interval = latest.interval
        if interval is None or interval.starts_at - APPROVED_BEFORE > now:
            continue
        asks = any(step.power != 0 for step in latest.steps)
        needs = "force" if lacks_force(history) else "approval" if asks else ""
        facts = {"needs": needs, "starts_at": f"{interval.starts_at:%Y-%m-%dT%H:%M:%SZ}"}
        may_w, waits_w = allowed.get(latest.event_id, 0), above.get(latest.event_id, 0)
        if needs == "force" or (needs and may_w == 0):
            found.append(Condition(NoticeKind.APPROVER_MISSING, latest.event_id, facts))
        elif waits_w or (waits_w is None and _uses_all(board, latest.event_id, may_w)):
            part = {"waiting_kw": f"{waits_w / 1000:.1f}" if waits_w else "", "part": "yes"}
            found.append(Condition(NoticeKind.APPROVER_MISSING, latest.event_id, facts | part))
    return found


def _uses_all(board: Board | None, event_id: str, may_w: int | None) -> bool:
    """Return whether homes that are asked for all there is give all that they may: then more may wait."""
    plan = board.plans.get(event_id) if board is not None else None
    return plan is not None and may_w is not None and plan.requested_w >= may_w


async def _contested(store: WatchStore, now: datetime) -> list[Condition]:
    """Return the events about which somebody lately said what is not theirs, or not what they said before."""
    found = []
    for history in await store.histories(ending_after=now - CONTESTED_FOR):
        event_id = history.latest.event_id
        for receipt in await store.receipts(event_id):
            if receipt.reason in ALARMING and now - receipt.at < CONTESTED_FOR:
                facts = {"source": receipt.source, "reason": receipt.reason}
                found.append(Condition(NoticeKind.SIGNAL_CONTESTED, event_id, facts))
    return found


async def _cloned(store: WatchStore, now: datetime) -> list[Condition]:
    """Return whether homes were found lately for which two gateways speak at once."""
    found = await store.contested_since(now - CONTESTED_FOR)
    count = len(found[ReadingFault.TWO_GATEWAYS])
    return [Condition(NoticeKind.TWO_GATEWAYS, "gateways", {"count": str(count)})] if count else []


async def alert(conditions: Sequence[Condition], *, store: Notices, clock: Clock, seen: Watched) -> int:
    """Raise, tell and clear the alarms of what is seen now; return how many notices were written.

    Those of rank zero are told first. Who does not answer within five minutes is told again together with
    the next rank, and so on until somebody answers or it is over.
    """
    now = clock.now()
    open_alarms = {
        (each.kind, each.subject): each for each in await store.alarms() if each.cleared_at is None
    }
    for condition in conditions:
        place = condition.kind, condition.subject
        seen.seen_at[place] = now
        if place not in open_alarms:
            key = f"{condition.kind}:{condition.subject}:{int(now.timestamp())}"
            alarm = Alarm(key, condition.kind, condition.subject, now, dict(condition.facts))
            await store.raise_alarm(alarm)
            open_alarms[place] = alarm
    staff = await store.contacts(staff=True)
    written = 0
    for place, alarm in open_alarms.items():
        seen_at = seen.seen_at.setdefault(place, now)  # after a start: give it the same quiet time
        if now - seen_at >= QUIET_FOR or _of_what_is_over(alarm, seen):
            await store.clear_alarm(alarm.key, at=now)
        else:
            written += await _tell(alarm, staff, store, now)
    return written


def _of_what_is_over(alarm: Alarm, seen: Watched) -> bool:
    """Return whether an alarm is about what an event lacked that has ended or was cancelled meanwhile."""
    lacks = alarm.kind in (NoticeKind.SHORTFALL, NoticeKind.APPROVER_MISSING)
    return lacks and seen.events_on is not None and alarm.subject not in seen.events_on


async def _tell(alarm: Alarm, staff: Sequence[Contact], store: Notices, now: datetime) -> int:
    wanting = [each for each in staff if each.wants(alarm.kind)]
    rank = rank_to_tell(alarm, highest=max((each.rank for each in wanting), default=-1), now=now)
    if rank is None:
        return 0
    facts = dict(alarm.facts) | {"alarm": alarm.key, "raised_at": f"{alarm.raised_at:%Y-%m-%dT%H:%M:%SZ}"}
    notices = [
        Notice(
            f"{alarm.key}:{int(now.timestamp())}:{each.party}",
            each.party,
            alarm.kind,
            alarm.subject,
            now,
            facts,
        )
        for each in wanting
        if each.rank <= rank
    ]
    await store.tell_alarm(alarm.key, rank=rank, at=now, notices=notices)
    return len(notices)
