"""Settle: from readings and terms to what each owner earned in one event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Protocol

import numpy as np

from vpp.domain.baseline import LOOKBACK_DAYS, DayDropped
from vpp.domain.command import commanded_sites, discharges
from vpp.domain.delivery import ReadingColumns, counter_track, together
from vpp.domain.enrollment import Enrollment
from vpp.domain.grid_event import EventHistory, authorized_steps, ever_asks_for_all, is_test
from vpp.domain.holding import Course, held_elsewhere
from vpp.domain.interval import Interval, to_epoch, union, whole_second
from vpp.domain.metered_hours import HOUR_S, MeteredEnergy
from vpp.domain.program import NegativePolicy, Program, seconds_within
from vpp.domain.quantities import IntColumn, column
from vpp.domain.season_hours import forced_beyond_season_at
from vpp.domain.season_netting import later_in_season, netted_again, that_may_carry
from vpp.domain.settled_event import (
    LIKELY_DAYS,
    READ_AROUND,
    Grounds,
    SettledEvent,
    broken_hours,
    closing_time,
    earliest_start,
    event_hours,
    every_hour,
    likely_hours,
    reading_intervals,
    settled_event,
)
from vpp.domain.settlement import Settlement, SettlementLine, SettlementState, SiteQuality, same_result
from vpp.domain.settlement_case import Exclusion, SettlementCase, held_alike
from vpp.domain.site_earnings import NEVER_OPTED_OUT, SettledSites, settle_metered, settle_sites
from vpp.money_ports import Books
from vpp.ports import Clock, DispatchStore, MeterStore, Registry, SignalStore

CHUNK_SITES = 10_000
"""Homes whose hours are held at once, about 100 MB."""
CHUNK_SITES_READ = 250
"""Homes whose readings are held at once: 46 evenings of five-minute readings are about 80 MB."""


class UnknownProgram(Exception):
    """An event's program is not among the program files."""


class SettleStore(Registry, SignalStore, DispatchStore, MeterStore, Books, Protocol):
    """What settlement reads, and where it writes."""


async def settlement_grounds(
    history: EventHistory, run: Settlement, *, store: SettleStore, programs: Mapping[str, Program]
) -> Grounds | None:
    """Return what an event's settlement, the one that stands, stands on; None where it was never on.

    Raises:
        NoTerms: The program has no terms for the event's date.
    """
    others = await _other_events(history, store)
    asked = await _asked([history, *others], store)
    on = asked[history.latest.event_id]
    if not on:
        return None
    program = _program_of(history, programs)
    before = run.settled_at + timedelta(seconds=1)  # it ran within that second
    if run.state is not SettlementState.CORRECTED:
        before = min(before, closing_time(on[-1].ends_at, program))
    case = await _case(history, others, program, on, store, before)
    taken = await _taken(case, others, asked, store)
    commanded = commanded_sites(await store.event_ticks(history.latest.event_id))
    sites = case.grounds(commanded, taken)
    return Grounds(case.event, on, tuple(sites.values()), case.excluded(column(sites)), before)


async def settle(
    history: EventHistory,
    *,
    store: SettleStore,
    programs: Mapping[str, Program],
    clock: Clock,
    correcting: bool = False,
) -> Settlement | None:
    """Append an event's settlement and return the one that stands; None while there is none.

    Settled is every site that was given at least one discharge, from the event's beginning to its end
    or to that site's own opt-out; where power is paid, also every site whose owner said no before it was
    given one, with none. Provisional until the program's close date, then final, from what had been received
    until then, whenever it runs. A run that says what the newest one says is not stored again. A final
    settlement stands until a person starts a correction (``correcting``), which takes in all that came
    since. A test event is never settled.

    Raises:
        NoTerms: The program has no terms for the event's date.
    """
    event_id, now = history.latest.event_id, whole_second(clock.now())
    if is_test(history):
        return None
    standing = await store.settlement_totals(event_id)
    closed = standing is not None and standing.state is not SettlementState.PROVISIONAL
    asked = any(version.steps for version in history.versions)
    if (closed and not correcting) or not asked:
        # If it was cancelled before anything was asked, perhaps not even the program is known.
        return await store.settlement(event_id)
    worked = await _work_out(history, store=store, programs=programs, now=now, corrected=closed)
    if worked is None:
        return await store.settlement(event_id)
    settled_before = standing is not None
    if worked.event.terms.negative_policy is not NegativePolicy.NET_SEASON_FLOOR_ZERO:
        return await _keep(worked.run, settled_before, store)
    while True:
        season = await _season(worked, store=store, programs=programs, now=now)
        kept = await _keep(netted_again(worked.event, worked.run, season), settled_before, store)
        if kept is None or kept.state is SettlementState.PROVISIONAL:
            return kept  # the next pass takes in what changed meanwhile
        # Of two corrections at once the one that is kept last looks once more, and nets with what stands.
        if same_result(kept, netted_again(worked.event, kept, await _season_now(worked, season, store))):
            return kept
        settled_before = True


@dataclass(frozen=True, slots=True)
class _WorkedOut:
    """What readings make of an event before a season nets, and which events may carry energy to it."""

    event: SettledEvent
    run: Settlement
    beside: Sequence[EventHistory]


async def _work_out(
    history: EventHistory,
    *,
    store: SettleStore,
    programs: Mapping[str, Program],
    now: datetime,
    corrected: bool,
) -> _WorkedOut | None:
    """Return what the readings make of an event; None while it is not over, or where it was never on."""
    event_id, program = history.latest.event_id, _program_of(history, programs)
    others = await _other_events(history, store)
    asked = await _asked([history, *others], store)
    on = asked[event_id]
    if not on or on[-1].ends_at > now:
        return None
    commanded = commanded_sites(await store.event_ticks(event_id))
    closes_at = closing_time(on[-1].ends_at, program)
    before = closes_at if now >= closes_at and not corrected else None
    case = await _case(history, others, program, on, store, before)
    taken = await _taken(case, others, asked, store)
    lines = list(case.stayed_out(commanded))
    for held, site_nos in held_alike(case.event, commanded, taken):
        lines.extend(await _settle_group(replace(case, event=held), site_nos, store))
    beside = that_may_carry(others, asked, program, on[-1].ends_at)
    ends = [on[-1].ends_at, *(asked[each.latest.event_id][-1].ends_at for each in beside)]
    # Where a season nets, no event is final before all are closed that may carry energy to it.
    final_at = closing_time(max(ends), program) if program.nets_seasons else closes_at
    state = SettlementState.FINAL if now >= final_at else SettlementState.PROVISIONAL
    run = Settlement(
        event_id=event_id,
        program_id=program.program_id,
        state=SettlementState.CORRECTED if corrected else state,
        settled_at=now,
        lines=tuple(line for _, line in sorted(lines, key=lambda each: each[0])),
        parts=case.event.parts,
    )
    return _WorkedOut(case.event, run, beside)


async def _season(
    worked: _WorkedOut, *, store: SettleStore, programs: Mapping[str, Program], now: datetime
) -> list[Settlement]:
    """Return the settlements from which energy may be carried to an event.

    Those that stand. An event that began before this one's end and has none yet is worked out here; so is,
    for a settlement that no pass will look at again, one that is still provisional. So no cent depends on
    the order in which events are settled, nor on how long nobody settled them.
    """
    runs = {each.event_id: each for each in await store.settlements()}
    for history in worked.beside:
        standing = runs.get(history.latest.event_id)
        provisional = standing is not None and standing.state is SettlementState.PROVISIONAL
        if standing is None or (provisional and worked.run.state is not SettlementState.PROVISIONAL):
            other = await _work_out(history, store=store, programs=programs, now=now, corrected=False)
            if other is not None:
                runs[other.run.event_id] = other.run
    return list(runs.values())


async def _season_now(worked: _WorkedOut, season: Sequence[Settlement], books: Books) -> list[Settlement]:
    """Return what a season carries to an event by now: closed runs as they stand, the others as before."""
    runs = {each.event_id: each for each in season}
    for each in await books.settlements():
        if each.state is not SettlementState.PROVISIONAL and each.event_id != worked.run.event_id:
            runs[each.event_id] = each
    return list(runs.values())


async def settle_later(
    changed: Settlement, *, store: SettleStore, programs: Mapping[str, Program], clock: Clock
) -> tuple[Settlement, ...]:
    """Return the settlements of a season's later events after an earlier one was settled, in their order.

    Where the season nets, one that would pay otherwise now is settled again; the others stand. After a
    correction, closed ones too, as by a correction of their own: from all readings there are. Else only
    those that are provisional are looked at and returned. Doing it again settles nothing by itself.
    """
    program = programs.get(changed.program_id)
    correcting = changed.state is SettlementState.CORRECTED
    if program is None or not program.nets_seasons:
        return ()
    asked = await _asked(await store.histories(), store)
    runs = {
        each.event_id: each for each in await store.settlements() if each.program_id == program.program_id
    }
    events = {
        event_id: settled_event(event_id, program, on, Interval(on[0].starts_at, on[-1].ends_at))
        for event_id in runs
        if (on := asked.get(event_id))
    }
    later = [
        event
        for event in later_in_season(events.get(changed.event_id), events.values())
        if correcting or runs[event.event_id].state is SettlementState.PROVISIONAL
    ]
    for event in later:
        standing = runs[event.event_id]
        if not same_result(standing, netted_again(event, standing, tuple(runs.values()))):
            history = await store.history(event.event_id)
            assert history is not None, f"event {event.event_id} was settled, so it was committed"
            again = await settle(history, store=store, programs=programs, clock=clock, correcting=correcting)
            runs[event.event_id] = again or standing
    return tuple(runs[event.event_id] for event in later)


def _program_of(history: EventHistory, programs: Mapping[str, Program]) -> Program:
    """Return the event's program. Raises UnknownProgram where its file is not here any more."""
    program = programs.get(history.latest.program_id)
    if program is None:
        raise UnknownProgram(
            f"event {history.latest.event_id} belongs to program {history.latest.program_id!r}, which no "
            "program file describes; put its file back to settle the event"
        )
    return program


async def _keep(run: Settlement, settled_before: bool, books: Books) -> Settlement | None:
    """Store a run that says something new; return the one that stands. Of nobody there is none at first."""
    if not settled_before and not run.lines:
        return None
    stands = await books.settle(run)
    return replace(run, state=stands.state, settled_at=stands.settled_at)


async def _other_events(history: EventHistory, store: SettleStore) -> list[EventHistory]:
    """Return the other events that can share a site with this one or spoil a day of its baselines."""
    earliest, mine = earliest_start(history) - timedelta(days=LOOKBACK_DAYS + 2), history.latest.event_id
    return [each for each in await store.histories(ending_after=earliest) if each.latest.event_id != mine]


async def _asked(histories: Sequence[EventHistory], store: SettleStore) -> dict[str, tuple[Interval, ...]]:
    """Return, by event id, the stretches in which each event was on, with the leave it needed.

    Of its source's limit an event without a setpoint used what its plans could cover: at dispatch the
    rest went to the events after it, and they are settled too.
    """
    limits = {source.name: source.max_power_w for source in await store.sources()}
    planned_w = {}
    for event_id in [each.latest.event_id for each in histories if ever_asks_for_all(each)]:
        made = await store.revisions(event_id)
        planned_w[event_id] = min((each.requested_w - each.shortfall_w for each in made), default=0)
    asked: dict[str, tuple[Interval, ...]] = {}
    for name in sorted({history.versions[0].source for history in histories}):
        group = [history for history in histories if history.versions[0].source == name]
        for event_id, steps in authorized_steps(
            group, max_power_w=limits.get(name, 0), planned_w=planned_w
        ).items():
            asked[event_id] = union(step.interval for step in steps)
    return asked


async def _case(
    history: EventHistory,
    others: Sequence[EventHistory],
    program: Program,
    on: Sequence[Interval],
    store: SettleStore,
    before: datetime | None,
) -> SettlementCase:
    event = settled_event(
        history.latest.event_id,
        program,
        on,
        Interval(on[0].starts_at, on[-1].ends_at),
        season_left_s=await _season_left_s(history, program, on[0].starts_at, store),
    )
    roster = await store.enrollments()
    return SettlementCase(
        event=event,
        roster=roster,
        opted_out_s=await _opted_out_s(event.event_id, roster, on[-1].ends_at, store),
        exclusions=(
            *await _excluded_by_hand(roster, store, before),
            *await _excluded_by_command(event, others, store),
        ),
        received_before=before,
    )


async def _season_left_s(
    history: EventHistory, program: Program, starts_at: datetime, store: SettleStore
) -> int | None:
    """Return what other events left of the season's hours, for an event that was forced to pass them.

    Every event that lies inside them comes before it, whenever it starts, and of the forced ones those
    that were forced earlier. One accepted since takes nothing from it: it counted this one as a whole.
    """
    forced_at = forced_beyond_season_at(history)
    day = starts_at.astimezone(program.zone).date()
    season, terms = program.season_around(day), program.terms_on(day)
    if forced_at is None or season is None or terms is None:
        return None
    counting: dict[str, EventHistory] = {
        each.latest.event_id: each
        for each in await store.histories()
        if each.latest.program_id == program.program_id and not is_test(each)
    }
    asked = await _asked(list(counting.values()), store)
    mine = (forced_at, history.latest.event_id)
    used: list[Interval] = []
    for event_id, other in counting.items():
        theirs = forced_beyond_season_at(other)
        if event_id != history.latest.event_id and (theirs is None or (theirs, event_id) < mine):
            used += asked[event_id]
    return max(0, terms.season_cap_s - seconds_within(used, season))


async def _opted_out_s(
    event_id: str, roster: Sequence[Enrollment], ends_at: datetime, registry: Registry
) -> IntColumn:
    """Return each site's first opt-out that still stood at the end; one taken back before does not count."""
    site_no_of = {each.site_id: each.site_no for each in roster}
    first = np.full(len(roster), NEVER_OPTED_OUT, dtype=np.int64)
    for opt_out in await registry.opt_outs([event_id]):
        taken_back = opt_out.taken_back_at is not None and opt_out.taken_back_at < ends_at
        if not taken_back and opt_out.site_id in site_no_of:
            site_no = site_no_of[opt_out.site_id]
            first[site_no] = min(first[site_no], to_epoch(opt_out.opted_out_at))
    return first


async def _excluded_by_hand(
    roster: Sequence[Enrollment], meters: MeterStore, before: datetime | None
) -> list[Exclusion]:
    site_no_of = {each.site_id: each.site_no for each in roster}
    found: list[Exclusion] = []
    for site_id, day, reason in await meters.excluded_days(before=before):
        if site_id == "*":
            found.append((None, day, DayDropped(reason)))
        elif site_id in site_no_of:
            found.append((column([site_no_of[site_id]]), day, DayDropped(reason)))
    return found


async def _excluded_by_command(
    event: SettledEvent, others: Sequence[EventHistory], dispatch: DispatchStore
) -> list[Exclusion]:
    """Return the days before it on which other events commanded sites, tests and unpaid events included."""
    commanded: dict[date, list[IntColumn]] = {}
    for other in others:
        if earliest_start(other).astimezone(event.program.zone).date() >= event.day:
            continue
        for order in discharges(await dispatch.event_ticks(other.latest.event_id)):
            day = order.starts_at.astimezone(event.program.zone).date()
            last = (order.expires_at - timedelta(seconds=1)).astimezone(event.program.zone).date()
            while day <= last:
                commanded.setdefault(day, []).append(order.site_no)
                day += timedelta(days=1)
    return [
        (np.unique(np.concatenate(site_nos)), day, DayDropped.EVENT)
        for day, site_nos in sorted(commanded.items())
    ]


async def _taken(
    case: SettlementCase,
    others: Sequence[EventHistory],
    asked: Mapping[str, tuple[Interval, ...]],
    store: SettleStore,
) -> dict[int, tuple[Interval, ...]]:
    """Return, by ``site_no``, when another event held a site during this one."""
    event_id = case.event.event_id

    async def course(of_event: str, opted_out_s: IntColumn) -> Course:
        return Course(asked[of_event], await store.event_ticks(of_event), opted_out_s)

    beside = []
    for other in (each.latest.event_id for each in others):
        if any(theirs.overlap(mine) for theirs in asked[other] for mine in asked[event_id]):
            ends_at = asked[other][-1].ends_at
            beside.append(await course(other, await _opted_out_s(other, case.roster, ends_at, store)))
    return held_elsewhere(await course(event_id, case.opted_out_s), beside) if beside else {}


async def _settle_group(
    case: SettlementCase, site_nos: IntColumn, meters: MeterStore
) -> list[tuple[int, SettlementLine]]:
    """Return each site's line with its number, chunk by chunk.

    From the hours that were written down as the readings came, where clock hours are hours of UTC;
    otherwise from the readings themselves, which gives the same bytes.
    """
    from_hours = all(to_epoch(hour.starts_at) % HOUR_S == 0 for hour in event_hours(case.event))
    size = CHUNK_SITES if from_hours else CHUNK_SITES_READ
    lines: list[tuple[int, SettlementLine]] = []
    for first in range(0, len(site_nos), size):
        chunk = site_nos[first : first + size]
        settled = await (_by_hours if from_hours else _by_readings)(case, chunk, meters)
        lines.extend(zip(chunk.tolist(), settled, strict=True))
    return lines


async def _by_readings(
    case: SettlementCase, site_nos: IntColumn, meters: MeterStore
) -> Sequence[SettlementLine]:
    sites = case.sites(site_nos)
    intervals, before = reading_intervals(case.event), case.received_before
    readings = await meters.readings(sites.site_ids, intervals, before=before)
    return settle_sites(case.event, sites, readings)


async def _by_hours(
    case: SettlementCase, site_nos: IntColumn, meters: MeterStore
) -> Sequence[SettlementLine]:
    """Return lines from hourly values; only what is no whole hour is read as readings.

    Nearly every baseline is found in the latest days; sites whose is not are settled again from more, and
    from all. Of a closed event, sites that got a reading since then are settled from those that they had
    before.
    """
    event, lines, late = case.event, dict[int, SettlementLine](), set[int]()
    for days in (*LIKELY_DAYS, LOOKBACK_DAYS):
        undecided = column(
            site_no
            for site_no in site_nos.tolist()
            if site_no not in late and (site_no not in lines or _needs_every_hour(lines[site_no]))
        )
        if not len(undecided):
            break
        sites = case.sites(undecided)
        starts_s = likely_hours(event, sites.excluded, days) if days in LIKELY_DAYS else every_hour(event)
        if case.received_before is not None:
            changed = await meters.sites_changed_since(sites.site_ids, starts_s, case.received_before)
            late.update(undecided[changed].tolist())
            undecided = np.delete(undecided, changed)
            sites = case.sites(undecided)
        hours = await meters.hour_energies(sites.site_ids, starts_s, event.terms.meter)
        readings = await _readings_of_parts(case, sites, meters)
        energy = MeteredEnergy(counter_track(readings, event.terms.meter), hours)
        lines.update(zip(undecided.tolist(), settle_metered(event, sites, energy), strict=True))
    for first in range(0, len(late), CHUNK_SITES_READ):
        some = column(sorted(late)[first : first + CHUNK_SITES_READ])
        lines.update(zip(some.tolist(), await _by_readings(case, some, meters), strict=True))
    return [lines[site_no] for site_no in site_nos.tolist()]


def _needs_every_hour(line: SettlementLine) -> bool:
    """Return whether earlier days could change a line; without an hour of its own it says nothing of them."""
    return line.quality is SiteQuality.NO_BASELINE or not line.hours


async def _readings_of_parts(case: SettlementCase, sites: SettledSites, meters: MeterStore) -> ReadingColumns:
    """Return the readings around hours that do not count whole.

    Everyone's, where the event itself begins or ends within an hour; of the others only the readings of
    those whose own part does.
    """
    event, before = case.event, case.received_before
    everyone = column(range(len(sites.site_ids)))
    left_early = everyone[sites.opted_out_s < to_epoch(event.on.ends_at)] if event.on else everyone[:0]
    found = []
    for places, parts in ((everyone, broken_hours(event)), (left_early, event_hours(event))):
        near = union(Interval(each.starts_at - READ_AROUND, each.ends_at + READ_AROUND) for each in parts)
        for first in range(0, len(places) if near else 0, CHUNK_SITES_READ):
            some = places[first : first + CHUNK_SITES_READ]
            site_ids = [sites.site_ids[place] for place in some.tolist()]
            part = await meters.readings(site_ids, near, before=before)
            found.append(replace(part, site=some[part.site]))
    return together(found)
