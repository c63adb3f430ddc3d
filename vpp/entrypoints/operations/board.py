"""The live board of an event, and the fleet as it is now."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from http import HTTPStatus

import numpy as np

from vpp.domain.dispatch_plan import REASONS, Reason, reason_code
from vpp.domain.eligibility import LIVE_FOR_S, STALE_AFTER_S, eligibility
from vpp.domain.event_plan import Demand, EventPlan
from vpp.domain.grid_event import EventHistory, Step, is_test, steps_in_force
from vpp.domain.interval import from_epoch, to_epoch
from vpp.domain.lease import NO_EVENT
from vpp.domain.proof import ProofState
from vpp.domain.quantities import BoolColumn, IntColumn
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant, percent
from vpp.entrypoints.operations.events import authorized_now, event_facts, event_state, step_facts
from vpp.entrypoints.operations.live import Live
from vpp.entrypoints.operations.outlook import unapproved_w
from vpp.entrypoints.operations.paging import cursor_of, offset_at
from vpp.entrypoints.operations.sites import REASON_WORDS

FORECAST_POINTS = 24
PAGE_MOST = 1_000
EVENTS_KEPT = 100
SITES_AT_ONCE = 1_000
SPARE_S = 3600
FIRST_PLAN_WITHIN_S = 30  # two ticks


async def show_board(desk: Desk, *, event_id: str) -> Json:
    """Return how an event stands now.

    Returns:
        What ``vpp event list`` has, and ``now, remaining_s`` (to the end), ``starts_in_s``; ``in_force``
        (steps as its versions asked one after the other, up to a cancel); ``asked_w,
        planned_w, measured_w, shortfall_w`` (W), ``estimated_w`` (of what is measured, that of silent
        sites), ``energy_left_wh`` (above every floor),
        ``energy_needed_wh`` (what is asked to the end), ``sites`` (asked), ``proof`` (sites by state),
        ``fanout`` (``asked`` sites, and of them ``sent, acknowledged`` by their newest command,
        ``delivering, failed`` by what is measured; ``done_in_s`` until the last of the others can be judged),
        ``reasons`` (sites by reason), ``unapproved_w`` (of what is asked now or next, for a second person),
        ``newest_age_s``, ``blind`` (more than half fell silent at once), ``level_pct``;
        ``course``: ``at, asked_w, planned_w, measured_w, estimated_w`` since the first command; ``forecast``:
        ``at, power_w`` to the end.
    """
    history = await desk.history(event_id)
    authorized = await authorized_now(desk)
    return board_facts(desk, desk.running, history, authorized.get(event_id, 0))


def board_facts(desk: Desk, live: Live, history: EventHistory, authorized_w: int | None) -> Json:
    """Return the board of one event, as ``show_board`` has it."""
    now = desk.clock.now()
    event_id = history.latest.event_id
    facts = event_facts(desk, history, authorized_w=authorized_w)
    plan = live.plan(event_id) or EventPlan.empty(len(live.controller.fleet))
    steps = steps_in_force(history)
    starts_at, ends_at = (steps[0].interval.starts_at, steps[-1].interval.ends_at) if steps else _asks(facts)
    remaining_s = max(0, int((ends_at - now).total_seconds())) if ends_at else 0
    starts_in_s = max(0, int((starts_at - now).total_seconds())) if starts_at else 0
    serving = live.serving(event_id, now)
    planned_w = live.planned_w(serving)
    asking = bool(planned_w) or facts["state"] == "active"
    # An event of a program without homes has no plan; what it asks is missing all the same.
    asked_w = (plan.requested_w if plan.revision else _asked_now(history, now, authorized_w)) if asking else 0
    unplanned = starts_at is not None and (now - starts_at).total_seconds() > FIRST_PLAN_WITHIN_S
    shortfall_w = plan.shortfall_w if plan.revision else asked_w if unplanned else 0
    board, output = live.controller.board, live.output(serving)
    codes, counts = np.unique(plan.reason_code, return_counts=True)
    reasons = {REASONS[code].value: int(count) for code, count in zip(codes, counts, strict=True)}
    return facts | {
        "now": instant(now),
        "remaining_s": remaining_s,
        "starts_in_s": starts_in_s,
        "in_force": step_facts(steps),
        "asked_w": asked_w,
        "planned_w": planned_w,
        "measured_w": int(output.measured_w.sum()),
        "estimated_w": int(output.estimated_w.sum()),
        "shortfall_w": shortfall_w if asking else 0,
        "unapproved_w": _unapproved_w(desk, live, history, facts, now),
        "energy_left_wh": live.energy_left_wh(serving),
        "energy_needed_wh": _needed_wh(steps, now, asked_w, authorized_w),
        "sites": int(serving.sum()),
        "proof": live.proof(serving),
        "fanout": asdict(live.fanout(serving, now, unsent=live.controller.unsent.get(event_id, 0))),
        "reasons": reasons if plan.revision else {},
        "newest_age_s": live.newest_sample_age_s(serving, now),
        "blind": bool(board and board.assessment and board.assessment.blind),
        "level_pct": percent(plan.level_permille),
        "course": [
            {
                "at": instant(each.at),
                "asked_w": each.asked_w,
                "planned_w": each.planned_w,
                "measured_w": each.measured_w,
                "estimated_w": each.estimated_w,
            }
            for each in live.course(event_id)
        ],
        "forecast": _forecast(live, serving, now, remaining_s) if planned_w else [],
    }


def _needed_wh(steps: Sequence[Step], now: datetime, asked_w: int, authorized_w: int | None) -> int:
    """Return the energy that the event asks from now to its end, within what is authorized.

    A step that asks for all there is counts as what is asked now.
    """
    needed_ws = 0
    for step in steps:
        left_s = int((step.interval.ends_at - max(now, step.interval.starts_at)).total_seconds())
        power_w = asked_w if step.power is None else step.power
        needed_ws += max(0, left_s) * (power_w if authorized_w is None else min(power_w, authorized_w))
    return needed_ws // 3600


def _asks(facts: Json) -> tuple[datetime, datetime] | tuple[None, None]:
    """Return when an event that nobody dispatches yet would be; None for both once it is over."""
    if facts["state"] not in ("waiting_for_force", "waiting_for_approval"):
        return None, None
    return datetime.fromisoformat(str(facts["starts_at"])), datetime.fromisoformat(str(facts["ends_at"]))


def _asked_now(history: EventHistory, now: datetime, authorized_w: int | None) -> int:
    """Return what the event asks now within what is authorized; zero where all there is, is asked."""
    powers = [step.power for step in steps_in_force(history) if step.interval.contains(now)]
    asked_w = powers[0] or 0 if powers else 0
    return asked_w if authorized_w is None else min(asked_w, authorized_w)


def _unapproved_w(desk: Desk, live: Live, history: EventHistory, facts: Json, now: datetime) -> int:
    """Return what waits for a second person beside what is dispatched; an event that waits whole says so."""
    if facts["state"] not in ("scheduled", "active"):
        return 0
    event, authorized_w = history.latest, facts["authorized_w"]
    assert authorized_w is None or isinstance(authorized_w, int)
    program = desk.programs.get(event.program_id)
    return unapproved_w(live, event, program, event.steps, now=now, authorized_w=authorized_w)


def _forecast(live: Live, serving: BoolColumn, now: datetime, remaining_s: int) -> list[Json]:
    ahead = [remaining_s * point // FORECAST_POINTS for point in range(FORECAST_POINTS + 1)]
    now_s = to_epoch(now)
    powers = live.forecast_w(serving, ahead)
    return [
        {"at": instant(from_epoch(now_s + seconds)), "power_w": power_w}
        for seconds, power_w in zip(ahead, powers, strict=True)
    ]


def standing_reasons(live: Live, now: datetime) -> IntColumn:
    """Return per site why it could not help if its own program asked now; ``SELECTED`` for those that could.

    Sites that an event holds now are ``SELECTED`` as long as they are heard: one that fell silent is offline
    or stale, as for its plan, although its lease runs.
    """
    fleet = live.controller.fleet
    sites, now_s = len(fleet), to_epoch(now)
    nobody: BoolColumn = np.zeros(sites, dtype=np.bool_)
    codes: IntColumn = np.zeros(sites, dtype=np.int64)
    board, busy = live.controller.board, live.busy(now)
    held = nobody if board is None else np.resize(board.held_back_until_s > now_s, sites)
    for program_no in range(len(live.controller.roster.programs)):
        mine = fleet.program_no == program_no
        demand = Demand(
            event_id="", event_no=-1, version=0, program_no=program_no, targeted=~nobody,
            stretches=((0, 600),), authorized_w=None, starts_at=now, ends_at=now, test=False,
        )  # fmt: skip
        found = eligibility(
            fleet, demand, opted_out=nobody, held_back=held, busy=nobody, planned=busy,
            waiting=live.unjudged(), now_s=now_s, judged=board is None or now_s >= board.judged_from_s,
            silent_after_s=2 * live.controller.terms.sample_period_s,
        )  # fmt: skip
        codes = np.where(mine, found, codes)
    stale = reason_code(Reason.STALE)
    codes = np.where(live.silent(busy), np.minimum(codes, stale), codes)  # the first that applies
    heard = busy & (codes != stale) & (codes != reason_code(Reason.OFFLINE))
    return np.where(heard, reason_code(Reason.SELECTED), codes)


async def reasons_in(desk: Desk, event_id: str) -> IntColumn:
    """Return per site why an event's newest plan takes it or does not. Raises OperationRefused."""
    history, live = await desk.history(event_id), desk.running
    plan = live.controller.board.plans.get(event_id) if live.controller.board else None
    known: IntColumn = np.zeros(0, dtype=np.int64)
    if plan is not None:
        known = plan.reason_code
    elif event_state(history, desk.clock.now()) in ("ended", "cancelled"):
        known = np.frombuffer(await last_reasons(desk, event_id), np.uint8).astype(np.int64)
    if not len(known):
        raise OperationRefused(f"event {event_id} has not been planned", HTTPStatus.CONFLICT)
    codes = np.full(len(live.controller.fleet), REASONS.index(Reason.NOT_ENROLLED), dtype=np.int64)
    codes[: len(known)] = known[: len(codes)]
    return codes


async def last_reasons(desk: Desk, event_id: str) -> bytes:
    """Return each site's last reason code in an event that is over, by number; empty where none was planned.

    Kept while the process lives: the plans of a whole fleet are long to read, and these change no more.
    """
    kept = desk.live.reasons.get(event_id) if desk.live else None
    if kept is not None:
        return kept
    revisions = await desk.store.revisions(event_id)
    codes = revisions[-1].reason_code.astype(np.uint8).tobytes() if revisions else b""
    if desk.live is not None:
        desk.live.reasons[event_id] = codes
        while len(desk.live.reasons) > EVENTS_KEPT:
            del desk.live.reasons[next(iter(desk.live.reasons))]
    return codes


async def list_fleet(
    desk: Desk,
    *,
    search: str = "",
    reason: str = "",
    county: str = "",
    event: str = "",
    proof: str = "",
    offset: int = 0,
    cursor: str = "",
    limit: int = 50,
) -> Json:
    """Return the fleet as it is now, by site number, without personal data.

    Args:
        search: Part of a site id, county or feeder, in any case.
        reason: Only sites with this word of the eligibility list.
        county: Only sites of this county.
        event: Say each site's reason in this event's newest plan, in place of whether it could help now.
        proof: Only sites whose command is proved so far, such as ``silent``; with an event, of that event.
        offset: How many to pass over.
        cursor: ``next_cursor`` of the page before, in place of an offset.
        limit: At most this many, up to 1,000.

    Returns:
        ``total`` (sites that match), ``offset``, ``sites`` (``site_id, program_id, county, feeder,
        charge_pct, power_w`` (positive discharges; at ``sampled_at``), ``age_s, online, setpoint_w,
        event_id`` (for which it is commanded now, None for none)``, test`` (that one is)``, proof, reason``
        (``selected`` does help, or could)``, sentence``); ``test`` (the event named is one); ``by_reason``
        (all sites); ``asked`` (commanded now, for any event), and of them ``silent``; ``online, enrolled``;
        ``spare_w`` (what idle homes could hold for an hour); ``next_cursor``.
    """
    offset = offset_at(cursor) if cursor else max(0, offset)
    live, now = desk.running, desk.clock.now()
    fleet = live.controller.fleet
    standing = standing_reasons(live, now)
    codes = await reasons_in(desk, event) if event else standing
    rows = _matching(live, codes, search, reason, county, _proved(live, proof, event, now))
    busy = live.busy(now)
    counts = np.bincount(codes, minlength=len(REASONS))
    shown = rows[offset : offset + max(1, min(limit, PAGE_MOST))]
    following = offset + len(shown)
    return {
        "total": len(rows),
        "test": bool(event) and is_test(await desk.history(event)),
        "offset": offset,
        "next_cursor": cursor_of(str(following)) if following < len(rows) else None,
        "enrolled": int(fleet.enrolled.sum()),
        "spare_w": live.held_w((standing == reason_code(Reason.SELECTED)) & ~busy, SPARE_S),
        "asked": int(busy.sum()),
        "silent": int(live.silent(busy).sum()),
        "online": int((fleet.online & fleet.enrolled).sum()),
        "by_reason": {each.value: int(counts[place]) for place, each in enumerate(REASONS) if counts[place]},
        "sites": _sites_now(live, shown, codes, now, of_event=bool(event)),
    }


async def every_site(
    desk: Desk, *, search: str = "", reason: str = "", county: str = "", event: str = "", proof: str = ""
) -> AsyncIterator[list[Json]]:
    """Return all homes that match, as ``list_fleet`` has them, in parts; dispatch goes on in between."""
    live, now = desk.running, desk.clock.now()
    codes = await reasons_in(desk, event) if event else standing_reasons(live, now)
    rows = _matching(live, codes, search, reason, county, _proved(live, proof, event, now))

    async def parts() -> AsyncIterator[list[Json]]:
        for first in range(0, len(rows), SITES_AT_ONCE):
            part = rows[first : first + SITES_AT_ONCE]
            yield _sites_now(live, part, codes, now, of_event=bool(event))
            await asyncio.sleep(0)

    return parts()


def _proved(live: Live, proof: str, event: str, now: datetime) -> BoolColumn:
    """Return the sites whose command is proved so far; without a word all. Raises OperationRefused."""
    if not proof:
        return np.ones(len(live.controller.fleet), dtype=np.bool_)
    words = [state.name.lower() for state in ProofState]
    if proof not in words:
        raise OperationRefused(f"proof {proof[:30]!r} is none of {', '.join(words)}")
    found = live.in_state(ProofState(words.index(proof)))
    return found & live.serving(event, now) if event else found


def _matching(
    live: Live, codes: IntColumn, search: str, reason: str, county: str, among: BoolColumn
) -> IntColumn:
    """Return the rows of the sites that match. Raises OperationRefused."""
    if reason and reason not in list(Reason):
        raise OperationRefused(f"reason {reason[:30]!r} is none of {', '.join(Reason)}")
    fleet = live.controller.fleet
    matching = among.copy()
    if reason:
        matching &= codes == REASONS.index(Reason(reason))
    if county:
        number = live.controller.roster.counties.find(county)
        matching &= fleet.county_no == (-1 if number is None else number)
    rows = np.flatnonzero(matching)
    return _named(live, rows, search.lower()[:100]) if search else rows


def _named(live: Live, rows: IntColumn, word: str) -> IntColumn:
    enrollments = live.controller.roster.enrollments
    found = [
        row
        for row in rows.tolist()
        if word in enrollments[row].site_id
        or word in enrollments[row].county.lower()
        or word in enrollments[row].feeder.lower()
    ]
    return np.array(found, dtype=np.int64)


WORDS_NOW = REASON_WORDS | {Reason.SELECTED: "ready"}
"""What is said of a home that no event asks now: it takes no part, however well it could."""


def site_now(live: Live, row: int, reason: Reason, now: datetime) -> Json:
    """Return one home as it is now, without its owner."""
    return _site_now(live, row, reason, _Asked.of(live, now), now, WORDS_NOW)


def _sites_now(live: Live, rows: IntColumn, codes: IntColumn, now: datetime, *, of_event: bool) -> list[Json]:
    asked, words = _Asked.of(live, now), REASON_WORDS if of_event else WORDS_NOW
    return [_site_now(live, row, REASONS[codes[row]], asked, now, words) for row in rows.tolist()]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What every site is commanded now, for which event, and how far; which events are tests."""

    setpoint_w: IntColumn
    state: IntColumn
    event_no: IntColumn
    event_ids: tuple[str, ...]
    tests: frozenset[str]

    @classmethod
    def of(cls, live: Live, now: datetime) -> "_Asked":
        setpoint_w = np.where(live.busy(now), live.setpoint_w(), 0)
        return cls(setpoint_w, live.states(), live.served_no(now), live.event_ids(), live.tests())

    def event_id(self, row: int) -> str | None:
        number = int(self.event_no[row])
        return None if number == NO_EVENT else self.event_ids[number]


def _site_now(
    live: Live, row: int, reason: Reason, asked: _Asked, now: datetime, words: Mapping[Reason, str]
) -> Json:
    fleet = live.controller.fleet
    enrollment = live.controller.roster.enrollments[row]
    sampled_s = int(fleet.sampled_at_s[row])
    event_id = asked.event_id(row)
    return {
        "site_id": enrollment.site_id,
        "program_id": enrollment.program_id,
        "county": enrollment.county,
        "feeder": enrollment.feeder,
        "charge_pct": percent(int(fleet.soc_permille[row])) if sampled_s else None,
        "power_w": int(fleet.battery_w[row]) if sampled_s else None,
        "energy_full_wh": int(fleet.energy_full_wh[row]),
        "max_discharge_w": int(fleet.max_discharge_w[row]),
        "discharge_limit_w": int(fleet.discharge_limit_w[row]) if sampled_s else None,
        "reserve_pct": percent(int(fleet.vpp_reserve_permille[row])),
        "home_reserve_pct": percent(int(fleet.home_reserve_permille[row])),
        "age_s": max(0, to_epoch(now) - sampled_s) if sampled_s else None,
        "sampled_at": instant(from_epoch(sampled_s)) if sampled_s else None,
        "online": bool(fleet.online[row]),
        "setpoint_w": int(asked.setpoint_w[row]),
        "event_id": event_id,
        "test": event_id in asked.tests,
        "proof": ProofState(int(asked.state[row])).name.lower(),
        "reason": reason.value,
        "sentence": (words if event_id is None else REASON_WORDS)[reason],
    }


def freshness(desk: Desk) -> Json:
    """Return how many homes reported last within which time, and how many never did.

    Returns:
        ``within_90_s, within_10_min, within_1_h, older, never``: enrolled homes, each counted once.
    """
    fleet, now_s = desk.running.controller.fleet, to_epoch(desk.clock.now())
    sampled_s = fleet.sampled_at_s[fleet.enrolled]
    age_s = now_s - sampled_s[sampled_s > 0]
    counts = np.histogram(age_s, bins=[-(10**9), LIVE_FOR_S, STALE_AFTER_S, 3600, 10**12])[0].tolist()
    names = ("within_90_s", "within_10_min", "within_1_h", "older")
    return dict(zip(names, counts, strict=True)) | {"never": int((sampled_s == 0).sum())}


def site_row(live: Live, site_id: str) -> int:
    """Return a site's row in the fleet. Raises OperationRefused where it has none."""
    row = live.controller.roster.site_no_of.get(site_id)
    if row is None:
        raise OperationRefused(f"site {site_id[:60]} is not enrolled", HTTPStatus.NOT_FOUND)
    return row


def site_reason(live: Live, row: int, now: datetime) -> Reason:
    """Return why one home could or could not help now."""
    return REASONS[int(standing_reasons(live, now)[row])]


def by_word(
    column: np.ndarray[tuple[int], np.dtype[np.int32]], words: Sequence[str], power_w: IntColumn
) -> list[Json]:
    """Return ``name, power_w, sites`` for each word whose sites give any power, most power first."""
    sums = np.bincount(column, weights=power_w, minlength=len(words)).astype(np.int64)
    sites = np.bincount(column[power_w > 0], minlength=len(words))
    order = np.argsort(-sums, kind="stable")
    return [
        {"name": words[place], "power_w": int(sums[place]), "sites": int(sites[place])}
        for place in order.tolist()
        if sums[place]
    ]
