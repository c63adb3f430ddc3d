"""Meter evidence, kept in memory."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray

from vpp.adapters.memory.registry import MemoryRegistry
from vpp.domain.delivery import (
    NOT_METERED,
    QUALITY_CODES,
    MeterMessage,
    MeterReading,
    MeterReceipt,
    Quality,
    ReadingColumns,
    ReadingFault,
)
from vpp.domain.interval import Interval, from_epoch, to_epoch, union
from vpp.domain.meter_source import BESIDE_OTHERS, IMPORT_BOOT, BootSpan, Contested, contests, spans_of
from vpp.domain.metered_hours import HOUR_S, HourEnergies, hour_energies
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import IntColumn, column

_Key = tuple[str, int]  # boot id, index
_USABLE = (Quality.OK, Quality.ESTIMATED)
IntTable = NDArray[np.int64]
_NO_ROWS: IntTable = np.zeros((0, 7), dtype=np.int64)


class MemoryMeter(MemoryRegistry):
    """The meters' part of the memory store; it knows the registry, because data follows consent."""

    def __init__(self) -> None:
        super().__init__()
        self._readings: dict[str, dict[_Key, list[MeterReading]]] = {}  # every value of a key
        self._arrived: dict[tuple[str, str, int], list[datetime]] = {}  # when each value of a key came
        self._spans: dict[str, dict[str, BootSpan]] = {}
        self._contested: dict[str, tuple[Contested, ...]] = {}  # what follows from the spans
        self._refused: dict[str, dict[Contested, datetime]] = {}  # by a person
        self._tables: dict[str, IntTable] = {}  # rows that count, of sites read since they changed
        self._of_days: dict[tuple[str, date], list[tuple[str | None, datetime]]] = {}

    async def append(self, messages: Sequence[MeterMessage], *, at: datetime) -> Sequence[MeterReceipt]:
        """Store readings and return, after the commit, how far each boot's readings are complete.

        Keyed (site_id, boot_id, index): the same again changes nothing, another value keeps both and
        marks the reading BAD. One receipt for each (site, boot) of the messages, in their order.
        """
        self._require_enrolled(message.site_id for message in messages)
        oldest: dict[tuple[str, str], int] = {}
        for message in messages:
            for reading in message.readings:
                self._keep_reading(reading, at)
            boot = (message.site_id, message.boot_id)
            # It only rises within a boot, so of messages out of order the highest is the newest.
            oldest[boot] = max(oldest.get(boot, message.oldest_index), message.oldest_index)
        return [
            MeterReceipt(site_id, boot_id, self._stored_through(site_id, boot_id, index))
            for (site_id, boot_id), index in oldest.items()
        ]

    async def readings(
        self, site_ids: Sequence[str], intervals: Sequence[Interval], *, before: datetime | None = None
    ) -> ReadingColumns:
        """Return readings with ``starts_at <= at <= ends_at`` of any interval, by site and time.

        ``site`` is the position in ``site_ids``. A reading whose key holds two values comes twice, BAD.
        With ``before``, as if nothing had been received since then.
        """
        asked = union(intervals)
        first_s = np.array([-(-each.starts_at.timestamp() // 1) for each in asked], dtype=np.int64)
        last_s = np.array([to_epoch(each.ends_at) for each in asked], dtype=np.int64)
        parts = [_NO_ROWS]
        for position, site_id in enumerate(site_ids):
            table = self._table_of(site_id, before)
            at_s = table[:, 0]
            begins, ends = at_s.searchsorted(first_s, side="left"), at_s.searchsorted(last_s, side="right")
            for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
                if begin < end:
                    rows = np.empty((end - begin, 1 + table.shape[1]), dtype=np.int64)
                    rows[:, 0], rows[:, 1:] = position, table[begin:end]
                    parts.append(rows)
        return ReadingColumns(*(column(each) for each in np.concatenate(parts).T))

    def _table_of(self, site_id: str, before: datetime | None) -> IntTable:
        """Return a site's counting readings by time, one row each: the columns of ``ReadingColumns``."""
        table = self._tables.get(site_id) if before is None else None
        if table is None:
            rows = sorted(_row(value, quality) for value, quality in self._counting(site_id, before))
            table = np.array(rows, dtype=np.int64).reshape(-1, 6)
            if before is None:
                self._tables[site_id] = table
        return table

    async def hour_energies(
        self, site_ids: Sequence[str], starts_s: IntColumn, meter: MeterOfRecord
    ) -> HourEnergies:
        """Return net energy of whole hours of UTC, as computed from everything stored so far.

        ``starts_s`` ascends, each a full hour in seconds since 1970; sites in the order given.
        """
        readings = await self.readings(site_ids, _near(starts_s))
        return hour_energies(readings, len(site_ids), starts_s, meter)

    async def sites_changed_since(
        self, site_ids: Sequence[str], starts_s: IntColumn, since: datetime
    ) -> IntColumn:
        """Return the positions of the sites of which a reading received since then may touch these hours."""
        near = _near(starts_s)
        now, then = [await self.readings(site_ids, near, before=before) for before in (None, since)]
        rows = [
            set(zip(*(getattr(each, name).tolist() for name in each.__slots__), strict=True))
            for each in (now, then)
        ]
        return column(sorted({site for site, *_ in rows[0] ^ rows[1]}))

    async def newest_reading_at(self, site_ids: Sequence[str]) -> Mapping[str, datetime]:
        """Return the time of each site's newest usable reading; sites without any are absent."""
        usable = {
            site_id: [value.at for value, quality in self._counting(site_id) if quality in _USABLE]
            for site_id in site_ids
        }
        return {site_id: max(times) for site_id, times in usable.items() if times}

    async def own_readings_since(self, site_ids: Sequence[str]) -> Mapping[str, datetime]:
        """Return when the readings of each site's own gateways begin; sites without any are absent."""
        own = {
            site_id: [
                span.first_s
                for boot_id, span in self._spans.get(site_id, {}).items()
                if boot_id != IMPORT_BOOT
            ]
            for site_id in site_ids
        }
        return {site_id: from_epoch(min(begins)) for site_id, begins in own.items() if begins}

    async def contested_since(self, since: datetime) -> Mapping[ReadingFault, Sequence[str]]:
        """Return, by reason, the sites whose boots were found since then not to count beside each other."""
        found: dict[ReadingFault, list[str]] = {reason: [] for reason in BESIDE_OTHERS}
        for site_id in sorted(self._contested):
            every = self._readings[site_id]
            known = (value for key in every for value in self._known(site_id, key, since))
            new = set(self._contested[site_id]).difference(contests(spans_of(known)))
            for reason in {each.reason for each in new}:
                found[reason].append(site_id)
        return found

    async def exclude_day(self, site_id: str, day: date, reason: str, *, at: datetime) -> None:
        """Keep a local day out of a site's baselines; ``*`` names every site. What stands stays."""
        words = self._of_days.setdefault((site_id, day), [])
        if not words or words[-1][0] is None:
            words.append((reason, at))

    async def include_day(self, site_id: str, day: date, *, at: datetime) -> None:
        """Let a day count again that was kept out under that name, from then on; what was said stays."""
        words = self._of_days.get((site_id, day), [])
        if words and words[-1][0] is not None:
            words.append((None, at))

    async def excluded_days(self, *, before: datetime | None = None) -> Sequence[tuple[str, date, str]]:
        """Return (site id or ``*``, local day, reason), sorted; with ``before``, as it stood until then."""
        found = []
        for (site_id, day), words in self._of_days.items():
            said = [reason for reason, at in words if before is None or at < before]
            if said and said[-1] is not None:
                found.append((site_id, day, said[-1]))
        return sorted(found)

    def _counting(
        self, site_id: str, before: datetime | None = None
    ) -> Iterator[tuple[MeterReading, Quality]]:
        """Yield a site's readings with the quality they have beside the others; none that are left out."""
        every = self._readings.get(site_id, {})
        contested = self._contested.get(site_id, ())
        if before is not None:
            every = {key: self._known(site_id, key, before) for key in every}
            contested = contests(spans_of(value for values in every.values() for value in values))
        contested = (*contested, *self._refused_until(site_id, before))
        for values in every.values():
            for value in values:
                if not contested or not _covered(value, contested):
                    yield value, Quality.BAD if len(values) > 1 else value.quality
                elif value.boot_id != IMPORT_BOOT:
                    yield value, Quality.BAD

    def _refused_until(self, site_id: str, before: datetime | None) -> list[Contested]:
        refused = self._refused.get(site_id, {})
        return [each for each, at in refused.items() if before is None or at < before]

    async def refuse_stretches(self, stretches: Sequence[tuple[str, Interval]], *, at: datetime) -> None:
        """Make what gateways read at those sites then BAD, both ends included, with what follows from it.

        Of the boots that have spoken then; again changes nothing, and nothing takes it back.
        """
        for site_id, stretch in stretches:
            from_s, until_s = to_epoch(stretch.starts_at), to_epoch(stretch.ends_at)
            for boot_id, span in self._spans.get(site_id, {}).items():
                if boot_id != IMPORT_BOOT and span.first_s <= until_s and from_s <= span.last_s:
                    refused = self._refused.setdefault(site_id, {})
                    refused.setdefault(Contested(boot_id, from_s, until_s), at)
            self._tables.pop(site_id, None)

    async def reading_faults(
        self, site_id: str, interval: Interval, *, before: datetime | None = None
    ) -> Mapping[datetime, ReadingFault]:
        """Return why readings of a site in an interval (both ends included) are BAD, by their instant.

        Those that came BAD without a reason of ours are left out. With ``before``, as known until then.
        """
        every = self._readings.get(site_id, {})
        known = every if before is None else {key: self._known(site_id, key, before) for key in every}
        contested = contests(spans_of(value for values in known.values() for value in values))
        refused = self._refused_until(site_id, before)
        found: dict[datetime, ReadingFault] = {}
        for values in known.values():
            for value in values:
                if not interval.starts_at <= value.at <= interval.ends_at:
                    continue
                beside = [each.reason for each in contested if each.covers(value.boot_id, to_epoch(value.at))]
                if beside and value.boot_id == IMPORT_BOOT:
                    continue  # left out, as if nobody had told it
                why = beside[0] if beside else None
                if why is None and _covered(value, refused):
                    why = ReadingFault.POWER_DIFFERS
                if why is None and len(values) > 1:
                    why = ReadingFault.TWO_VALUES
                if why is None and value.quality is Quality.BAD and value.reason in tuple(ReadingFault):
                    why = ReadingFault(value.reason)
                if why is not None:
                    found[value.at] = min(why, found.get(value.at, why))
        return found

    def _known(self, site_id: str, key: _Key, before: datetime) -> list[MeterReading]:
        """Return the values of a key that had been received before an instant."""
        values, arrived = self._readings[site_id][key], self._arrived[site_id, *key]
        return [value for value, at in zip(values, arrived, strict=True) if at < before]

    def _keep_reading(self, reading: MeterReading, received_at: datetime) -> None:
        values = self._readings.setdefault(reading.site_id, {}).setdefault(
            (reading.boot_id, reading.index), []
        )
        spans = self._spans.setdefault(reading.site_id, {})
        wider = spans_of([reading], spans)
        if wider and any(spans.get(boot_id) != span for boot_id, span in wider.items()):
            spans.update(wider)
            contested = contests(spans)
            if contested != self._contested.get(reading.site_id):
                self._contested[reading.site_id] = contested
                self._tables.pop(reading.site_id, None)
        if values and any(_measured(known) == _measured(reading) for known in values):
            return
        values.append(reading)
        self._arrived.setdefault((reading.site_id, reading.boot_id, reading.index), []).append(received_at)
        table = self._tables.pop(reading.site_id, None)
        doubtful = self._contested.get(reading.site_id) or self._refused.get(reading.site_id)
        if table is not None and len(values) == 1 and not doubtful:
            row = np.array(_row(reading, reading.quality), dtype=np.int64)
            place = int(table[:, 0].searchsorted(row[0]))
            if place == len(table) or table[place, 0] > row[0]:
                self._tables[reading.site_id] = np.concatenate((table[:place], row[None], table[place:]))

    def _stored_through(self, site_id: str, boot_id: str, oldest_index: int) -> int:
        stored = self._readings.get(site_id, {})
        index = oldest_index
        while (boot_id, index) in stored:
            index += 1
        return index - 1


def _covered(reading: MeterReading, contested: Sequence[Contested]) -> bool:
    return any(each.covers(reading.boot_id, to_epoch(reading.at)) for each in contested)


def _near(starts_s: IntColumn) -> list[Interval]:
    """Return each hour with an hour on either side: farther readings say nothing of it."""
    return [Interval(from_epoch(each - HOUR_S), from_epoch(each + 2 * HOUR_S)) for each in starts_s.tolist()]


def _measured(reading: MeterReading) -> tuple[object, ...]:
    """Return what the meter said; our judgement of it is not part of the value."""
    return (
        reading.at, reading.discharged_wh, reading.charged_wh, reading.soc_permille,
        reading.imported_wh, reading.exported_wh,
    )  # fmt: skip


def _row(reading: MeterReading, quality: Quality) -> tuple[int, ...]:
    out, taken = reading.discharged_wh, reading.charged_wh
    imported, exported = reading.imported_wh, reading.exported_wh
    return (
        to_epoch(reading.at),
        NOT_METERED if out is None else out,
        NOT_METERED if taken is None else taken,
        NOT_METERED if imported is None else imported,
        NOT_METERED if exported is None else exported,
        QUALITY_CODES.index(quality),
    )
