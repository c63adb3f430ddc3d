"""Homes: enrol them, list them, say why one takes part, and hear their owners."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus

from vpp.domain.command import PlanRevision
from vpp.domain.dispatch_plan import REASONS, Reason
from vpp.domain.enrollment import Enrollment, EnrollmentRequest, OptOut, ReserveChange
from vpp.domain.grid_event import EventHistory, EventStatus, is_test
from vpp.domain.program import Terms
from vpp.domain.proof import ProofState
from vpp.domain.quantities import IntColumn
from vpp.entrypoints.operations.desk import (
    Desk,
    Json,
    OperationRefused,
    instant,
    instant_or_none,
    local_words,
    percent,
    percent_or_none,
)
from vpp.entrypoints.operations.paging import cursor_of, key_at, not_given
from vpp.ports import ConflictingFact
from vpp.wire.enrollment_file import BadEnrollmentFile, read_ended, read_enrollments, read_percent

PROOF_WORDS = {
    ProofState.SHORT: "the home takes part and gives less than it was asked",
    ProofState.REFUSED: "the home's gateway refused the command",
    ProofState.NO_ANSWER: "the home takes part, but its gateway has not answered the command",
    ProofState.SILENT: "the home takes part, but does not report; its command runs out by itself",
}
"""What is known against a command, for people."""

REASON_WORDS = {
    Reason.NO_CONSENT: "the owner has given no consent",
    Reason.NOT_ENROLLED: "the home has left the program",
    Reason.OTHER_PROGRAM: "the home is in another program",
    Reason.NOT_TARGETED: "the event is meant for other homes",
    Reason.SEASON_CAP: "the home has done all that one home is asked for in this season or year",
    Reason.OPTED_OUT: "the owner opted out of this event",
    Reason.OFFLINE: "the home is offline",
    Reason.STALE: "the home's newest sample is too old to rely on",
    Reason.ISLANDED: "the home is cut off from the grid and runs on its battery",
    Reason.STORM_MODE: "the battery is held full for a storm",
    Reason.FAULTED: "the battery reports a fault",
    Reason.EXPORT_NOT_PERMITTED: "the connection does not permit any discharge now",
    Reason.BELOW_RESERVE: "the charge is at or under the owner's reserve",
    Reason.HELD_BACK: "the home refused or fell short lately and rests for a while",
    Reason.FEEDER_LIMIT: "the feeder's limit is used by fuller homes",
    Reason.NOT_NEEDED: "fuller homes cover what is asked",
    Reason.SELECTED: "the home takes part",
}


async def enroll_sites(desk: Desk, *, content: bytes, file_name: str) -> Json:
    """Enrol every home of a file, or none.

    Args:
        content: CSV with the header ``site_id,owner_id,program_id,utility,county,feeder,full_energy_wh,
            max_discharge_w,reserve_pct,gateway_public_key,consent_version,consent_at`` and, where wanted,
            ``other_programs`` and ``meter_accuracy_pct`` (how far the meter that pays may be off by its
            class, 0.5 for a Powerwall 3): energy in Wh, power in W, the reserve in percent of the app's
            scale, the key base64url of 32 bytes, the time RFC 3339 with its zone.
        file_name: What the file is called in complaints about it.

    Returns:
        ``sites``: one ``{site_id, shard}`` for each row, in the order of the file, and ``ends`` where the
        home leaves some of its ``other_programs`` by joining this one: those; who runs them ends them.
    """
    known = {enrollment.site_id for enrollment in await desk.store.enrollments()}
    now = desk.clock.now()
    today = _terms_today(desk, now)
    ends_others = {each: terms.ends_others for each, terms in today.items()}
    try:
        requests = read_enrollments(
            content,
            now=now,
            file_name=file_name,
            program_ids=desk.programs.keys(),
            enrolled=known,
            also_enrolled={each: terms.also_enrolled for each, terms in today.items()},
            ends_others=ends_others,
            utilities=_utilities(desk),
        )
        await _refuse_two_currencies(desk, requests, file_name)
        enrolled = await desk.store.enroll(requests, at=now)
    except BadEnrollmentFile as failure:
        faults = str(failure).splitlines()
        raise OperationRefused(
            f"{file_name}: {len(faults)} faults, nothing of it was enrolled", faults=faults
        ) from failure
    except ConflictingFact as failure:
        raise OperationRefused(f"{file_name}: {failure}", HTTPStatus.CONFLICT) from failure
    desk.changed()
    ended = read_ended(content, ends_others)
    ends = {site_id: {"ends": list(others)} for site_id, others in ended.items()}
    return {
        "sites": [
            {"site_id": each.site_id, "shard": each.shard} | ends.get(each.site_id, {}) for each in enrolled
        ]
    }


async def _refuse_two_currencies(desk: Desk, requests: Sequence[EnrollmentRequest], file_name: str) -> None:
    """Refuse homes by which an owner would earn in two currencies: one account holds one."""
    currency_of = {
        each.owner_id: desk.programs[each.program_id].currency
        for each in await desk.store.enrollments()
        if each.program_id in desk.programs
    }
    for request in requests:
        currency = desk.programs[request.program_id].currency
        if currency_of.setdefault(request.owner_id, currency) != currency:
            raise OperationRefused(
                f"{file_name}: owner {request.owner_id} is paid in {currency_of[request.owner_id]}, and "
                f"{request.program_id} pays {currency}; enrol site {request.site_id} under another owner id",
                HTTPStatus.CONFLICT,
            )


def _terms_today(desk: Desk, now: datetime) -> dict[str, Terms]:
    """Return the terms of each program that has any today."""
    found = {}
    for program_id, program in desk.programs.items():
        terms = program.terms_on(now.astimezone(program.zone).date())
        if terms is not None:
            found[program_id] = terms
    return found


def _utilities(desk: Desk) -> dict[str, str]:
    """Return, by program, the one utility whose homes it takes.

    A program over several utilities stands under the name of its own group instead, and takes any.
    """
    return {
        program_id: program.utility
        for program_id, program in desk.programs.items()
        if program.utility not in program.groups
    }


def site_facts(enrollment: Enrollment) -> Json:
    """Return one enrolment as JSON: energy in Wh, power in W, reserve in percent of the app scale."""
    return {
        "site_id": enrollment.site_id,
        "site_no": enrollment.site_no,
        "shard": enrollment.shard,
        "owner_id": enrollment.owner_id,
        "program_id": enrollment.program_id,
        "utility": enrollment.utility,
        "county": enrollment.county,
        "feeder": enrollment.feeder,
        "full_energy_wh": enrollment.full_energy_wh,
        "max_discharge_w": enrollment.max_discharge_w,
        "reserve_pct": percent(enrollment.reserve_permille),
        "consent_version": enrollment.consent.version,
        "consent_at": instant(enrollment.consent.given_at),
        "enrolled_at": instant(enrollment.enrolled_at),
        "withdrawn_at": instant_or_none(enrollment.withdrawn_at),
        "meter_accuracy_pct": percent_or_none(enrollment.meter_accuracy_permille),
    }


async def list_sites(desk: Desk, *, cursor: str = "", limit: int | None = None) -> Json:
    """Return ``sites``: enrolments by site number, each as ``vpp site show`` has it; and ``next_cursor``."""
    known = key_at(cursor) if cursor else "-1"
    if cursor and not (known.isascii() and known.isdecimal() and len(known) <= 9):
        raise not_given(cursor)
    more = None if limit is None else limit + 1
    found = list(await desk.store.enrollments(from_site_no=int(known) + 1, limit=more))
    following = None
    if limit is not None and len(found) > limit:
        found, following = found[:limit], cursor_of(str(found[limit - 1].site_no))
    return {"sites": [site_facts(enrollment) for enrollment in found], "next_cursor": following}


async def why_site(desk: Desk, *, site_id: str, event_id: str) -> Json:
    """Say why a home does or does not take part in an event.

    Returns:
        ``site_id, event_id, test, reason`` (a word of the eligibility list, or None before a plan),
        ``sentence``, ``proof`` (``sent, starting, delivering, short, refused, no_answer, silent`` while it is
        commanded and the service runs, else None),
        ``setpoint_w`` (W, what its newest plan asks), ``reserve_floor_pct`` (%), ``revision, planned_at``,
        ``commands`` (sent to it), ``acknowledged``, ``refused`` (its own reasons), ``opted_out_at``.
    """
    enrollment = await desk.enrollment(site_id)
    history = await desk.history(event_id)
    revisions = await desk.store.revisions(event_id)
    opt_out = await _standing_opt_out(desk, site_id, event_id)
    planned = _newest_reasons(desk, event_id, revisions)
    reason = _reason(history, planned, opt_out, enrollment.site_no)
    setpoint_w, floor_permille = _asked(revisions, enrollment.site_no)
    ticks = await desk.store.event_ticks(event_id)
    sequences = {
        (tick.epoch, tick.number)
        for tick in ticks
        if any(enrollment.site_no in order.site_no for order in tick.orders)
    }
    acks = await desk.store.acks(since=ticks[0].at, site_no=enrollment.site_no) if ticks else None
    answers = [
        refusal
        for number, epoch, sequence, refusal in (
            zip(acks.site_no, acks.epoch, acks.sequence, acks.refusal, strict=True) if acks else ()
        )
        if number == enrollment.site_no and (int(epoch), int(sequence)) in sequences
    ]
    proof = desk.live.proof_of(event_id, enrollment.site_no, desk.clock.now()) if desk.live else None
    sentence = REASON_WORDS[reason] if reason else "the event has not been planned"
    return {
        "site_id": site_id,
        "event_id": event_id,
        "test": is_test(history),
        "reason": reason,
        "sentence": PROOF_WORDS.get(proof, sentence) if proof else sentence,
        "proof": proof.name.lower() if proof else None,
        "setpoint_w": setpoint_w,
        "reserve_floor_pct": None if floor_permille is None else percent(floor_permille),
        "revision": revisions[-1].revision if revisions else None,
        "planned_at": instant(revisions[-1].at) if revisions else None,
        "commands": len(sequences),
        "acknowledged": sum(refusal is None for refusal in answers),
        "refused": sorted(refusal.value for refusal in answers if refusal is not None),
        "opted_out_at": instant(opt_out.opted_out_at) if opt_out else None,
    }


def _newest_reasons(desk: Desk, event_id: str, revisions: Sequence[PlanRevision]) -> IntColumn | None:
    """Return the reasons of now where control runs here: a stored plan keeps those of when it was made."""
    plan = desk.live.plan(event_id) if desk.live else None
    if plan is not None:
        return plan.reason_code
    return revisions[-1].reason_code if revisions else None


def _reason(
    history: EventHistory, codes: IntColumn | None, opt_out: OptOut | None, site_no: int
) -> Reason | None:
    if opt_out is not None:
        return Reason.OPTED_OUT
    if codes is None or history.versions[0].status is EventStatus.CANCELLED:
        return None
    return REASONS[int(codes[site_no])] if site_no < len(codes) else Reason.NOT_ENROLLED


def _asked(revisions: Sequence[PlanRevision], site_no: int) -> tuple[int, int | None]:
    """Return the setpoint and floor of the newest revision that names the site."""
    for revision in reversed(revisions):
        rows = (revision.site_no == site_no).nonzero()[0]
        if len(rows):
            return int(revision.setpoint_w[rows[0]]), int(revision.reserve_floor_permille[rows[0]])
    return 0, None


async def _standing_opt_out(desk: Desk, site_id: str, event_id: str) -> OptOut | None:
    for opt_out in await desk.store.opt_outs([event_id]):
        if opt_out.site_id == site_id and opt_out.taken_back_at is None:
            return opt_out
    return None


def _refuse_ended(history: EventHistory, event_id: str, now: datetime, zone: str) -> None:
    latest = history.latest
    if latest.status is EventStatus.CANCELLED:
        raise OperationRefused(f"event {event_id} was cancelled; nothing changed", HTTPStatus.CONFLICT)
    if latest.interval is not None and latest.interval.ends_at <= now:
        at = local_words(latest.interval.ends_at, zone)
        raise OperationRefused(f"event {event_id} ended on {at}; nothing changed", HTTPStatus.CONFLICT)


async def opt_out_site(desk: Desk, *, site_id: str, event_id: str, actor: str) -> Json:
    """Keep a home out of one event from now on; a running discharge is released within seconds.

    Returns:
        ``site_id, event_id, opted_out_at, origin, time_zone``. Asking again changes nothing.
    """
    enrollment = await desk.enrollment(site_id)
    now = desk.clock.now()
    zone = desk.time_zone(enrollment.program_id)
    _refuse_ended(await desk.history(event_id), event_id, now, zone)
    standing = await _standing_opt_out(desk, site_id, event_id)
    if standing is None:
        standing = OptOut(site_id, event_id, now, origin=_origin(actor))
        await desk.store.opt_out(standing)
        desk.changed(site_id)
    return {
        "site_id": site_id,
        "event_id": event_id,
        "opted_out_at": instant(standing.opted_out_at),
        "origin": standing.origin,
        "time_zone": zone,
    }


def _origin(actor: str) -> str:
    return "portal" if actor.startswith("owner:") else "operator"


async def opt_in_site(desk: Desk, *, site_id: str, event_id: str) -> Json:
    """Take back an opt-out of ours. One made at the home ends only at the home.

    Returns:
        ``site_id, event_id, taken_back_at, time_zone``.
    """
    enrollment = await desk.enrollment(site_id)
    now = desk.clock.now()
    zone = desk.time_zone(enrollment.program_id)
    _refuse_ended(await desk.history(event_id), event_id, now, zone)
    if not await desk.store.take_back_opt_out(site_id, event_id, at=now):
        raise OperationRefused(
            f"site {site_id} has no opt-out of ours from event {event_id}; one made at the home ends there",
            HTTPStatus.CONFLICT,
        )
    desk.changed(site_id)
    return {"site_id": site_id, "event_id": event_id, "taken_back_at": instant(now), "time_zone": zone}


async def change_reserve(desk: Desk, *, site_id: str, reserve: str, actor: str) -> Json:
    """Set the VPP reserve of a home: the charge that events leave untouched.

    Args:
        reserve: Percent of the app scale, 0 to 100 with at most one decimal.

    Returns:
        ``site_id, reserve_pct, changed_at, time_zone``. The home's own reserve binds where it is higher.
    """
    enrollment = await desk.enrollment(site_id)
    try:
        permille = read_percent(reserve)
    except ValueError as failure:
        raise OperationRefused(f"reserve {failure}") from failure
    now = desk.clock.now()
    await desk.store.change_reserve(ReserveChange(site_id, permille, now, actor))
    desk.changed(site_id)
    zone = desk.time_zone(enrollment.program_id)
    return {
        "site_id": site_id, "reserve_pct": percent(permille), "changed_at": instant(now), "time_zone": zone,
    }  # fmt: skip
