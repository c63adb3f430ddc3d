"""What an owner may know: the own homes now, what comes, what was earned and why, and who looked."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from http import HTTPStatus

from vpp.domain.dispatch_plan import Reason
from vpp.domain.enrollment import Enrollment
from vpp.domain.grid_event import EventHistory, EventStatus
from vpp.domain.program import Terms
from vpp.domain.settlement import Settlement
from vpp.entrypoints.operations.board import site_now, site_reason
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant, percent, usd
from vpp.entrypoints.operations.events import authorized_now, event_facts
from vpp.entrypoints.operations.money import show_statement
from vpp.entrypoints.operations.sites import REASON_WORDS, site_facts, why_site

USABLE_PERMILLE = 950  # the app's scale hides 5 % of the pack
EVENT_HOURS = 2  # the usual length, for what an event may bring

OVER = ("ended", "cancelled")

# The owner's words where the operator's would not be clear.
OWNER_WORDS: Mapping[str, str] = {
    Reason.NOT_NEEDED: "fuller batteries covered what was asked",
    Reason.OPTED_OUT: "you opted out",
    Reason.OFFLINE: "your gateway was offline",
    Reason.STALE: "your gateway had not reported for a while",
    Reason.BELOW_RESERVE: "your charge was at or near your reserve",
    Reason.ISLANDED: "your home was cut off from the grid and ran on its battery",
    Reason.STORM_MODE: "your battery was held full for a storm",
    Reason.FAULTED: "your battery reported a fault",
    Reason.HELD_BACK: "your battery refused or fell short shortly before and was given a rest",
    Reason.EXPORT_NOT_PERMITTED: "your connection did not permit any discharge",
    Reason.NOT_TARGETED: "the event was meant for other places",
    Reason.FEEDER_LIMIT: "the line of your street was full with fuller batteries",
    Reason.SELECTED: "your battery took part",
    "opted_out": "you opted out",
    "outside_terms": "the event lay outside the program's paid hours",
    "never_on": "the event was cancelled before it began",
    "too_few_similar_days": "there were too few similar days before for a comparison",
    "too_few_days_of_data": "there were too few days of data before for a comparison",
    "readings_missing": "meter readings are missing",
    "readings_bad": "meter readings could not be believed",
}


async def homes_of(desk: Desk, owner_id: str) -> Sequence[Enrollment]:
    """Return an owner's homes by number."""
    return await desk.store.enrollments(owner_id=owner_id)


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
        reason, sentence, setpoint_w, floor_pct, opted_out_at, most_wh`` of each home), ``season_usd``
        (this year's amounts), ``pending_usd, posted_usd, paid_out_usd, what_counts``.
    """
    homes = await homes_of(desk, owner_id)
    statement = await show_statement(desk, owner_id=owner_id)
    now = desk.clock.now()
    coming: list[Json] = []
    authorized = await authorized_now(desk)
    for history in await desk.store.histories(ending_after=now):
        facts = event_facts(desk, history, authorized_w=authorized.get(history.latest.event_id, 0))
        if facts["state"] not in OVER:
            coming += [await _part(desk, home, facts) for home in homes if _concerns(home, history)]
    lines = statement["events"]
    assert isinstance(lines, list)
    this_year = [line for line in lines if str(line["starts_at"] or "").startswith(str(now.year))]
    return {
        "homes": [home_facts(desk, home) for home in homes],
        "coming": coming,
        "season_usd": str(sum((Decimal(str(line["amount_usd"])) for line in this_year), Decimal("0.00"))),
        **{name: statement[name] for name in ("pending_usd", "posted_usd", "paid_out_usd", "what_counts")},
    }


def _concerns(home: Enrollment, history: EventHistory) -> bool:
    return history.latest.program_id == home.program_id and home.withdrawn_at is None


async def _part(desk: Desk, home: Enrollment, event: Json) -> Json:
    why = await why_site(desk, site_id=home.site_id, event_id=str(event["event_id"]))
    return {
        "event": event,
        "site_id": home.site_id,
        "reason": why["reason"],
        "sentence": why["sentence"],
        "setpoint_w": why["setpoint_w"],
        "floor_pct": percent(home.reserve_permille),
        "opted_out_at": why["opted_out_at"],
        "most_wh": usable_wh(home, home.reserve_permille),
    }


def usable_wh(home: Enrollment, reserve_permille: int) -> int:
    """Return the energy of a full battery above a reserve."""
    return home.full_energy_wh * USABLE_PERMILLE * (1000 - reserve_permille) // 1_000_000


def home_facts(desk: Desk, home: Enrollment) -> Json:
    """Return one home of the owner: enrolment, ``now`` where a controller runs, and what a reserve means.

    ``usable_wh`` is the energy of a full charge, ``event_most_wh`` the most one usual event can take,
    ``usd_per_kwh`` what one more counted kWh earns.
    """
    now = None
    if desk.live is not None and home.site_id in desk.live.controller.roster.site_no_of:
        row, moment = desk.live.controller.roster.site_no_of[home.site_id], desk.clock.now()
        now = site_now(desk.live, row, site_reason(desk.live, row, moment), moment)
    terms = _terms_now(desk, home)
    return site_facts(home) | {
        "now": now,
        "time_zone": desk.time_zone(home.program_id),
        "usable_wh": home.full_energy_wh * USABLE_PERMILLE // 1000,
        "event_most_wh": home.max_discharge_w * EVENT_HOURS,
        "usd_per_kwh": str(terms.rate.dollars_per_kwh * terms.owner_share) if terms else "0",
    }


def _terms_now(desk: Desk, home: Enrollment) -> Terms | None:
    program = desk.programs.get(home.program_id)
    return program.terms_on(desk.clock.now().astimezone(program.zone).date()) if program else None


async def show_own_events(desk: Desk, *, owner_id: str) -> Json:
    """Return every event that is over and concerned a home of the owner, the newest first.

    Returns:
        ``events``: ``event_id, name, site_id, starts_at, ends_at, time_zone, delivered_wh, incremental_wh,
        amount_usd, state, sentence`` (why it is zero, or what was special)``, test``.
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
                if _concerns(home, history)
            ]
    return {"events": sorted(rows, key=lambda row: str(row["starts_at"]), reverse=True)}


async def _past(
    desk: Desk, home: Enrollment, history: EventHistory, facts: Json, settlements: Mapping[str, Settlement]
) -> Json:
    event_id = history.latest.event_id
    settlement = settlements.get(event_id)
    lines = settlement.lines if settlement else ()
    line = next((each for each in lines if each.site_id == home.site_id), None)
    shared = ("event_id", "name", "starts_at", "ends_at", "time_zone", "test")
    row: Json = {name: facts[name] for name in shared} | {"site_id": home.site_id}
    if settlement is None or line is None:
        nothing = {"delivered_wh": 0, "incremental_wh": 0, "amount_usd": usd(0), "state": "none"}
        return row | nothing | {"sentence": await _why_nothing(desk, home, history)}
    sentence = OWNER_WORDS.get(line.reason, line.reason.replace("_", " ")) if line.reason else None
    if sentence is None and not line.amount:
        sentence = "your battery gave no more than on similar days"
    return row | {
        "delivered_wh": sum(hour.metered_wh or 0 for hour in line.hours),
        "incremental_wh": round(line.incremental_wh),
        "amount_usd": usd(line.amount),
        "state": settlement.state.value,
        "sentence": sentence,
    }


async def _why_nothing(desk: Desk, home: Enrollment, history: EventHistory) -> str:
    latest = history.latest
    why = await why_site(desk, site_id=home.site_id, event_id=latest.event_id)
    if why["commands"]:
        return "your battery took part; the result is not computed yet"
    if latest.status is EventStatus.CANCELLED and not why["reason"]:
        return "the event was cancelled before it began"
    word = str(why["reason"] or "")
    general = {reason.value: text for reason, text in REASON_WORDS.items()}
    return OWNER_WORDS.get(word) or general.get(word, "the event was never dispatched")


async def show_own_data(desk: Desk, *, owner_id: str) -> Json:
    """Return consents and who read the owner's data: ``homes``, ``reads`` (``at, actor, action, reason``)."""
    reads = await desk.store.trail(subject=f"owner:{owner_id}", limit=1000)
    return {
        "homes": [site_facts(home) for home in await homes_of(desk, owner_id)],
        "reads": [
            {"at": instant(each.at), "actor": each.actor, "action": each.action, "reason": each.reason}
            for each in reads
        ],
    }


async def export_owner(desk: Desk, *, owner_id: str) -> Json:
    """Return everything that is stored about an owner: data, events, statement."""
    return {
        "owner_id": owner_id,
        "exported_at": instant(desk.clock.now()),
        "data": await show_own_data(desk, owner_id=owner_id),
        "events": (await show_own_events(desk, owner_id=owner_id))["events"],
        "statement": await show_statement(desk, owner_id=owner_id),
    }
