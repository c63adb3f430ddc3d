"""What an owner may know of the homes: what comes, what they do now, what a reserve means, what was."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus

from vpp.domain.dispatch_plan import REASONS, Reason
from vpp.domain.enrollment import Enrollment
from vpp.domain.event_end import cancelled_at
from vpp.domain.grid_event import EventHistory, EventStatus, is_test
from vpp.domain.program import Period, Terms
from vpp.domain.quantities import Permille
from vpp.domain.settlement import Settlement, SettlementLine
from vpp.entrypoints.language import Language
from vpp.entrypoints.operations.board import last_reasons, site_now, site_reason
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant_or_none, percent, usd
from vpp.entrypoints.operations.events import authorized_now, event_facts
from vpp.entrypoints.operations.money import UNSUMMED, show_statement
from vpp.entrypoints.operations.sites import site_facts, why_site
from vpp.entrypoints.operations.starting import means
from vpp.wire.evidence_check import exact

USABLE_PERMILLE = 950  # the app's scale hides 5 % of the pack
EVENT_HOURS = 2  # the usual length, for what an event may bring
RECENT_EVENTS = 5  # a usual event is the mean of so many

OVER = ("ended", "cancelled")
SUMS = ("currency", "pending_usd", "posted_usd", "on_its_way_usd", "paid_out_usd", "what_counts")
ENGLISH = Language("en")


async def homes_of(desk: Desk, owner_id: str) -> Sequence[Enrollment]:
    """Return an owner's homes by number."""
    return await desk.store.enrollments(owner_ids=[owner_id])


async def own_home(desk: Desk, owner_id: str, site_id: str) -> Enrollment:
    """Return a home of this owner. Raises OperationRefused 404 for any other, known or not."""
    found = await desk.store.enrollment(site_id)
    if found is None or found.owner_id != owner_id:
        raise OperationRefused("There is no such home of yours.", HTTPStatus.NOT_FOUND)
    return found


async def show_own_home(desk: Desk, *, owner_id: str) -> Json:
    """Return the owner's first page.

    Returns:
        ``homes`` (each as ``home_facts``), ``coming`` (events that are not over: ``event``, and ``site_id,
        reason, sentence, setpoint_w, floor_pct, opted_out_at, opted_out_at_home, out_since`` (where that
        was in the middle of the event)``, most_wh, hours, beside`` (other events of the same hours that the
        home is not out of: ``name, uses_it`` now), ``beyond_terms`` (only a part of the event is paid) of
        each home), ``season_usd`` (this year's amounts), ``pending_usd, posted_usd, on_its_way_usd,
        paid_out_usd, what_counts``, and ``currency``, that of all amounts. Where somebody changed the books
        in the database, nothing may be summed: then ``differs`` says what was changed, and these amounts
        are None; all else is there, because an owner must always be able to say no.
    """
    homes = await homes_of(desk, owner_id)
    statement = await _statement_or_why(desk, owner_id)
    now = desk.clock.now()
    coming: list[Json] = []
    authorized = await authorized_now(desk)
    for history in await desk.store.histories(ending_after=now):
        facts = event_facts(desk, history, authorized_w=authorized.get(history.latest.event_id, 0))
        if facts["state"] not in OVER:
            coming += [
                await _part(desk, home, facts, meant=means(desk, history.latest, home))
                | {"beyond_terms": bool(history.latest.out_of_program)}
                for home in homes
                if home.withdrawn_at is None and concerns(home, history)
            ]
    lines = statement["events"]
    assert isinstance(lines, list)
    this_year = [line for line in lines if str(line["starts_at"] or "").startswith(str(now.year))]
    return {
        "homes": [home_facts(desk, home) | await _usual_event(desk, home, lines) for home in homes],
        "coming": sorted(
            (part | {"beside": _beside(part, coming)} for part in coming),
            key=lambda part: str(part["starts_at"]),
        ),
        "season_usd": None if statement["differs"] else str(_amounts(this_year)),
        **{name: statement[name] for name in ("differs", *SUMS)},
    }


async def _statement_or_why(desk: Desk, owner_id: str) -> Json:
    """Return an owner's statement with ``differs`` None, or no event, no sum, and what was changed."""
    try:
        return await show_statement(desk, owner_id=owner_id, with_days=False) | {"differs": None}
    except UNSUMMED as failure:
        return {**dict.fromkeys(SUMS), "events": [], "differs": str(failure)}


def _amounts(lines: Sequence[Json]) -> Decimal:
    return sum((Decimal(str(line["amount_usd"])) for line in lines), Decimal("0.00"))


def concerns(home: Enrollment, history: EventHistory) -> bool:
    """Return whether an event fell into the time in which the home took part in its program."""
    asked = next((each.interval for each in reversed(history.versions) if each.interval), None)
    starts_at = asked.starts_at if asked else history.latest.committed_at
    ends_at = asked.ends_at if asked else history.latest.committed_at
    joined = history.latest.program_id == home.program_id and home.enrolled_at <= ends_at
    return joined and (home.withdrawn_at is None or starts_at < home.withdrawn_at)


def _beside(part: Json, coming: Sequence[Json]) -> list[Json]:
    """Return the other events that may use the same home in the same hours."""
    event = part["event"]
    assert isinstance(event, dict)
    found = []
    for other in coming:
        also = other["event"]
        assert isinstance(also, dict)
        same_hours = also["starts_at"] < event["ends_at"] and event["starts_at"] < also["ends_at"]
        stays_in = other["opted_out_at"] is None and not other["opted_out_at_home"]
        if other is not part and other["site_id"] == part["site_id"] and same_hours and stays_in:
            uses_it = also["state"] == "active" and bool(other["setpoint_w"])
            found.append({"name": also["name"], "uses_it": uses_it})
    return found


async def _part(desk: Desk, home: Enrollment, event: Json, *, meant: bool) -> Json:
    why = await why_site(desk, site_id=home.site_id, event_id=str(event["event_id"]))
    standing = [
        each
        for each in await desk.store.opt_outs([str(event["event_id"])])
        if each.site_id == home.site_id and each.taken_back_at is None
    ]
    begins, ends = (datetime.fromisoformat(str(event[name])) for name in ("starts_at", "ends_at"))
    return {
        "event": event,
        "starts_at": event["starts_at"],
        "site_id": home.site_id,
        "reason": why["reason"] or (None if meant else Reason.NOT_TARGETED.value),
        "sentence": why["sentence"],
        "setpoint_w": why["setpoint_w"],
        "floor_pct": percent(home.reserve_permille),
        "opted_out_at": why["opted_out_at"],
        "out_since": why["opted_out_at"]
        if str(why["opted_out_at"] or "") > str(event["starts_at"])
        else None,
        "opted_out_at_home": bool(standing) and all(each.said_at_home for each in standing),
        "most_wh": min(
            usable_wh(home, home.reserve_permille),
            int(home.max_discharge_w * (ends - begins).total_seconds()) // 3600,
        ),
        "hours": f"{(ends - begins).total_seconds() / 3600:g}",
    }


def usable_wh(home: Enrollment, reserve_permille: int) -> int:
    """Return the energy of a full battery above a reserve."""
    return home.full_energy_wh * USABLE_PERMILLE * (1000 - reserve_permille) // 1_000_000


def home_facts(desk: Desk, home: Enrollment) -> Json:
    """Return one home of the owner: enrolment, ``now`` where a controller runs, and what a reserve means.

    ``usable_wh`` is the energy of a full charge, ``event_most_wh`` the most one usual event can take,
    ``usd_per_kwh`` what one more counted kWh earns. ``now`` is as of ``list_fleet``, with ``let_go_at``
    (when an event let the battery go) and ``let_go_confirmed`` (whether the battery said so) while the
    newest sample may still be the event's; ``asked_unseen_at`` (from when on an event asks) while none can
    tell of it; each is None otherwise.
    """
    now = None
    if desk.live is not None and home.withdrawn_at is None:
        row, moment = desk.live.controller.roster.site_no_of.get(home.site_id), desk.clock.now()
        if row is not None:
            let_go = desk.live.let_go(row, moment)
            now = site_now(desk.live, row, site_reason(desk.live, row, moment), moment) | {
                "let_go_at": instant_or_none(let_go.at if let_go else None),
                "let_go_confirmed": let_go.confirmed if let_go else None,
                "asked_unseen_at": instant_or_none(desk.live.asked_unseen(row, moment)),
            }
    terms = _terms_now(desk, home)
    return site_facts(home) | {
        "now": now,
        "time_zone": desk.time_zone(home.program_id),
        "usable_wh": home.full_energy_wh * USABLE_PERMILLE // 1000,
        "event_most_wh": home.max_discharge_w * EVENT_HOURS,
        "usd_per_kwh": str(terms.rate.dollars_per_kwh * terms.owner_share) if terms else "0",
    }


async def _cut_short(desk: Desk, home: Enrollment, lines: Sequence[Json]) -> set[str]:
    """Return the settled events that a cancel, or the home's own opt-out, ended before their time."""
    ids = {str(line["event_id"]) for line in lines}
    if not ids:
        return set()
    cancelled = {
        history.latest.event_id
        for history in await desk.store.histories()
        if history.latest.event_id in ids and cancelled_at(history) is not None
    }
    said_no = await desk.store.opt_outs(sorted(ids))
    return cancelled | {each.event_id for each in said_no if each.site_id == home.site_id}


async def _usual_event(desk: Desk, home: Enrollment, lines: Sequence[Json]) -> Json:
    """Return what the home gave and earned on average in its last paid events; None before the first.

    ``usual_floor_pct`` is the lowest reserve that held in them: from what they took above it follows how
    full the battery was at least. Those that were cut short tell nothing of what a whole one takes.
    """
    cut_short = await _cut_short(desk, home, lines)
    paid = [
        line
        for line in lines
        if line["site_id"] == home.site_id
        and line["event_id"] not in cut_short
        and Decimal(str(line["amount_usd"])) > 0
    ]
    recent = sorted(paid, key=lambda line: str(line["starts_at"]))[-RECENT_EVENTS:]
    if not recent:
        return {"usual_wh": None, "usual_usd": None, "usual_floor_pct": None}
    given_wh = 0
    for line in recent:
        hours = line["hours"]
        assert isinstance(hours, list)
        given_wh += sum(hour["metered_wh"] or 0 for hour in hours)
    earned = sum((Decimal(str(line["amount_usd"])) for line in recent), Decimal(0)) / len(recent)
    return {
        "usual_wh": given_wh // len(recent),
        "usual_usd": str(earned.quantize(Decimal("0.01"))),
        "usual_floor_pct": percent(await _lowest_reserve(desk, home, recent)),
    }


async def _lowest_reserve(desk: Desk, home: Enrollment, lines: Sequence[Json]) -> Permille:
    """Return the lowest reserve that held when one of the events began or ended."""
    told = {str(line[name]) for line in lines for name in ("starts_at", "ends_at") if line[name]}
    held = [await desk.store.enrollment(home.site_id, at=datetime.fromisoformat(at)) for at in sorted(told)]
    return min((each.reserve_permille for each in held if each is not None), default=home.reserve_permille)


def _terms_now(desk: Desk, home: Enrollment) -> Terms | None:
    program = desk.programs.get(home.program_id)
    return program.terms_on(desk.clock.now().astimezone(program.zone).date()) if program else None


async def show_own_events(desk: Desk, *, owner_id: str) -> Json:
    """Return every event that is over and concerned a home of the owner, the newest first.

    Returns:
        ``events``: ``event_id, name, site_id, starts_at, ends_at, time_zone, delivered_wh, incremental_wh,
        paid_wh`` (what counts)``, amount_usd, currency, state, why`` (a word: why it is zero, or what was
        special; None where nothing was)``, sentence`` (the same in English)``, test``.
    """
    homes = await homes_of(desk, owner_id)
    settlements = {each.event_id: each for each in await desk.store.settlements(owner_id=owner_id)}
    rows: list[Json] = []
    for history in await desk.store.histories():
        facts = event_facts(desk, history, authorized_w=None)
        if facts["state"] in OVER:
            rows += [
                await _past(desk, home, history, facts, settlements)
                for home in homes
                if concerns(home, history)
            ]
    return {"events": sorted(rows, key=lambda row: str(row["starts_at"]), reverse=True)}


async def _past(
    desk: Desk, home: Enrollment, history: EventHistory, facts: Json, settlements: Mapping[str, Settlement]
) -> Json:
    settlement = settlements.get(history.latest.event_id)
    lines = settlement.lines if settlement else ()
    line = next((each for each in lines if each.site_id == home.site_id), None)
    shared = ("event_id", "name", "starts_at", "ends_at", "time_zone", "test")
    row: Json = {name: facts[name] for name in shared}
    row |= {"site_id": home.site_id, "currency": desk.currency(history.latest.program_id)}
    if settlement is None or line is None:
        why: str | None = await _why_nothing(desk, home, history)
        row |= {"delivered_wh": 0, "incremental_wh": 0, "paid_wh": 0, "amount_usd": usd(0), "state": "none"}
    else:
        why = _why_so(line, by_event=_paid_by_event(desk, history))
        row |= {
            "delivered_wh": sum(hour.metered_wh or 0 for hour in line.hours),
            "incremental_wh": exact(line.incremental_wh),
            "paid_wh": exact(line.paid_wh),
            "amount_usd": usd(line.amount),
            "state": settlement.state.value,
        }
    return row | {"why": why, "sentence": str(ENGLISH.word("why", why)) if why else None}


def _why_so(line: SettlementLine, *, by_event: bool) -> str | None:
    if line.reason:
        return str(line.reason)
    if not by_event:
        return "paid_by_period"
    return None if line.amount else "no_more_than_usual"


def _paid_by_event(desk: Desk, history: EventHistory) -> bool:
    program = desk.programs.get(history.latest.program_id)
    asked = next((each.interval for each in reversed(history.versions) if each.interval), None)
    terms = program.terms_on(program.local_day(asked)) if program and asked else None
    return terms is None or terms.tariff.period is Period.EVENT


async def _why_nothing(desk: Desk, home: Enrollment, history: EventHistory) -> str:
    latest = history.latest
    opt_outs = await desk.store.opt_outs([latest.event_id])
    if any(each.site_id == home.site_id and each.taken_back_at is None for each in opt_outs):
        return "opted_out"
    codes = await last_reasons(desk, latest.event_id)
    if not codes:
        return "never_on" if latest.status is EventStatus.CANCELLED else "never_dispatched"
    reason = REASONS[codes[home.site_no]] if home.site_no < len(codes) else Reason.NOT_ENROLLED
    if reason is not Reason.SELECTED:
        return reason.value
    return "test_event" if is_test(history) else "not_computed"  # a test is never settled
