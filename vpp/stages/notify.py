"""Tell owners: write what is due into the outbox, and send what stands there, to owners and staff alike.

Two steps, each of which may be repeated at any time: stored facts lead to notices, each under a key that is
kept once; a notice is sent until that is noted. A process that dies between a sending and its note sends
that one message again under the same key: told twice is better than never.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from vpp.domain.enrollment import Enrollment
from vpp.domain.grid_event import authorized_power, is_test
from vpp.domain.notice import Contact, Delivery, Notice, NoticeKind, after_try, unwanted
from vpp.domain.notices_due import (
    Moment,
    Told,
    earned_by,
    event_notices,
    is_over,
    lacks_force,
    moments,
    payout_notices,
)
from vpp.domain.payout import payouts
from vpp.domain.program import Program
from vpp.domain.targets import Targets, resolve_targets
from vpp.money_ports import Books
from vpp.notice_ports import Messenger, Notices
from vpp.ports import Clock, DispatchStore, Registry, SignalStore

LOOK_BACK = timedelta(hours=36)
"""An event that ended longer ago is not told of any more: after a long stop nobody is flooded."""
HOMES_AT_ONCE = 2_000
PAYOUTS_EVERY = timedelta(minutes=1)
PAYOUT_STORED_AFTER = timedelta(minutes=10)  # at most, behind the instant that it bears


class NoticeStore(Registry, SignalStore, DispatchStore, Books, Notices, Protocol):
    """The part of the store that notices to owners are made from and kept in."""


@dataclass(slots=True)
class Progress:
    """What was worked through in this life, so that the database is not asked again; may be lost."""

    moments: dict[str, int] = field(default_factory=dict)  # with how many homes were enrolled then
    payouts_at: datetime | None = None


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
    allowed = authorized_power([each for each in histories if not is_over(each, now)], sources, now)
    due: list[tuple[Moment, Sequence[Enrollment]]] = []
    for history in histories:
        event_id = history.latest.event_id
        goes_ahead = not lacks_force(history) if is_over(history, now) else allowed.get(event_id, 0) != 0
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
        event_id = moment.history.latest.event_id
        ended = moment.kind is NoticeKind.ENDED
        settlement = await store.settlement(event_id) if ended else None
        pays = ended and not is_test(moment.history)
        if pays and settlement is None and await _commanded(moment, store):
            continue  # a result is to come: nobody is told of zero meanwhile
        said = await store.announcements(event_id) if moment.kind is NoticeKind.SCHEDULED else ()
        heard, earned = {each.party: each for each in said}, earned_by(settlement)
        asking = await _asking(moment, roster, store, programs)
        for some in _by_owner([home for home in homes if home.owner_id in contacts]):
            owners = _owners_of(asking, some, contacts)
            written += await store.write_notices(event_notices(moment, owners, earned, heard=heard, now=now))
        told.moments[moment.key] = len(roster)
    return written


def _by_owner(homes: Sequence[Enrollment]) -> Iterator[Sequence[Enrollment]]:
    """Yield homes some at a time, an owner's together: all notices in one piece would hold up dispatch."""
    ordered = sorted(homes, key=lambda home: home.owner_id)
    first = 0
    while first < len(ordered):
        last = min(first + HOMES_AT_ONCE, len(ordered))
        while last < len(ordered) and ordered[last].owner_id == ordered[last - 1].owner_id:
            last += 1
        yield ordered[first:last]
        first = last


async def _commanded(moment: Moment, store: NoticeStore) -> bool:
    return bool(await store.event_ticks(moment.history.latest.event_id))


@dataclass(frozen=True, slots=True)
class _Asking:
    """Whom an event's versions ask, the first and the last of them, and who said no."""

    moment: Moment
    versions: tuple[Targets, ...]
    groups: Sequence[str]
    zone: str
    out: frozenset[str]  # site ids


async def _asking(
    moment: Moment, roster: Sequence[Enrollment], store: NoticeStore, programs: Mapping[str, Program]
) -> _Asking:
    history, latest = moment.history, moment.history.latest
    program = programs.get(latest.program_id)
    groups = program.groups if program else ()
    words = {
        "utilities": {home.utility for home in roster},
        "counties": {home.county for home in roster},
        "feeders": {home.feeder for home in roster},
    }
    versions = [each for each in history.versions if each.interval is not None] or [latest]
    no = await store.opt_outs([latest.event_id])
    return _Asking(
        moment,
        tuple(resolve_targets(each.targets, groups=groups, **words) for each in versions),
        groups,
        program.zone.key if program else "UTC",
        frozenset(each.site_id for each in no if each.taken_back_at is None),
    )


def _owners_of(asking: _Asking, among: Sequence[Enrollment], contacts: Mapping[str, Contact]) -> list[Told]:
    """Return the owners among whose homes an event means or meant some.

    A home that left is nobody's any more, and one that came when all was over was never asked.
    """
    moment, groups = asking.moment, asking.groups
    first, last, asked = asking.versions[0], asking.versions[-1], tuple(dict.fromkeys(asking.versions))
    homes_of: dict[str, list[Enrollment]] = {}
    for home in among:
        mine = home.program_id == moment.history.latest.program_id
        mine = mine and home.enrolled_at < moment.interval.ends_at and home.withdrawn_at is None
        if mine and any(_selects(each, home, groups) for each in asked):
            homes_of.setdefault(home.owner_id, []).append(home)
    found = []
    for owner_id, homes in sorted(homes_of.items()):
        meant = [home for home in homes if _selects(last, home, groups)]
        found.append(
            Told(
                contacts[owner_id],
                tuple(meant or homes),
                asking.zone,
                out=all(home.site_id in asking.out for home in meant or homes),
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
