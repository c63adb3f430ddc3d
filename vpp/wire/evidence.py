"""The evidence bundle of one event: files from which anyone computes every watt-hour and cent again.

``event.json`` holds ``event_id, program_id, time_zone`` and ``versions``: ``effective_at`` (the
controller's commit), ``status`` (``scheduled`` or ``cancelled``) and ``intervals`` of ``starts_at,
ends_at``. The last version counts; the event begins no earlier than its first version, and a cancel
ends it at its ``effective_at``. ``program.toml`` is the program file of ``config/programs``; the tables
are described in ``evidence_csv.py``. ``manifest.json`` is checked in ``evidence_check.py``.

Nothing here needs a database, a clock or a key of ours: a bundle made by someone else is computed the
same way.
"""

import codecs
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise, takewhile

import numpy as np

from vpp.domain.accrual import PowerStretch, as_part_of_period
from vpp.domain.baseline import DayDropped, excluded_days
from vpp.domain.delivery import NOT_METERED, Quality, ReadingColumns
from vpp.domain.grid_event import EventStatus
from vpp.domain.interval import EmptyInterval, Interval, to_epoch, union
from vpp.domain.program import MeterOfRecord, NegativePolicy, Program, TariffRule
from vpp.domain.quantities import IntColumn, column
from vpp.domain.season_netting import EarlierEnergy, begins_at, is_earlier, summed
from vpp.domain.settled_event import NoTerms, SettledEvent, settled_event, without
from vpp.domain.settlement import Settlement, SettlementLine, SettlementState
from vpp.domain.site_earnings import NEVER_OPTED_OUT, SettledSites, settle_sites
from vpp.domain.wholesale_price import WholesalePrice
from vpp.wire.evidence_csv import (
    EvidenceSite,
    read_carried,
    read_excluded_days,
    read_period,
    read_sites,
)
from vpp.wire.hour_reasons import hour_reasons, in_words
from vpp.wire.json_place import line_of, path_in
from vpp.wire.meter_file import read_meter_csv
from vpp.wire.price_file import PriceRow, read_prices
from vpp.wire.program_file import ProgramFileError, read_program
from vpp.wire.strict_json import (
    JsonObject,
    MalformedMessage,
    encode,
    parse,
    require_list,
    require_text,
    time_text,
)
from vpp.wire.table import MOST_FAULTS, BadCell, BadFile, instant_of

REQUIRED = ("event.json", "program.toml", "sites.csv", "meter.csv", "excluded_days.csv")
OPTIONAL = ("settlement.csv", "totals.csv", "manifest.json")
PRICES = "prices.csv"
"""Only where a month's hours weigh by their wholesale prices; ``price_file.py`` describes it."""
CARRIED = "carried.csv"
"""Only where a season nets: what its earlier events bring to this one."""
PERIOD = "period.csv"
"""Only where a month or a season pays for mean power: the powers of its other events."""
EXTRA = (PRICES, CARRIED, PERIOD)
LARGEST_EVENT = 1_000_000
"""Bytes of ``event.json`` that are read at most."""


@dataclass(frozen=True, slots=True)
class EvidenceVersion:
    """One version of an event, as it took effect. ``intervals`` are in order and apart."""

    effective_at: datetime
    status: EventStatus
    intervals: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class EvidenceEvent:
    """What ``event.json`` says."""

    event_id: str
    program_id: str
    time_zone: str
    versions: tuple[EvidenceVersion, ...]

    def settled(self, program: Program) -> SettledEvent:
        """Return the part of the event that is settled.

        Raises:
            BadFile: No version asks for anything, or the program has no terms for that day.
        """
        asking = self._asking()
        if asking is None:
            raise BadFile(["event.json: no version holds an interval, so there is nothing to settle"])
        first_at = min(version.effective_at for version in self.versions)
        begins_at = max(asking.intervals[0].starts_at, first_at)
        ends_at = asking.intervals[-1].ends_at
        cancels = list(takewhile(lambda each: each.status is EventStatus.CANCELLED, reversed(self.versions)))
        if cancels:  # the first of them ended it; another one after it moves nothing
            ends_at = min(ends_at, cancels[-1].effective_at)
        span = Interval(begins_at, ends_at) if begins_at < ends_at else None
        try:
            return settled_event(self.event_id, program, asking.intervals, span)
        except NoTerms as failure:
            raise BadFile([f"program.toml: {failure}"]) from failure

    def on_s(self, settled: SettledEvent) -> int:
        """Return how many seconds the event was on, inside its program's terms or not."""
        asking = self._asking()
        if asking is None or settled.on is None:
            return 0
        held = (each.overlap(settled.on) for each in asking.intervals)
        return sum(each.seconds for each in held if each is not None)

    def _asking(self) -> EvidenceVersion | None:
        """Return the last version that asks for anything: a cancel need not repeat what it ends."""
        return next((each for each in reversed(self.versions) if each.intervals), None)


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything a settlement stands on. ``readings.site`` are positions in ``sites``.

    ``strangers`` are sites of meter.csv that sites.csv does not name; nothing of them is settled.
    """

    event: EvidenceEvent
    program_text: str
    program: Program
    sites: tuple[EvidenceSite, ...]
    readings: ReadingColumns
    excluded: tuple[tuple[str, date, DayDropped], ...]
    prices: tuple[PriceRow, ...] = ()
    carried: tuple[EarlierEnergy, ...] | None = None  # None: nothing is known of earlier events
    powers: Mapping[str, Sequence[PowerStretch]] | None = None  # by site; None: nothing of other events
    strangers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What a bundle computes to; lines in the order of its sites.

    ``period_id`` is the month or season whose amounts they have, None where the event is paid by itself;
    then ``average_kw`` holds each site's mean power in it. ``notes`` are sentences on what was assumed;
    ``hour_reasons``, by site, why each of its hours is not OK, where one is not.
    """

    lines: tuple[SettlementLine, ...]
    carried_wh: Mapping[str, Fraction] | None  # by site, where a season nets
    period_id: str | None
    average_kw: Mapping[str, Fraction]
    notes: tuple[str, ...]
    hour_reasons: Mapping[str, Sequence[str | None]] = field(default_factory=dict)


def read_bundle(files: Mapping[str, bytes]) -> Bundle:
    """Return what the files of a bundle say.

    Raises:
        BadFile: A needed file is absent, or cannot be used; file, line and column are named.
    """
    absent = [name for name in REQUIRED if name not in files]
    if absent:
        raise BadFile([f"{name} is not in the bundle" for name in absent])
    event = read_event(files["event.json"].removeprefix(codecs.BOM_UTF8))
    try:
        program_text = files["program.toml"].decode("utf-8-sig")
        program = read_program(program_text, file_name="program.toml")
    except UnicodeDecodeError as failure:
        raise BadFile(["program.toml: not UTF-8"]) from failure
    except ProgramFileError as failure:
        raise BadFile([str(failure)]) from failure
    for name, said, held in (
        ("program_id", event.program_id, program.program_id),
        ("time_zone", event.time_zone, program.zone.key),
    ):
        if said != held:
            raise BadFile([f"event.json: {name} is {said!r}, program.toml says {held!r}"])
    sites = read_sites(files["sites.csv"])
    metered, readings = read_meter_csv(files["meter.csv"])
    site_ids = [each.site_id for each in sites]
    return Bundle(
        event=event,
        program_text=program_text,
        program=program,
        sites=sites,
        readings=_with_unused(_renumbered(readings, metered, site_ids), len(sites)),
        excluded=read_excluded_days(files["excluded_days.csv"]),
        prices=_prices(files, program),
        carried=read_carried(files[CARRIED]) if CARRIED in files else None,
        powers=read_period(files[PERIOD]) if PERIOD in files else None,
        strangers=tuple(sorted(set(metered).difference(site_ids))),
    )


def _prices(files: Mapping[str, bytes], program: Program) -> tuple[PriceRow, ...]:
    if PRICES not in files:
        return ()
    return read_prices(files[PRICES], file_name=PRICES, zones={program.program_id: program.zone})


def _renumbered(readings: ReadingColumns, had: Sequence[str], wanted: Sequence[str]) -> ReadingColumns:
    """Return the readings of the wanted sites, numbered by them; those of other sites are left out."""
    position = {site_id: place for place, site_id in enumerate(wanted)}
    number = np.array([position.get(site_id, -1) for site_id in had], dtype=np.int64)
    site = number[readings.site] if len(number) else readings.site
    return _rows(replace(readings, site=site), np.flatnonzero(site >= 0))


def _with_unused(readings: ReadingColumns, sites: int) -> ReadingColumns:
    """Return the readings with zero in the second counter of a site that never fills it.

    A battery may have no count of its charging and a home none of its export. The first counter of each
    pair must be there: without it nothing is known.
    """
    filled = {}
    for name, beside in (("charged_wh", "discharged_wh"), ("exported_wh", "imported_wh")):
        counter, first = getattr(readings, name), getattr(readings, beside)
        used = np.bincount(readings.site[counter != NOT_METERED], minlength=sites) > 0
        filled[name] = np.where(~used[readings.site] & (first != NOT_METERED), 0, counter)
    return replace(readings, **filled)


def _rows(readings: ReadingColumns, rows: IntColumn) -> ReadingColumns:
    return ReadingColumns(*(getattr(readings, name)[rows] for name in ReadingColumns.__slots__))


def recompute(bundle: Bundle) -> Recomputed:
    """Return every site's settlement line, computed from the bundle alone.

    Each site is settled by the meter that ``sites.csv`` names for it. Where a program nets or pays over a
    month or a season, the bundle's other events of it come from ``carried.csv`` and ``period.csv``; without
    them the event is computed as if it were the only one, and a note says so.

    Raises:
        BadFile: The event cannot be settled under the program, or a row of another event is none.
    """
    event = bundle.event.settled(bundle.program)
    nets = event.terms.negative_policy is NegativePolicy.NET_SEASON_FLOOR_ZERO
    carried = summed(bundle.carried or ()) if nets else {}
    lines: dict[int, SettlementLine] = {}
    groups: dict[tuple[MeterOfRecord, tuple[Interval, ...]], list[int]] = {}
    for place, site in enumerate(bundle.sites):
        groups.setdefault((site.meter, site.held_elsewhere), []).append(place)
    for (meter, held), members in groups.items():
        of_group = replace(without(event, held), terms=replace(event.terms, meter=meter))
        lines.update(zip(members, _settle(of_group, bundle, members, carried), strict=True))
    if nets and event.parts:  # nothing is added to an event that was never on, so nothing can be wrong
        _require_earlier(bundle, event, lines.values())
    run = Settlement(
        event_id=bundle.event.event_id,
        program_id=bundle.program.program_id,
        state=SettlementState.PROVISIONAL,
        settled_at=bundle.event.versions[-1].effective_at,
        lines=tuple(lines[place] for place in sorted(lines)),
        parts=event.parts,
    )
    part = as_part_of_period(bundle.program, run, _others(bundle), prices=_as_prices(bundle.prices))
    return Recomputed(
        lines=run.lines if part is None else part.run.lines,
        carried_wh=carried if nets else None,
        period_id=None if part is None else part.period.period_id,
        average_kw={} if part is None else part.average_kw,
        notes=(
            *_site_notes(bundle),
            *_event_notes(bundle.event, event),
            *_notes(bundle, nets=nets, period_id=None if part is None else part.period.period_id),
        ),
        hour_reasons=_hour_reasons(bundle, run.lines),
    )


def _hour_reasons(bundle: Bundle, lines: Sequence[SettlementLine]) -> dict[str, Sequence[str | None]]:
    """Return why hours are not OK, by site; sites with none that is not are left out."""
    order = np.argsort(bundle.readings.site, kind="stable")
    edges = np.searchsorted(bundle.readings.site[order], np.arange(len(lines) + 1)).tolist()
    found = dict[str, Sequence[str | None]]()
    for place, line in enumerate(lines):
        if any(hour.quality is not Quality.OK for hour in line.hours):
            own = _rows(bundle.readings, order[edges[place] : edges[place + 1]])
            reasons = hour_reasons(line, own, place, bundle.sites[place].meter)
            found[line.site_id] = [in_words(each) for each in reasons]
    return found


def _require_earlier(bundle: Bundle, event: SettledEvent, lines: Iterable[SettlementLine]) -> None:
    """Raise BadFile where a row is of an event that does not come before this one for its home."""
    own = {line.site_id: begins_at(event, line.settled) for line in lines}
    wrong = [
        each
        for each in bundle.carried or ()
        if not is_earlier(event, each.starts_at, own.get(each.site_id, event.parts[0].starts_at))
    ]
    if wrong:
        raise BadFile(
            [
                f"{CARRIED}: {each.site_id}: event {each.event_id} of {time_text(each.starts_at)} "
                "does not come before this one in its season"
                for each in wrong[:MOST_FAULTS]
            ]
        )


def _others(bundle: Bundle) -> Mapping[str, Sequence[PowerStretch]]:
    """Return the powers of other events. Raises BadFile where one is the bundle's own event."""
    others = bundle.powers or {}
    own = sorted(
        site_id
        for site_id, stretches in others.items()
        if any(each.event_id == bundle.event.event_id for each in stretches)
    )
    if own:
        raise BadFile(
            [
                f"{PERIOD}: {each}: event {bundle.event.event_id} is the bundle's own"
                for each in own[:MOST_FAULTS]
            ]
        )
    return others


def _as_prices(rows: Sequence[PriceRow]) -> list[WholesalePrice]:
    return [
        WholesalePrice(each.program_id, each.hour_starts_at, each.per_mwh, each.hour_starts_at)
        for each in rows
    ]


def _site_notes(bundle: Bundle) -> Iterator[str]:
    """Say of whom a file speaks who is not settled: a name misspelled in one of them is a home left out."""
    settled = {"*", *(each.site_id for each in bundle.sites)}
    excluded = sorted({site_id for site_id, _, _ in bundle.excluded} - settled)
    for file_name, unknown in (("meter.csv", bundle.strangers), ("excluded_days.csv", excluded)):
        if unknown:
            sites = "1 site" if len(unknown) == 1 else f"{len(unknown)} sites"
            yield f"{file_name} names {sites} that sites.csv does not, the first {unknown[0]!r}; left out"


def _event_notes(said: EvidenceEvent, settled: SettledEvent) -> Iterator[str]:
    if any(later.effective_at < earlier.effective_at for earlier, later in pairwise(said.versions)):
        yield "event.json: versions are not in the order of effective_at; the last one in the file counted"
    if settled.terms.tariff.rule is TariffRule.FIXED_CREDIT:
        yield "the program pays a fixed credit each month or year and nothing for an event: amounts are 0.00"
    on_s, paid_s = said.on_s(settled), sum(part.seconds for part in settled.parts)
    if paid_s < on_s:
        yield (
            f"of {timedelta(seconds=on_s)} h that the event was on, {timedelta(seconds=on_s - paid_s)} h lie "
            "outside the program's season, daily window or longest event and are not settled"
        )


def _notes(bundle: Bundle, *, nets: bool, period_id: str | None) -> Iterator[str]:
    if nets and bundle.carried is None:
        yield f"{CARRIED} is absent; computed as if no event of the season had come before"
    if not nets and bundle.carried:
        yield f"{CARRIED} is not used: the program does not net over a season"
    if period_id is not None:
        known = (
            f"with the other events in {PERIOD}"
            if bundle.powers is not None
            else f"as if this were its only event, because {PERIOD} is absent"
        )
        yield f"amounts are those of {period_id}, {known}"
    elif bundle.powers:
        yield f"{PERIOD} is not used: no mean power is paid for an event of that day"


def _settle(
    event: SettledEvent, bundle: Bundle, members: Sequence[int], carried: Mapping[str, Fraction]
) -> tuple[SettlementLine, ...]:
    number = np.full(len(bundle.sites), -1, dtype=np.int64)
    number[list(members)] = np.arange(len(members))
    site = number[bundle.readings.site]
    place_of = {bundle.sites[member].site_id: place for place, member in enumerate(members)}
    exclusions = [
        (None if site_id == "*" else column([place_of[site_id]]), day, reason)
        for site_id, day, reason in bundle.excluded
        if site_id == "*" or site_id in place_of
    ]
    chosen = [bundle.sites[member] for member in members]
    sites = SettledSites(
        site_ids=tuple(each.site_id for each in chosen),
        owner_ids=tuple(each.owner_id for each in chosen),
        opted_out_s=column(
            NEVER_OPTED_OUT if each.opted_out_at is None else to_epoch(each.opted_out_at) for each in chosen
        ),
        excluded=excluded_days(event.day, len(chosen), exclusions),
        carried_wh=tuple(carried.get(each.site_id, Fraction(0)) for each in chosen),
    )
    readings = _rows(replace(bundle.readings, site=site), np.flatnonzero(site >= 0))
    return settle_sites(event, sites, readings)


def read_event(content: bytes) -> EvidenceEvent:
    """Return what ``event.json`` says.

    Raises:
        BadFile: It cannot be used; line and field are named.
    """
    try:
        body = parse(content, max_bytes=LARGEST_EVENT)
        versions = tuple(
            _version(each, f"versions[{place}]")
            for place, each in enumerate(require_list(body, "versions", longest=10_000))
        )
        return EvidenceEvent(
            event_id=require_text(body, "event_id"),
            program_id=require_text(body, "program_id"),
            time_zone=require_text(body, "time_zone"),
            versions=versions,
        )
    except MalformedMessage as failure:
        line = line_of(content, path_in(failure.reason))
        raise BadFile([f"event.json:{line}: {failure.reason}"]) from failure


def _version(value: object, where: str) -> EvidenceVersion:
    if not isinstance(value, dict):
        raise MalformedMessage(f"{where} is not an object")
    status = value.get("status")
    if status not in tuple(EventStatus):
        raise MalformedMessage(f"{where}.status is not scheduled or cancelled")
    stated = value.get("intervals")
    if not isinstance(stated, list) and stated is not None:
        raise MalformedMessage(f"{where}.intervals is not a list")
    intervals = [_interval(each, f"{where}.intervals[{place}]") for place, each in enumerate(stated or ())]
    if any(earlier.ends_at > later.starts_at for earlier, later in pairwise(sorted(intervals))):
        raise MalformedMessage(f"{where}.intervals overlap")
    return EvidenceVersion(_time(value, "effective_at", where), EventStatus(str(status)), union(intervals))


def _interval(value: object, where: str) -> Interval:
    if not isinstance(value, dict):
        raise MalformedMessage(f"{where} is not an object")
    try:
        return Interval(_time(value, "starts_at", where), _time(value, "ends_at", where))
    except EmptyInterval as failure:
        raise MalformedMessage(f"{where} ends at or before its start") from failure


def _time(body: JsonObject, name: str, where: str) -> datetime:
    text = body.get(name)
    try:
        return instant_of(name, text if isinstance(text, str) else "")
    except BadCell as failure:
        raise MalformedMessage(f"{where}.{name} is not a time such as 2026-09-10T01:00:00Z") from failure


def write_event(event: EvidenceEvent) -> bytes:
    """Return ``event.json``."""
    versions = [
        {
            "effective_at": time_text(version.effective_at),
            "status": version.status.value,
            "intervals": [
                {"starts_at": time_text(each.starts_at), "ends_at": time_text(each.ends_at)}
                for each in version.intervals
            ],
        }
        for version in event.versions
    ]
    body = {
        "event_id": event.event_id,
        "program_id": event.program_id,
        "time_zone": event.time_zone,
        "versions": versions,
    }
    return encode(body) + b"\n"
