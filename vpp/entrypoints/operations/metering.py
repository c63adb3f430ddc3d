"""Meter history that homes had before they were enrolled: without it there is no baseline."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain, islice

from vpp.domain.delivery import MeterMessage, MeterReading, Quality, ReadingFault
from vpp.domain.enrollment import Enrollment
from vpp.domain.interval import Interval, union
from vpp.domain.plausibility import judge_readings, late_rules, may_be_late
from vpp.domain.program import MeterOfRecord, Program
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant
from vpp.ports import StoreUnavailable
from vpp.stages.collect import LOOK_BACK, readings_of
from vpp.wire.meter_file import lines_of, read_meter_file
from vpp.wire.table import BadFile

READINGS_PER_COMMIT = 20_000
MOST_NAMED = 1_000
"""Quarantined lines that are named; of a file of another meter every line would be."""


def _nobody_watches(_done: int, _total: int) -> None:
    """Stand in where nobody wants to see progress."""


async def import_readings(
    desk: Desk,
    *,
    content: bytes,
    file_name: str,
    progress: Callable[[int, int], None] = _nobody_watches,
) -> Json:
    """Store the readings of a meter file, or none where a line or a site cannot be used.

    Each reading is judged as a gateway's is: more energy than the battery's rated power could move since
    the reading before, in the file or stored, is quarantined: kept as BAD, it pays nothing. So are two that
    contradict each other. A home has one meter at a time: readings from when its own gateway speaks already
    are not stored. A large file takes several commits: one that was interrupted is finished by importing it
    again, which changes nothing of what is stored and says how much that was.

    Args:
        progress: Told readings stored and readings in all.

    Returns:
        ``sites, readings``: how many of each the file holds. ``stored, stored_before``: readings that are
        new, and that were stored already. ``refused``: ``site_id, readings, reasons`` of the homes that have
        readings which are stored as BAD and were not BAD in the file; ``quarantined``: ``line, site_id, at,
        reason`` of those readings, the first thousand. ``left_out``: ``site_id, readings, gateway_since`` of
        the homes that have readings which were not stored.
    """
    known = {enrollment.site_id: enrollment for enrollment in await desk.store.enrollments()}
    at_site = {site_id for site_id, home in known.items() if _metered_at_site(home, desk.programs)}
    try:
        messages = read_meter_file(
            content,
            now=desk.clock.now(),
            file_name=file_name,
            metered_at_site=at_site,
            left_at={site_id: home.withdrawn_at for site_id, home in known.items()},
        )
    except BadFile as failure:
        raise OperationRefused(
            f"{file_name}: {len(failure.faults)} faults, nothing of it was stored", faults=failure.faults
        ) from failure
    sites, readings = len(messages), sum(len(message.readings) for message in messages)
    messages, left_out = _before_gateways(
        messages, await desk.store.own_readings_since([message.site_id for message in messages])
    )
    total = sum(len(message.readings) for message in messages)
    found = _Import()
    for batch in _batches(messages):
        now = desk.clock.now()
        try:
            judged = await _judged(desk, batch, known, now)
            await desk.store.append([each.message for each in judged], at=now)
        except StoreUnavailable as failure:
            raise StoreUnavailable(
                f"{failure}; {found.done} of {total} readings of {file_name} are stored, and importing it "
                "again stores the rest"
            ) from failure
        found.note(batch, judged)
        progress(found.done, total)
    desk.changed()
    return {
        "sites": sites,
        "readings": readings,
        "stored": found.done - found.stored_before,
        "stored_before": found.stored_before,
        "refused": [
            {"site_id": site_id, "readings": len(faults), "reasons": sorted({why for _, why in faults})}
            for site_id, faults in sorted(found.refused.items())
        ],
        "quarantined": _quarantined(content, file_name, found.refused),
        "left_out": left_out,
    }


@dataclass(frozen=True, slots=True)
class _Judged:
    """A home's readings as they are stored, and how many of them were stored before."""

    message: MeterMessage
    stored_before: int
    contradicted: frozenset[datetime]  # instants of which another value is stored


@dataclass(slots=True)
class _Import:
    """What has been stored so far of a file; ``refused`` by site: when each reading was made, and why."""

    done: int = 0
    stored_before: int = 0
    refused: dict[str, list[tuple[datetime, str]]] = field(default_factory=dict)

    def note(self, told: Sequence[MeterMessage], judged: Sequence[_Judged]) -> None:
        """Add a batch that is stored now."""
        for message, after in zip(told, judged, strict=True):
            self.done += len(message.readings)
            self.stored_before += after.stored_before
            twice = Counter(each.at for each in message.readings)
            for reading, verdict in zip(message.readings, after.message.readings, strict=True):
                if reading.quality is Quality.BAD:
                    continue
                if verdict.quality is Quality.BAD:
                    self._refuse(reading, str(verdict.reason))
                elif twice[reading.at] > 1 or reading.at in after.contradicted:
                    self._refuse(reading, ReadingFault.TWO_VALUES.value)

    def _refuse(self, reading: MeterReading, why: str) -> None:
        self.refused.setdefault(reading.site_id, []).append((reading.at, why))


def _quarantined(
    content: bytes, file_name: str, refused: Mapping[str, Sequence[tuple[datetime, str]]]
) -> list[Json]:
    """Return the lines of refused readings, in the order of the file."""
    if not refused:
        return []
    reasons = {(site_id, at): why for site_id, faults in refused.items() for at, why in faults}
    named = []
    for line, site_id, at in lines_of(content, file_name=file_name, readings=reasons):
        named.append({"line": line, "site_id": site_id, "at": instant(at), "reason": reasons[site_id, at]})
        if len(named) == MOST_NAMED:
            break
    return named


def _metered_at_site(home: Enrollment, programs: Mapping[str, Program]) -> bool:
    program = programs.get(home.program_id)
    return program is not None and any(each.meter is MeterOfRecord.SITE for each in program.editions)


def _before_gateways(
    messages: Sequence[MeterMessage], since: Mapping[str, datetime]
) -> tuple[tuple[MeterMessage, ...], list[Json]]:
    """Return what is from before each home's own gateway spoke, and what of which homes is not."""
    kept, left_out = [], []
    for message in messages:
        begins = since.get(message.site_id)
        readings = tuple(each for each in message.readings if begins is None or each.at < begins)
        if readings:
            kept.append(replace(message, readings=readings))
        if begins is not None and len(readings) < len(message.readings):
            left_out.append(
                {
                    "site_id": message.site_id,
                    "readings": len(message.readings) - len(readings),
                    "gateway_since": instant(begins),
                }
            )
    return tuple(kept), left_out


async def _judged(
    desk: Desk, batch: Sequence[MeterMessage], known: Mapping[str, Enrollment], now: datetime
) -> list[_Judged]:
    """Return a batch judged by each home's rated power, among the readings that are stored around it.

    No home comes twice in a batch. The store is asked once for all of them: a question for each home was
    a quarter of an import.
    """
    site_ids = [message.site_id for message in batch]
    newest = await desk.store.newest_reading_at(site_ids)
    around = [_around(message, newest.get(message.site_id)) for message in batch]
    oldest = min(each.at for message in batch for each in message.readings)
    closed = may_be_late(oldest, now, desk.programs)
    late = late_rules(desk.programs, await desk.store.histories(ending_after=oldest) if closed else ())
    stored = await desk.store.readings(site_ids, union(chain.from_iterable(around)))
    judged = []
    for message, spans, rows in zip(batch, around, stored.by_site(len(batch)), strict=True):
        home, of_home = known[message.site_id], readings_of(message.site_id, rows)
        readings = judge_readings(
            message.readings,
            known=[each for each in of_home if any(_holds(span, each.at) for span in spans)],
            rated_discharge=home.max_discharge_w,
            rated_charge=home.max_discharge_w,
            received_at=now,
            late=late.get(home.program_id),
        )
        said = {_said(each) for each in of_home}
        new = {each.at for each in message.readings if _said(each) not in said}
        judged.append(
            _Judged(
                replace(message, readings=readings),
                sum(_said(each) in said for each in message.readings),
                frozenset(new.intersection(each.at for each in of_home)),
            )
        )
    return judged


def _said(reading: MeterReading) -> tuple[object, ...]:
    """Return what a meter file says in a line, but for the quality: the same again is not stored twice."""
    return (
        reading.at, reading.discharged_wh, reading.charged_wh, reading.imported_wh, reading.exported_wh,
    )  # fmt: skip


def _around(message: MeterMessage, newest: datetime | None) -> tuple[Interval, ...]:
    """Return in which times stored readings bear on new ones; both ends of each count."""
    near = Interval(message.readings[0].at - LOOK_BACK, message.readings[-1].at + LOOK_BACK)
    if newest is None or newest >= near.starts_at:
        return (near,)
    return near, Interval(newest, newest + timedelta(seconds=1))  # the one before, however long ago


def _holds(span: Interval, at: datetime) -> bool:
    return span.starts_at <= at <= span.ends_at


def _batches(messages: Sequence[MeterMessage]) -> Iterator[list[MeterMessage]]:
    """Yield the same messages in groups of at most ``READINGS_PER_COMMIT`` readings."""
    pieces = (piece for message in messages for piece in _pieces(message))
    batch: list[MeterMessage] = []
    size = 0
    for piece in pieces:
        if batch and size + len(piece.readings) > READINGS_PER_COMMIT:
            yield batch
            batch, size = [], 0
        batch.append(piece)
        size += len(piece.readings)
    if batch:
        yield batch


def _pieces(message: MeterMessage) -> Iterator[MeterMessage]:
    readings = iter(message.readings)
    while part := tuple(islice(readings, READINGS_PER_COMMIT)):
        yield replace(message, readings=part)
