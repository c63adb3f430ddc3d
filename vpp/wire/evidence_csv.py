"""The tables of an evidence bundle: CSV as RFC 4180, UTF-8, the unit as the last word of a column.

====================  ==========================================================================
``sites.csv``         ``site_id, owner_id, meter`` (``device`` or ``site``), ``opted_out_at``
                      (RFC 3339, empty or left off: stayed in); and, only where another event held a site
                      for a while, ``held_elsewhere``: ``start/end`` of each stretch, parted by
                      spaces
``meter.csv``         see ``meter_file.py``
``prices.csv``        see ``price_file.py``; only where prices weigh hours
``carried.csv``       only where a season nets: ``site_id, event_id, starts_at, incremental_wh`` (exact,
                      signed) of the season's earlier events, which the event's own energy is added to
``period.csv``        only where a month or a season pays for mean power: ``site_id, event_id, weight, kw``
                      (exact) of its other events: one row per event of a season, weighing one; for a
                      month one per clock hour, weighing the part of the hour that counts, times the
                      hour's price where prices count
``excluded_days.csv`` ``site_id`` (``*``: every site), ``date`` (local), ``reason`` (``event``,
                      ``dual_event`` or ``outage``)
``settlement.csv``    one row per site and clock hour: ``site_id, hour_starts_at, metered_wh``,
                      ``baseline_wh`` (of the whole hour), ``fraction`` (part of the hour that counts),
                      ``incremental_wh`` (metered - baseline x fraction; for a grid meter the other way
                      round), ``quality``. Wh are exact: a whole number or a fraction such as ``37/3``
``totals.csv``        one row per site: ``site_id, owner_id, incremental_wh, paid_wh`` (exact),
                      ``amount_usd`` (two decimals), ``quality, reason``
====================  ==========================================================================

Columns may stand in any order, and others beside them; ``table.py`` says how the files are written.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction

from vpp.domain.accrual import PowerStretch
from vpp.domain.baseline import DayDropped
from vpp.domain.interval import EmptyInterval, Interval
from vpp.domain.program import MeterOfRecord
from vpp.domain.season_netting import EarlierEnergy
from vpp.wire.strict_json import time_text
from vpp.wire.table import BadCell, as_it_was, harmless, instant_of, read_table, write_table

HELD_ELSEWHERE = "held_elsewhere"
SITES = ("site_id", "owner_id", "meter", "opted_out_at")
EXCLUDED_DAYS = ("site_id", "date", "reason")
SETTLEMENT = (
    "site_id", "hour_starts_at", "metered_wh", "baseline_wh", "fraction", "incremental_wh", "quality"
)  # fmt: skip
CARRIED = ("site_id", "event_id", "starts_at", "incremental_wh")
PERIOD = ("site_id", "event_id", "weight", "kw")
TOTALS = ("site_id", "owner_id", "incremental_wh", "paid_wh", "amount_usd", "quality", "reason")

_EXACT = re.compile(r"-?[0-9]{1,40}(/0*[1-9][0-9]{0,39}|\.[0-9]{1,40})?")


@dataclass(frozen=True, slots=True)
class EvidenceSite:
    """A settled site: whose it is, which meter counts, and when its owner opted out, if ever."""

    site_id: str
    owner_id: str
    meter: MeterOfRecord
    opted_out_at: datetime | None
    held_elsewhere: tuple[Interval, ...] = ()


def read_sites(content: bytes) -> tuple[EvidenceSite, ...]:
    """Return the settled sites in the order of the file.

    Raises:
        BadFile: The file cannot be used.
    """
    table = read_table(
        content, file_name="sites.csv", required=SITES[:3], optional=("opted_out_at", HELD_ELSEWHERE)
    )
    found: dict[str, EvidenceSite] = {}
    for line, row in table.rows():
        site_id, meter = as_it_was(row["site_id"].strip()), row["meter"].strip()
        if not site_id or site_id in found:
            table.refuse(line, "site_id", f"{site_id[:40]!r} is empty or stands twice")
        if meter not in tuple(MeterOfRecord):
            table.refuse(line, "meter", f"{meter[:40]!r} is not device or site")
            continue
        try:
            said = row.get("opted_out_at", "").strip()
            opted_out_at = instant_of("opted_out_at", said) if said else None
            held = _stretches(row.get(HELD_ELSEWHERE, ""))
        except BadCell as failure:
            table.refuse(line, failure.column_name, str(failure))
            continue
        owner_id = as_it_was(row["owner_id"].strip())
        found[site_id] = EvidenceSite(site_id, owner_id, MeterOfRecord(meter), opted_out_at, held)
    table.require_faultless()
    return tuple(found.values())


def write_sites(sites: Iterable[EvidenceSite]) -> bytes:
    """Return ``sites.csv``."""
    listed = tuple(sites)
    optional = any(each.held_elsewhere for each in listed)
    return write_table(
        (*SITES, HELD_ELSEWHERE) if optional else SITES,
        (
            (
                harmless(each.site_id),
                harmless(each.owner_id),
                each.meter.value,
                time_text(each.opted_out_at) if each.opted_out_at else "",
                *((_written(each.held_elsewhere),) if optional else ()),
            )
            for each in listed
        ),
    )


def _written(stretches: Iterable[Interval]) -> str:
    return " ".join(f"{time_text(each.starts_at)}/{time_text(each.ends_at)}" for each in stretches)


def _stretches(text: str) -> tuple[Interval, ...]:
    found = []
    for part in text.split():
        starts, _, ends = part.partition("/")
        try:
            found.append(Interval(instant_of(HELD_ELSEWHERE, starts), instant_of(HELD_ELSEWHERE, ends)))
        except EmptyInterval as failure:
            raise BadCell(HELD_ELSEWHERE, f"{part[:60]!r} ends at or before its start") from failure
    return tuple(found)


def read_excluded_days(content: bytes) -> tuple[tuple[str, date, DayDropped], ...]:
    """Return (site id or ``*``, local day, why).

    Raises:
        BadFile: The file cannot be used.
    """
    table = read_table(content, file_name="excluded_days.csv", required=EXCLUDED_DAYS)
    found = []
    reasons = (DayDropped.EVENT, DayDropped.DUAL_EVENT, DayDropped.OUTAGE)
    for line, row in table.rows():
        reason = next((each for each in reasons if each.value == row["reason"].strip()), None)
        if reason is None:
            table.refuse(line, "reason", f"{row['reason'][:40]!r} is not one of {', '.join(reasons)}")
            continue
        try:
            found.append((as_it_was(row["site_id"].strip()), date.fromisoformat(row["date"].strip()), reason))
        except ValueError:
            table.refuse(line, "date", f"{row['date'][:40]!r} is not a date such as 2026-09-09")
    table.require_faultless()
    return tuple(found)


def write_excluded_days(days: Iterable[tuple[str, date, DayDropped]]) -> bytes:
    """Return ``excluded_days.csv``."""
    return write_table(
        EXCLUDED_DAYS, ((harmless(site_id), day.isoformat(), reason.value) for site_id, day, reason in days)
    )


def read_carried(content: bytes) -> tuple[EarlierEnergy, ...]:
    """Return the energies of a season's earlier events in the order of the file.

    Raises:
        BadFile: The file cannot be used, or an event of a site stands twice.
    """
    table = read_table(content, file_name="carried.csv", required=CARRIED)
    found: dict[tuple[str, str], EarlierEnergy] = {}
    for line, row in table.rows():
        site_id, event_id = (as_it_was(row[name].strip()) for name in CARRIED[:2])
        if (site_id, event_id) in found:
            table.refuse(line, "event_id", f"{event_id[:40]!r} of {site_id[:40]!r} stands twice")
        try:
            starts_at = instant_of("starts_at", row["starts_at"])
            energy_wh = _number("incremental_wh", row["incremental_wh"])
        except BadCell as failure:
            table.refuse(line, failure.column_name, str(failure))
            continue
        found[site_id, event_id] = EarlierEnergy(site_id, event_id, starts_at, energy_wh)
    table.require_faultless()
    return tuple(found.values())


def write_carried(energies: Iterable[EarlierEnergy]) -> bytes:
    """Return ``carried.csv``."""
    listed = sorted(energies, key=lambda each: (each.site_id, each.starts_at, each.event_id))
    return write_table(
        CARRIED,
        (
            (
                harmless(each.site_id),
                harmless(each.event_id),
                time_text(each.starts_at),
                str(each.incremental_wh),
            )
            for each in listed
        ),
    )


def read_period(content: bytes) -> Mapping[str, Sequence[PowerStretch]]:
    """Return the powers of a period's other events, by site.

    Raises:
        BadFile: The file cannot be used, or a weight is not above zero.
    """
    table = read_table(content, file_name="period.csv", required=PERIOD)
    found: dict[str, list[PowerStretch]] = {}
    for line, row in table.rows():
        try:
            weight, kw = _number("weight", row["weight"]), _number("kw", row["kw"])
        except BadCell as failure:
            table.refuse(line, failure.column_name, str(failure))
            continue
        if weight <= 0:
            table.refuse(line, "weight", f"{row['weight'][:40]!r} is not above zero")
        site_id, event_id = (as_it_was(row[name].strip()) for name in PERIOD[:2])
        found.setdefault(site_id, []).append(PowerStretch(event_id, weight, kw))
    table.require_faultless()
    return found


def write_period(powers: Mapping[str, Sequence[PowerStretch]]) -> bytes:
    """Return ``period.csv``."""
    return write_table(
        PERIOD,
        (
            (harmless(site_id), harmless(each.event_id), str(each.weight), str(each.kw))
            for site_id in sorted(powers)
            for each in powers[site_id]
        ),
    )


def _number(column_name: str, text: str) -> Fraction:
    cell = as_it_was(text.strip())
    if not _EXACT.fullmatch(cell):
        raise BadCell(column_name, f"{text[:40]!r} is not a number such as 1860, 37/3 or -12.5")
    return Fraction(cell)
