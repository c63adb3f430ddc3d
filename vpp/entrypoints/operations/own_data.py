"""An owner's data: consent and its history, who looked, everything to take along, and leaving."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from vpp.domain.delivery import NOT_METERED, QUALITY_CODES
from vpp.domain.enrollment import Enrollment, OptOut, Withdrawal
from vpp.domain.fleet import enroll
from vpp.domain.interval import Interval, from_epoch, whole_second
from vpp.domain.notice import CalendarFeed
from vpp.entrypoints.language import Language
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant, instant_or_none
from vpp.entrypoints.operations.disputes import own_disputes
from vpp.entrypoints.operations.money import UNSUMMED, show_statement
from vpp.entrypoints.operations.owner import homes_of, own_home, show_own_events
from vpp.entrypoints.operations.owner_money import show_own_payouts
from vpp.entrypoints.operations.sites import site_facts
from vpp.entrypoints.operations.staff_reads import ON_THE_COMMAND_LINE, homes_for

READS_SHOWN = 1000
METER_FROM = datetime(2020, 1, 1, tzinfo=UTC)  # before the first home


async def show_own_data(desk: Desk, *, owner_id: str) -> Json:
    """Return what an owner agreed to, who read the data, and whether a calendar is open.

    Returns:
        ``homes``; ``consents``: ``site_id, at, what`` (``given``, ``joined``, ``left``)``, version,
        program_id, program`` (its name) in order of time; ``reads``: ``at, actor, action, reason``, the
        newest first; ``calendar_since``, None without one.
    """
    homes = await homes_of(desk, owner_id)
    reads = await desk.store.trail(subject=f"owner:{owner_id}", limit=READS_SHOWN)
    feed = await desk.store.calendar(owner_id=owner_id)
    told: list[Json] = [
        {"at": instant(each.at), "actor": each.actor, "action": each.action, "reason": each.reason}
        for each in reads
    ]
    return {
        "homes": [site_facts(home) for home in homes],
        "consents": sorted((line for home in homes for line in _consents(desk, home)), key=_when),
        "reads": told,
        "calendar_since": instant_or_none(feed.made_at if feed else None),
    }


def _when(line: Json) -> tuple[str, str]:
    return str(line["at"]), str(line["site_id"])


def _consents(desk: Desk, home: Enrollment) -> Sequence[Json]:
    program = desk.programs.get(home.program_id)
    shared: Json = {
        "site_id": home.site_id,
        "version": home.consent.version,
        "program_id": home.program_id,
        "program": program.name if program else home.program_id,
    }
    facts = [("given", home.consent.given_at), ("joined", home.enrolled_at)]
    if home.withdrawn_at is not None:
        facts.append(("left", home.withdrawn_at))
    return [shared | {"at": instant(at), "what": what} for what, at in facts]


async def export_owner(
    desk: Desk, *, owner_id: str, actor: str = "", reason: str = ON_THE_COMMAND_LINE
) -> Json:
    """Return everything that is stored about an owner, as JSON.

    Args:
        owner_id: The owner.
        actor: Who of the staff asks; empty where the owner does. Staff leave their name where the owner
            sees it, in the same transaction in which the homes are read.
        reason: Why staff ask.

    Returns:
        ``owner_id, exported_at, time_zone`` (of the first home); ``data``: ``homes``, each as
        ``vpp site show`` has it, ``consents`` (``site_id, at, what, version, program_id, program``),
        ``reads`` (``at, actor, action, reason``) and ``calendar_since``; ``events``, ``statement``,
        ``payouts``; ``questions`` with their answers;
        ``opt_outs``: ``site_id, event_id, opted_out_at, taken_back_at, origin``; ``readings`` of the
        battery's meter: ``site_id, at, discharged_wh, charged_wh, imported_wh, exported_wh, quality``;
        ``contact`` and ``notices``. ``differs`` is None; where somebody changed the books in the database it
        says so to the owner, and ``statement`` and ``payouts`` are None.
    """
    homes = await homes_for(desk, owner_id, actor, reason, "export everything")
    events = (await show_own_events(desk, owner_id=owner_id))["events"]
    contact = await desk.store.contact(owner_id)
    return {
        "owner_id": owner_id,
        "exported_at": instant(desk.clock.now()),
        "time_zone": desk.time_zone(homes[0].program_id),
        "data": await show_own_data(desk, owner_id=owner_id),
        "events": events,
        **await _books_or_why(desk, owner_id, Language(contact.language if contact else "en")),
        "opt_outs": await _opt_outs(desk, homes),
        "questions": list(await own_disputes(desk, owner_id)),
        "readings": await readings_of(desk, homes),
        "contact": contact
        and {
            "address": contact.address,
            "language": contact.language,
            "home_names": dict(contact.home_names),
        },
        "notices": await _notices(desk, owner_id),
    }


async def _books_or_why(desk: Desk, owner_id: str, language: Language) -> Json:
    """Return what is made of the ledger; an owner takes all else along even while nothing can be summed."""
    try:
        return {
            "statement": await show_statement(desk, owner_id=owner_id),
            "payouts": (await show_own_payouts(desk, owner_id=owner_id))["payouts"],
            "differs": None,
        }
    except UNSUMMED:
        return {"statement": None, "payouts": None, "differs": str(language("page.books_altered"))}


async def _notices(desk: Desk, owner_id: str) -> list[Json]:
    return [
        {
            "at": instant(notice.at),
            "kind": notice.kind.value,
            "subject": notice.subject,
            "sent_at": instant_or_none(delivery.sent_at),
        }
        for notice, delivery in await desk.store.notices_of(owner_id, limit=READS_SHOWN)
    ]


async def _opt_outs(desk: Desk, homes: Sequence[Enrollment]) -> list[Json]:
    mine = {home.site_id for home in homes}
    event_ids = [each.latest.event_id for each in await desk.store.histories()]
    said: Sequence[OptOut] = await desk.store.opt_outs(event_ids)
    return [
        {
            "site_id": each.site_id,
            "event_id": each.event_id,
            "opted_out_at": instant(each.opted_out_at),
            "taken_back_at": instant_or_none(each.taken_back_at),
            "origin": each.origin,
        }
        for each in said
        if each.site_id in mine
    ]


async def readings_of(desk: Desk, homes: Sequence[Enrollment]) -> list[Json]:
    """Return every reading of the homes' meters by home and time; counters are lifetime watt-hours."""
    ids = [home.site_id for home in homes]
    ever = Interval(METER_FROM, whole_second(desk.clock.now()) + timedelta(days=1))
    found = await desk.store.readings(ids, [ever])
    rows = zip(
        found.site.tolist(), found.at_s.tolist(), found.discharged_wh.tolist(), found.charged_wh.tolist(),
        found.imported_wh.tolist(), found.exported_wh.tolist(), found.quality.tolist(), strict=True,
    )  # fmt: skip
    return [
        {
            "site_id": ids[site],
            "at": instant(from_epoch(at_s)),
            "discharged_wh": None if discharged == NOT_METERED else discharged,
            "charged_wh": None if charged == NOT_METERED else charged,
            "imported_wh": None if imported == NOT_METERED else imported,
            "exported_wh": None if exported == NOT_METERED else exported,
            "quality": QUALITY_CODES[quality].value,
        }
        for site, at_s, discharged, charged, imported, exported, quality in rows
    ]


async def leave_program(desk: Desk, *, owner_id: str, site_id: str, actor: str) -> Json:
    """End an owner's consent for one home: collection stops at once, money earned stays.

    A running event lets the home go as it does for an opt-out. Leaving again changes nothing.

    Returns:
        ``site_id, withdrawn_at``.
    """
    home = await own_home(desk, owner_id, site_id)
    if home.withdrawn_at is None:
        withdrawal = Withdrawal(site_id, desk.clock.now(), actor)
        await desk.store.withdraw(withdrawal)
        home = await own_home(desk, owner_id, site_id)
        if desk.live is not None:
            # At once, and not at the next tick: between the two a sample could still be taken in.
            enroll(desk.live.controller.fleet, desk.live.controller.roster, [home])
        desk.changed(site_id)
    return {"site_id": site_id, "withdrawn_at": instant_or_none(home.withdrawn_at)}


async def open_calendar(desk: Desk, *, owner_id: str) -> Json:
    """Make a secret address of the owner's events; one made before stops.

    Returns:
        ``path`` on the pages' own host, told only now, and ``made_at``.
    """
    await _require_owner(desk, owner_id)
    secret, now = secrets.token_urlsafe(32), desk.clock.now()
    await desk.store.open_calendar(CalendarFeed(key_of(secret), owner_id, now))
    return {"path": f"/calendar/{secret}.ics", "made_at": instant(now)}


async def close_calendar(desk: Desk, *, owner_id: str) -> Json:
    """Make the owner's calendar address void. Returns ``owner_id``."""
    await _require_owner(desk, owner_id)
    await desk.store.close_calendar(owner_id)
    return {"owner_id": owner_id}


async def _require_owner(desk: Desk, owner_id: str) -> None:
    if not await homes_of(desk, owner_id):
        raise OperationRefused(f"owner {owner_id[:60]} has no home here", HTTPStatus.NOT_FOUND)


def key_of(secret: str) -> str:
    """Return what a calendar address is stored under: its secret stands in no database."""
    return hashlib.sha256(secret.encode()).hexdigest()
