"""Tell people: write what is due into the outbox, send what stands there, and go on until somebody answers.

Three steps, each of which may be repeated at any time: stored facts lead to notices, each under a key
that is kept once; a notice is sent until that is noted; an alarm is told rank by rank. A process that dies
between a sending and its note sends that one message again under the same key: told twice is better than
never.
"""

import asyncio
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
from vpp.domain.enrollment import Enrollment
from vpp.domain.grid_event import EventHistory, GrantKind, authorized_power, is_test
from vpp.domain.interval import to_epoch
from vpp.domain.notice import Alarm, Contact, Delivery, Notice, NoticeKind, after_try, rank_to_tell, unwanted
from vpp.domain.notices_due import Moment, Told, event_notices, moments, payout_notices
from vpp.domain.payout import payouts
from vpp.domain.program import Program, zone_of_most
from vpp.domain.rest_days import rest_days
from vpp.domain.targets import Targets, resolve_targets
from vpp.domain.verdict import ALARMING
from vpp.money_ports import Books, Disputes
from vpp.notice_ports import Messenger, Notices
from vpp.ports import Clock, DispatchStore, Registry, SignalStore

LOOK_BACK = timedelta(hours=36)
"""An event that ended longer ago is not told of any more: after a long stop nobody is flooded."""
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
SHORT_LEAST_W = 500
PAYOUTS_EVERY = timedelta(minutes=1)
PAYOUT_STORED_AFTER = timedelta(minutes=10)  # at most, behind the instant that it bears
QUESTIONS_EVERY = timedelta(minutes=1)


class NoticeStore(Registry, SignalStore, DispatchStore, Books, Disputes, Notices, Protocol):
    """The part of the store that notices are made from and kept in."""


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
class Progress:
    """What was worked through in this life, so that the database is not asked again; may be lost."""

    moments: dict[str, int] = field(default_factory=dict)  # with how many homes were enrolled then
    lost_since: datetime | None = None
    payouts_at: datetime | None = None
    seen_at: dict[tuple[NoticeKind, str], datetime] = field(default_factory=dict)
    doubted: dict[str, Doubt] = field(default_factory=dict)
    questions_at: datetime | None = None
    overdue: Sequence[Condition] = ()


async def note(
    *,
    store: NoticeStore,
    roster: Sequence[Enrollment],
    programs: Mapping[str, Program],
    clock: Clock,
    told: Progress,
) -> int:
    """Write the notices to owners that stored facts make due, and return how many were new."""
    now = clock.now()
    return await _note_events(store, roster, programs, now, told) + await _note_payouts(store, now, told)


async def _owners_to_tell(store: NoticeStore) -> dict[str, Contact]:
    """Return the contacts of owners; asked only when something is due, because there may be many."""
    return {each.party: each for each in await store.contacts()}


async def _note_events(
    store: NoticeStore,
    roster: Sequence[Enrollment],
    programs: Mapping[str, Program],
    now: datetime,
    told: Progress,
) -> int:
    histories = await store.histories(ending_after=now - LOOK_BACK)
    sources = {source.name: source for source in await store.sources()}
    allowed = authorized_power([each for each in histories if not _over(each, now)], sources, now)
    due: list[tuple[Moment, Sequence[Enrollment]]] = []
    for history in histories:
        event_id = history.latest.event_id
        goes_ahead = not _unforced(history) if _over(history, now) else allowed.get(event_id, 0) != 0
        for moment in moments(history, goes_ahead=goes_ahead, now=now):
            known = told.moments.get(moment.key)
            # Whoever enrols later is asked as well: what stands now is news to them, and to nobody else.
            late = moment.kind is NoticeKind.SCHEDULED and known is not None and len(roster) > known
            if known is None or late:
                due.append((moment, roster[known or 0 :]))
    if not due:
        return 0
    contacts = await _owners_to_tell(store)
    written = 0
    for moment, homes in due:
        owners = await _owners_of(moment, homes, roster, contacts, store, programs)
        event_id = moment.history.latest.event_id
        ended = moment.kind is NoticeKind.ENDED
        settlement = await store.settlement(event_id) if ended else None
        pays = ended and not is_test(moment.history)
        if pays and settlement is None and await _commanded(moment, store):
            continue  # a result is to come: nobody is told of zero meanwhile
        news = moment.kind is NoticeKind.SCHEDULED
        said = await store.announcements(event_id) if news else ()
        heard = {each.party: each for each in said}
        notices = event_notices(moment, owners, settlement, heard=heard, now=now)
        written += await store.write_notices(notices)
        told.moments[moment.key] = len(roster)
    return written


async def _commanded(moment: Moment, store: NoticeStore) -> bool:
    return bool(await store.event_ticks(moment.history.latest.event_id))


def _over(history: EventHistory, now: datetime) -> bool:
    interval = history.latest.interval
    return interval is None or interval.ends_at <= now


def _unforced(history: EventHistory) -> bool:
    latest = history.latest
    forced = any(
        grant.kind is GrantKind.FORCE and grant.version == latest.version for grant in history.grants
    )
    return bool(latest.out_of_program) and not forced


async def _owners_of(
    moment: Moment,
    among: Sequence[Enrollment],
    roster: Sequence[Enrollment],
    contacts: Mapping[str, Contact],
    store: NoticeStore,
    programs: Mapping[str, Program],
) -> list[Told]:
    """Return the owners among whose homes an event means or meant some.

    A home that left is nobody's any more, and one that came when all was over was never asked.
    """
    history, latest = moment.history, moment.history.latest
    program = programs.get(latest.program_id)
    groups = program.groups if program else ()
    words = {
        "utilities": {home.utility for home in roster},
        "counties": {home.county for home in roster},
        "feeders": {home.feeder for home in roster},
    }
    versions = [each for each in history.versions if each.interval is not None] or [latest]
    asked = {
        each: resolve_targets(each, groups=groups, **words)
        for each in {version.targets: None for version in versions}
    }
    first, last = asked[versions[0].targets], asked[versions[-1].targets]
    homes_of: dict[str, list[Enrollment]] = {}
    for home in among:
        mine = home.owner_id in contacts and home.program_id == latest.program_id
        mine = mine and home.enrolled_at < moment.interval.ends_at
        if (
            mine
            and home.withdrawn_at is None
            and any(_selects(each, home, groups) for each in asked.values())
        ):
            homes_of.setdefault(home.owner_id, []).append(home)
    out = {each.site_id for each in await store.opt_outs([latest.event_id]) if each.taken_back_at is None}
    zone = program.zone.key if program else "UTC"
    found = []
    for owner_id, homes in sorted(homes_of.items()):
        meant = [home for home in homes if _selects(last, home, groups)]
        found.append(
            Told(
                contacts[owner_id],
                tuple(meant or homes),
                zone,
                out=all(home.site_id in out for home in meant or homes),
                meant=bool(meant),
                meant_first=any(_selects(first, home, groups) for home in homes),
            )
        )
    return found


def _selects(targets: Targets, home: Enrollment, groups: Sequence[str]) -> bool:
    return targets.selects(utility=home.utility, groups=groups, county=home.county, feeder=home.feeder)


async def _note_payouts(store: NoticeStore, now: datetime, told: Progress) -> int:
    if told.payouts_at is not None and now - told.payouts_at < PAYOUTS_EVERY:
        return 0
    since = now - LOOK_BACK if told.payouts_at is None else told.payouts_at - PAYOUT_STORED_AFTER
    ended = await store.payout_entries(ended_since=since)
    owners = sorted({posting.party for each in ended for posting in each.postings})
    recent = [
        each
        for each in payouts(await store.payout_entries(owner_ids=owners) if owners else ())
        if each.ended_at is not None and now - each.ended_at < LOOK_BACK
    ]
    contacts = await _owners_to_tell(store) if recent else {}
    written = await store.write_notices(payout_notices(recent, contacts, now=now))
    told.payouts_at = now
    return written


async def deliver(*, store: Notices, messenger: Messenger, clock: Clock, limit: int = 100) -> int:
    """Send what stands unsent and is due, oldest first, and return how many were sent.

    An address that was taken away, or a kind that was muted meanwhile, ends the notice unsent. Everybody's
    go out at once, so that one dead server does not keep the others waiting; one party's in their order.
    """
    due = await store.notices_to_send(now=clock.now(), limit=limit)
    of_party: dict[str, list[tuple[Notice, Delivery]]] = {}
    for notice, delivery in due:
        of_party.setdefault(notice.party, []).append((notice, delivery))
    sent = await asyncio.gather(
        *(_deliver_in_order(each, store, messenger, clock) for each in of_party.values())
    )
    return sum(sent)


async def _deliver_in_order(
    due: Sequence[tuple[Notice, Delivery]], store: Notices, messenger: Messenger, clock: Clock
) -> int:
    return sum([await _deliver(notice, delivery, store, messenger, clock) for notice, delivery in due])


async def _deliver(
    notice: Notice, delivery: Delivery, store: Notices, messenger: Messenger, clock: Clock
) -> bool:
    contact = await store.contact(notice.party)
    if contact is None or not contact.wants(notice.kind):
        await store.record_delivery(notice.key, unwanted(delivery))
        return False
    trouble = await messenger.send(notice, contact)
    await store.record_delivery(notice.key, after_try(delivery, at=clock.now(), trouble=trouble))
    return trouble is None


async def watch(
    *,
    board: Board | None,
    connected: bool,
    store: NoticeStore,
    clock: Clock,
    told: Progress,
    programs: Mapping[str, Program],
    homes: Mapping[str, int],
) -> list[Condition]:
    """Return what operators must know now: a shortfall, a lost feed, mass silence, and what signals lack.

    Also what owners wait for. Each says in which zone people read its times: that of the event's program, or
    of most ``homes``; one about an event says what people call it, its program, and when it is.
    """
    now, zone = clock.now(), zone_of_most(programs, homes)
    histories = [each for each in await store.histories(ending_after=now) if not _over(each, now)]
    found = [] if board is None else of_dispatch(board, histories, now)
    told.lost_since = None if connected else told.lost_since or now
    if told.lost_since is not None and now - told.lost_since >= LOST_AFTER:
        found.append(Condition(NoticeKind.FEED_LOST, "broker", {}))
    found += [
        *await _waiting(histories, store, board, now),
        *await _contested(store, now),
        *await _cloned(store, now),
        *(
            Condition(NoticeKind.COUNTERS_DOUBTED, event_id, {"count": str(doubt.homes)})
            for event_id, doubt in told.doubted.items()
            if now - doubt.at < DOUBTED_FOR
        ),
        *await _overdue(store, zone, now, told),
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


async def _overdue(store: NoticeStore, zone: str, now: datetime, told: Progress) -> Sequence[Condition]:
    """Return what owners asked and nobody answered in time, one condition for each event or period."""
    if told.questions_at is not None and now - told.questions_at < QUESTIONS_EVERY:
        return told.overdue
    waiting: dict[str, list[datetime]] = {}
    for dispute in disputes(await store.words()) if await store.open_disputes() else ():
        since = dispute.waits_since
        if since is not None and overdue_at(since, ZoneInfo(zone), rest_days("NERC")) <= now:
            waiting.setdefault(dispute.period, []).append(since)
    told.questions_at = now
    told.overdue = [
        Condition(
            NoticeKind.QUESTION_WAITS,
            period,
            {"count": str(len(asked)), "asked_at": f"{min(asked):%Y-%m-%dT%H:%M:%SZ}"},
        )
        for period, asked in sorted(waiting.items())
    ]
    return told.overdue


async def _raises(store: NoticeStore) -> list[Condition]:
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
    histories: Sequence[EventHistory], store: NoticeStore, board: Board | None, now: datetime
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
        needs = "force" if _unforced(history) else "approval" if asks else ""
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


async def _contested(store: NoticeStore, now: datetime) -> list[Condition]:
    """Return the events about which somebody lately said what is not theirs, or not what they said before."""
    found = []
    for history in await store.histories(ending_after=now - CONTESTED_FOR):
        event_id = history.latest.event_id
        for receipt in await store.receipts(event_id):
            if receipt.reason in ALARMING and now - receipt.at < CONTESTED_FOR:
                facts = {"source": receipt.source, "reason": receipt.reason}
                found.append(Condition(NoticeKind.SIGNAL_CONTESTED, event_id, facts))
    return found


async def _cloned(store: NoticeStore, now: datetime) -> list[Condition]:
    """Return whether homes were found lately for which two gateways speak at once."""
    found = await store.contested_since(now - CONTESTED_FOR)
    count = len(found[ReadingFault.TWO_GATEWAYS])
    return [Condition(NoticeKind.TWO_GATEWAYS, "gateways", {"count": str(count)})] if count else []


async def alert(conditions: Sequence[Condition], *, store: Notices, clock: Clock, told: Progress) -> int:
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
        told.seen_at[place] = now
        if place not in open_alarms:
            key = f"{condition.kind}:{condition.subject}:{int(now.timestamp())}"
            alarm = Alarm(key, condition.kind, condition.subject, now, dict(condition.facts))
            await store.raise_alarm(alarm)
            open_alarms[place] = alarm
    staff = await store.contacts(staff=True)
    written = 0
    for place, alarm in open_alarms.items():
        seen_at = told.seen_at.setdefault(place, now)  # after a start: give it the same quiet time
        if now - seen_at >= QUIET_FOR:
            await store.clear_alarm(alarm.key, at=now)
        else:
            written += await _tell(alarm, staff, store, now)
    return written


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
