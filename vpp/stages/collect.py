"""Take in what the homes say: samples into the fleet, answers and meter evidence into the store.

Idempotent and free of order: any number of copies in any order lead to the same fleet and the same
rows. Refuses to decide what follows from it; it only says which sites control should look at now.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np

from vpp.domain.command import AckBatch, Refusal
from vpp.domain.delivery import (
    NOT_METERED,
    QUALITY_CODES,
    MeterMessage,
    MeterReading,
    Quality,
    ReadingColumns,
    ReadingFault,
    SiteStatus,
)
from vpp.domain.demands import targets_of
from vpp.domain.enrollment import Enrollment, OptOut
from vpp.domain.fleet import FleetState, Roster, TelemetryBatch, update
from vpp.domain.grid_event import EventStatus, GridEvent, steps_in_force
from vpp.domain.interval import Interval, from_epoch, to_epoch, whole_second
from vpp.domain.plausibility import judge_readings, late_rules, may_be_late
from vpp.domain.program import Program
from vpp.domain.quantities import BoolColumn, IntColumn, WattHours, any_of, last_of_runs
from vpp.ports import Clock, DeviceLink, DispatchStore, Heard, MeterStore, Registry, SignalStore

CLOCK_TOLERANCE_S = 30
PLAUSIBLE_TIMES = 2  # a home may report a second pack before it is enrolled, not a tenfold one
LOOK_BACK = timedelta(hours=1)
USUALLY_APART_S = 300  # a gateway reads its meter every five minutes

KeyT = TypeVar("KeyT", bound=Hashable)

_NO_SITES = np.zeros(0, dtype=np.int64)


class CollectStore(MeterStore, DispatchStore, Registry, SignalStore, Protocol):
    """The part of the store that collect reads and writes."""


@dataclass(slots=True)
class Collected:
    """What a batch came to. Site numbers are sorted and unique.

    ``stored``, ``duplicate`` and ``refused`` count messages by topic kind (``refused`` also by reason);
    together with what the link refused they are all that was received.
    """

    samples: TelemetryBatch  # those that may steer
    stored: Counter[str] = field(default_factory=Counter)
    duplicate: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    changed: IntColumn = field(default_factory=lambda: _NO_SITES)  # what control must not overlook
    opted_out: IntColumn = field(default_factory=lambda: _NO_SITES)  # said no at home just now
    opted_in: IntColumn = field(default_factory=lambda: _NO_SITES)  # or a first sample without a no
    online: tuple[SiteStatus, ...] = ()  # live, of homes that may speak

    @property
    def urgent(self) -> bool:
        """Return whether control should look at once."""
        return bool(len(self.changed))


async def collect(
    heard: Heard,
    *,
    fleet: FleetState,
    roster: Roster,
    programs: Mapping[str, Program],
    store: CollectStore,
    link: DeviceLink,
    clock: Clock,
) -> Collected:
    """Write one batch into fleet and store, then send the receipts its meter readings earned.

    Raises:
        StoreUnavailable: The fleet is up to date, but answers and readings were not stored and no
            receipt was sent: homes and controller repeat them.
    """
    now = clock.now()
    collected = Collected(heard.telemetry)
    samples = _trusted(heard.telemetry, fleet, roster, to_epoch(now), collected)
    collected.samples = samples
    minds = _minds(samples, fleet, collected)
    changed = [collected.opted_out, _take_samples(samples, fleet, to_epoch(now))]
    changed.append(_take_statuses(heard.statuses, fleet, collected))
    changed.append(_refusals(heard.acks))
    if any(len(sites) for sites in changed):
        collected.changed = np.unique(np.concatenate(changed))
    await _note_minds(minds, fleet, roster, programs, store, now)
    await _store_acks(heard.acks, store, collected)
    await _store_meter(heard.meter, fleet, roster, programs, store, link, collected, now)
    return collected


def _trusted(
    batch: TelemetryBatch, fleet: FleetState, roster: Roster, now_s: int, collected: Collected
) -> TelemetryBatch:
    """Return the samples that may steer, and count the others by the first reason that applies.

    Where a home's newest came from ahead of our clock, those of since then may too: see ``_be_careful``.
    """
    sites = batch.site_no
    if not len(sites):
        return batch
    full_wh = np.array([roster.enrollments[site].full_energy_wh for site in sites.tolist()], dtype=np.int64)
    rated_w = PLAUSIBLE_TIMES * fleet.max_discharge_w[sites]
    known_s = fleet.newest_s(sites)
    beside = (batch.at_s >= fleet.sampled_at_s[sites]) & (batch.at_s <= now_s)
    reasons = {
        "not_enrolled": ~(fleet.enrolled[sites] & fleet.consented[sites]),
        "from_the_future": batch.at_s > now_s + CLOCK_TOLERANCE_S,
        "energy_out_of_range": batch.energy_full_wh > PLAUSIBLE_TIMES * full_wh,
        "power_out_of_range": np.abs(batch.battery_w) > rated_w,
        "older_than_known": (batch.at_s < known_s) & ~beside,
    }
    trusted = np.ones(len(sites), dtype=np.bool_)
    doubted = any(any_of(applies) for applies in reasons.values())
    for reason, applies in reasons.items() if doubted else ():
        _count(collected.refused, ("telemetry", reason), int((trusted & applies).sum()))
        trusted &= ~applies
    kept = _select(batch, trusted) if doubted else batch
    moments = kept.site_no * (now_s + 2 * CLOCK_TOLERANCE_S) + kept.at_s
    fresh = len(set(moments[kept.at_s != fleet.newest_s(kept.site_no)].tolist()))
    _count(collected.stored, "telemetry", fresh)
    _count(collected.duplicate, "telemetry", len(kept) - fresh)
    # The enrolled power is the contract: a home that could do more is not asked for more.
    most_w = fleet.max_discharge_w[kept.site_no]
    if not any_of(kept.discharge_limit_w > most_w):
        return kept
    return replace(kept, discharge_limit_w=np.minimum(kept.discharge_limit_w, most_w))


def _count(counter: Counter[KeyT], key: KeyT, times: int) -> None:
    if times:  # what did not occur is absent, not zero
        counter[key] += times


def _select(batch: TelemetryBatch, rows: BoolColumn) -> TelemetryBatch:
    return TelemetryBatch(**{each.name: getattr(batch, each.name)[rows] for each in fields(batch)})


@dataclass(frozen=True, slots=True)
class _Minds:
    """What owners say at home now, of which the database does not know; sorted, no site twice."""

    noes: IntColumn
    yeses: IntColumn


def _minds(samples: TelemetryBatch, fleet: FleetState, collected: Collected) -> _Minds:
    """Return whose word is to be stored, and note who changed it just now.

    Until a word is stored, each sample brings it up again: the store may have been away, or no event
    announced that it could bind. After a start even a yes is stored: a no from before may have ended.
    """
    if not len(samples):
        return _Minds(_NO_SITES, _NO_SITES)
    newest, later = _newest(samples), samples.at_s > fleet.newest_s(samples.site_no)
    rows = newest[later[newest]]
    sites, says_no = samples.site_no[rows], samples.opted_out[rows]
    said_no, unheard = fleet.opted_out_at_home[sites], fleet.sampled_at_s[sites] == 0
    # What does not replace a sample takes no word back, but a no beside it is heard.
    beside = np.setdiff1d(samples.site_no[~later & samples.opted_out], sites)
    noes = np.union1d(sites[says_no], beside)
    collected.opted_out = noes[~fleet.opted_out_at_home[noes]]
    collected.opted_in = sites[~says_no & (said_no | unheard)]
    return _Minds(noes[~fleet.no_is_stored[noes]], sites[~says_no & ~fleet.yes_is_stored[sites]])


def _newest(samples: TelemetryBatch) -> IntColumn:
    """Return the row of the newest sample of each site, by site; of several in one second, a no."""
    order = np.lexsort((samples.opted_out, samples.at_s, samples.site_no))
    sites = samples.site_no[order]
    return order[last_of_runs(sites)]


def _take_samples(samples: TelemetryBatch, fleet: FleetState, now_s: int) -> IntColumn:
    """Write samples into the fleet; return the sites that must not wait for the next tick."""
    if not len(samples):
        return _NO_SITES
    in_order = np.sort(samples.site_no)
    sites: IntColumn = in_order[last_of_runs(in_order)]
    not_newer = samples.at_s <= fleet.newest_s(samples.site_no)
    apart = len(sites) == len(samples) and not any_of(not_newer)
    before = _hindrances(fleet, sites)
    reserve = fleet.home_reserve_permille[sites].copy()
    update(fleet, samples, now_s=now_s)
    if not apart:
        _be_careful(samples, fleet, now_s)
    hindered: BoolColumn = (_hindrances(fleet, sites) & ~before) != 0
    raised = fleet.home_reserve_permille[sites] > reserve
    return sites[hindered | raised]


def _hindrances(fleet: FleetState, sites: IntColumn) -> IntColumn:
    """Return what keeps each site from discharging now, one bit for each hindrance."""
    flags = (fleet.islanded, fleet.storm_mode, fleet.faulted)
    islanded, storm, faulted = (flag[sites].astype(np.int64) for flag in flags)
    return islanded | (storm << 1) | (faulted << 2)


def _be_careful(samples: TelemetryBatch, fleet: FleetState, now_s: int) -> None:
    """Join samples of one site of which none is known to be later: the worse of each value stands.

    Times have whole seconds, and a home that goes off the grid says so at once: the sample before may
    carry the same time. And what came from ahead of our clock may be older than what says a time since it
    came: an owner's no must not wait until our clock is there. Neither takes anything back, so that a copy
    that comes late, or again, lets nobody discharge.
    """
    known_s, as_of_s = fleet.newest_s(samples.site_no), fleet.sampled_at_s[samples.site_no]
    since = (samples.at_s < known_s) & (samples.at_s >= as_of_s) & (samples.at_s <= now_s)
    same = _select(samples, since | (samples.at_s == known_s))
    sites = same.site_no
    np.minimum.at(fleet.soc_permille, sites, same.soc_permille)
    np.minimum.at(fleet.battery_w, sites, same.battery_w)
    np.minimum.at(fleet.discharge_limit_w, sites, same.discharge_limit_w)
    np.minimum.at(fleet.energy_full_wh, sites, same.energy_full_wh)
    np.maximum.at(fleet.home_reserve_permille, sites, same.reserve_permille)
    np.maximum.at(fleet.in_force_sequence, sites, same.sequence)
    np.logical_or.at(fleet.islanded, sites, ~same.grid_connected)
    np.logical_or.at(fleet.storm_mode, sites, same.storm_mode)
    np.logical_or.at(fleet.faulted, sites, same.faulted)
    np.logical_or.at(fleet.opted_out_at_home, sites, same.opted_out)


def _take_statuses(statuses: Sequence[SiteStatus], fleet: FleetState, collected: Collected) -> IntColumn:
    """Write presence into the fleet in order of arrival; return the sites that fell silent."""
    silent = []
    online = []
    for status in statuses:
        site = status.site_no
        if not (fleet.enrolled[site] and fleet.consented[site]):
            collected.refused["status", "not_enrolled"] += 1
            continue
        known = bool(fleet.online[site]) is status.online
        (collected.duplicate if known else collected.stored)["status"] += 1
        fleet.online[site] = status.online
        if not status.online and not known:
            silent.append(site)
        if status.online and not status.retained:
            online.append(status)
    collected.online = tuple(online)
    return _sites(silent)


def _refusals(acks: AckBatch) -> IntColumn:
    """Return the sites that refused; a stale sequence only says that something newer is known there."""
    rows = [row for row, refusal in enumerate(acks.refusal) if refusal not in (None, Refusal.STALE_SEQUENCE)]
    return acks.site_no[rows] if rows else _NO_SITES


def _sites(numbers: Iterable[int]) -> IntColumn:
    return np.array(sorted(set(numbers)), dtype=np.int64)


async def _note_minds(
    minds: _Minds,
    fleet: FleetState,
    roster: Roster,
    programs: Mapping[str, Program],
    store: CollectStore,
    now: datetime,
) -> None:
    """Store what owners said at home against the event that runs, or else the next one."""
    if not len(minds.noes) and not len(minds.yeses):
        return
    events = await _open_events(store, now)
    for site in minds.noes.tolist():
        home = roster.enrollments[site]
        meant = [each for each in events if _means(each.event, home, roster, programs)]
        bound = _running_or_next(meant, now)
        for each in bound:
            await store.opt_out(OptOut(home.site_id, each.event.event_id, now, "home"))
        if bound:
            fleet.no_is_stored[site], fleet.yes_is_stored[site] = True, False
    back = {roster.site_id(site) for site in minds.yeses.tolist()}
    for opt_out in await store.opt_outs(sorted(each.event.event_id for each in events)):
        if opt_out.site_id in back and opt_out.said_at_home and opt_out.taken_back_at is None:
            await store.take_back_opt_out(opt_out.site_id, opt_out.event_id, at=now, heard_at_home=True)
    fleet.yes_is_stored[minds.yeses], fleet.no_is_stored[minds.yeses] = True, False


@dataclass(frozen=True, slots=True)
class _Open:
    """An event that is not over, and when what is left of it begins."""

    event: GridEvent
    starts_at: datetime


async def _open_events(store: SignalStore, now: datetime) -> list[_Open]:
    found = []
    for history in await store.histories(ending_after=now):
        left = [step.interval for step in steps_in_force(history) if step.interval.ends_at > now]
        if left and history.latest.status is not EventStatus.CANCELLED:
            found.append(_Open(history.latest, left[0].starts_at))
    return sorted(found, key=lambda each: (each.starts_at, each.event.event_id))


def _running_or_next(events: Sequence[_Open], now: datetime) -> Sequence[_Open]:
    """Return every event that runs, or else the next to begin: an owner's no binds these."""
    return [each for each in events if each.starts_at <= now] or events[:1]


def _means(event: GridEvent, home: Enrollment, roster: Roster, programs: Mapping[str, Program]) -> bool:
    """Return whether an event may use a home: its program, and one word of every kind it names."""
    program = programs.get(home.program_id)
    if program is None or event.program_id != home.program_id:
        return False
    named = targets_of(event, program, roster)
    return named.selects(utility=home.utility, groups=program.groups, county=home.county, feeder=home.feeder)


async def _store_acks(acks: AckBatch, store: DispatchStore, collected: Collected) -> None:
    if not len(acks):
        return
    await store.record_acks(acks)
    keys = zip(acks.site_no.tolist(), acks.epoch.tolist(), acks.sequence.tolist(), strict=True)
    distinct = len(set(keys))
    _count(collected.stored, "ack", distinct)
    _count(collected.duplicate, "ack", len(acks) - distinct)


async def _store_meter(
    messages: Sequence[MeterMessage],
    fleet: FleetState,
    roster: Roster,
    programs: Mapping[str, Program],
    store: CollectStore,
    link: DeviceLink,
    collected: Collected,
    now: datetime,
) -> None:
    """Judge and store readings, and only then answer: the home forgets what a receipt covers."""
    if not messages:
        return
    judged = await _judged(messages, fleet, roster, programs, store, now)
    receipts = await store.append(judged, at=now)
    _note_metered(judged, fleet, roster)
    await link.acknowledge(receipts)
    distinct = len({(each.site_id, each.boot_id, each.readings) for each in messages})
    _count(collected.stored, "meter", distinct)
    _count(collected.duplicate, "meter", len(messages) - distinct)


def _note_metered(messages: Sequence[MeterMessage], fleet: FleetState, roster: Roster) -> None:
    """Keep each site's newest stored reading at hand: the next message is most often judged against it."""
    for message in messages:
        site = roster.site_no_of[message.site_id]
        newest = max(message.readings, key=lambda each: each.at)
        at_s, discharged, charged = to_epoch(newest.at), newest.discharged_wh, newest.charged_wh
        if newest.reason == ReadingFault.BEFORE_CONSENT or discharged is None or charged is None:
            continue
        if at_s > fleet.metered_at_s[site]:
            fleet.metered_at_s[site] = at_s
            fleet.metered_discharged_wh[site] = discharged
            fleet.metered_charged_wh[site] = charged


async def _judged(
    messages: Sequence[MeterMessage],
    fleet: FleetState,
    roster: Roster,
    programs: Mapping[str, Program],
    store: CollectStore,
    now: datetime,
) -> list[MeterMessage]:
    """Return the messages by time, every reading judged against those before it in time."""
    known = _known_here(messages, fleet, roster)
    strangers = [message for message in messages if message.site_id not in known]
    known |= await _known_before(strangers, store) if strangers else {}
    ordered = sorted(messages, key=_begins_at)
    oldest = _begins_at(ordered[0])
    old = await store.histories(ending_after=oldest) if may_be_late(oldest, now, programs) else ()
    late = late_rules(programs, old)
    of_site: defaultdict[str, list[MeterReading]] = defaultdict(list)
    for message in ordered:
        of_site[message.site_id] += message.readings
    judged: dict[str, Iterator[MeterReading]] = {}
    for site_id, readings in of_site.items():
        site = roster.enrollments[roster.site_no_of[site_id]]
        judged[site_id] = iter(
            judge_readings(
                readings,
                known=known[site_id],
                rated_discharge=site.max_discharge_w,
                rated_charge=site.max_discharge_w,
                received_at=now,
                late=late.get(site.program_id),
                consent_at=site.consent.given_at,
            )
        )
    return [
        replace(each, readings=tuple(islice(judged[each.site_id], len(each.readings)))) for each in ordered
    ]


def _known_here(
    messages: Sequence[MeterMessage], fleet: FleetState, roster: Roster
) -> defaultdict[str, list[MeterReading]]:
    """Return the newest stored reading of sites all of whose messages are newer: no database is asked.

    A grid meter's counters are not at hand: what comes with them is judged against the database. So is
    what follows within minutes: one reading before it would allow each such message its rounding anew.
    """
    known: defaultdict[str, list[MeterReading]] = defaultdict(list)
    begins: dict[str, datetime] = {}
    at_grid = {each.site_id for each in messages if any(row.imported_wh is not None for row in each.readings)}
    for message in messages:
        begins[message.site_id] = min(begins.get(message.site_id, _begins_at(message)), _begins_at(message))
    for site_id, at in begins.items():
        site = roster.site_no_of[site_id]
        metered_at_s = int(fleet.metered_at_s[site])
        if 0 < metered_at_s <= to_epoch(at) - USUALLY_APART_S and site_id not in at_grid:
            discharged, charged = int(fleet.metered_discharged_wh[site]), int(fleet.metered_charged_wh[site])
            known[site_id].append(_counters(site_id, metered_at_s, discharged, charged, Quality.OK))
    return known


async def _known_before(
    messages: Sequence[MeterMessage], store: MeterStore
) -> defaultdict[str, list[MeterReading]]:
    """Return stored readings by site among which those before and after each message are.

    An hour back holds it for a home that reports regularly; for others the newest usable one is asked.
    """
    known: defaultdict[str, list[MeterReading]] = defaultdict(list)
    by_hour: defaultdict[datetime, list[MeterMessage]] = defaultdict(list)
    for message in messages:
        by_hour[_begins_at(message).replace(minute=0, second=0)].append(message)
    for group in by_hour.values():
        begins = [_begins_at(message) for message in group]
        window = Interval(min(begins) - LOOK_BACK, max(begins) + 2 * LOOK_BACK)  # a message lasts an hour
        await _read(known, sorted({message.site_id for message in group}), [window], store)
    begin_of: dict[str, datetime] = {}
    for message in sorted(messages, key=_begins_at, reverse=True):
        begin_of[message.site_id] = _begins_at(message)
    missing = [site for site, at in begin_of.items() if not any(each.at < at for each in known[site])]
    newest = await store.newest_reading_at(sorted(missing))
    for at in sorted({whole_second(each) for each in newest.values()}):
        sites = sorted(site for site, seen_at in newest.items() if whole_second(seen_at) == at)
        await _read(known, sites, [Interval(at, at + timedelta(seconds=1))], store)
    return known


async def _read(
    known: defaultdict[str, list[MeterReading]],
    site_ids: Sequence[str],
    intervals: Sequence[Interval],
    store: MeterStore,
) -> None:
    rows = await store.readings(site_ids, intervals)
    for site_id, part in zip(site_ids, rows.by_site(len(site_ids)), strict=True):
        known[site_id] += readings_of(site_id, part)


def readings_of(site_id: str, rows: ReadingColumns) -> list[MeterReading]:
    """Return one site's stored readings, to judge new ones against; of any boot, without index and charge."""
    found = []
    columns = (rows.at_s, rows.discharged_wh, rows.charged_wh, rows.quality)
    at_grid = (rows.imported_wh, rows.exported_wh)
    for at_s, discharged, charged, quality, imported, exported in zip(
        *(each.tolist() for each in (*columns, *at_grid)), strict=True
    ):
        counters = _counters(site_id, at_s, discharged, charged, QUALITY_CODES[quality])
        if imported != NOT_METERED and exported != NOT_METERED:
            counters = replace(counters, imported_wh=WattHours(imported), exported_wh=WattHours(exported))
        found.append(counters)
    return found


def _counters(site_id: str, at_s: int, discharged_wh: int, charged_wh: int, quality: Quality) -> MeterReading:
    return MeterReading(
        site_id=site_id,
        boot_id="",  # of any boot: counters run on through a restart
        index=0,
        at=from_epoch(at_s),
        discharged_wh=None if discharged_wh == NOT_METERED else WattHours(discharged_wh),
        charged_wh=None if charged_wh == NOT_METERED else WattHours(charged_wh),
        soc_permille=None,
        quality=quality,
    )


def _begins_at(message: MeterMessage) -> datetime:
    return min(reading.at for reading in message.readings)
