"""Meter history that homes had before they were enrolled: without it there is no baseline."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain, islice

from vpp.domain.delivery import MeterMessage, Quality
from vpp.domain.enrollment import Enrollment
from vpp.domain.interval import Interval, union
from vpp.domain.plausibility import judge_readings
from vpp.domain.program import MeterOfRecord, Program
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant
from vpp.stages.collect import LOOK_BACK, late_by, readings_of
from vpp.wire.meter_file import read_meter_file
from vpp.wire.table import BadFile

READINGS_PER_COMMIT = 20_000


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
    the reading before, in the file or stored, is kept as BAD and pays nothing. A home has one meter at a
    time: readings from when its own gateway speaks already are not stored. Importing again changes
    nothing. A large file takes several commits: an interrupted import is finished by importing again.

    Args:
        progress: Told readings stored and readings in all.

    Returns:
        ``sites, readings``: how many of each the file holds. ``refused``: ``site_id, readings, reasons`` of
        the homes that have readings which are stored as BAD and were not BAD in the file. ``left_out``:
        ``site_id, readings, gateway_since`` of the homes that have readings which were not stored.
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
    done = 0
    refused: dict[str, list[str]] = {}
    for batch in _batches(messages):
        now = desk.clock.now()
        judged = await _judged(desk, batch, known, now)
        _note_refused(refused, batch, judged)
        await desk.store.append(judged, at=now)
        done += sum(len(message.readings) for message in batch)
        progress(done, total)
    desk.changed()
    return {
        "sites": sites,
        "readings": readings,
        "refused": [
            {"site_id": site_id, "readings": len(reasons), "reasons": sorted(set(reasons))}
            for site_id, reasons in sorted(refused.items())
        ],
        "left_out": left_out,
    }


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
) -> list[MeterMessage]:
    """Return a batch judged by each home's rated power, among the readings that are stored around it.

    No home comes twice in a batch. The store is asked once for all of them: a question for each home was
    a quarter of an import.
    """
    site_ids = [message.site_id for message in batch]
    newest = await desk.store.newest_reading_at(site_ids)
    around = [_around(message, newest.get(message.site_id)) for message in batch]
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
            late=late_by(home, desk.programs),
        )
        judged.append(replace(message, readings=readings))
    return judged


def _around(message: MeterMessage, newest: datetime | None) -> tuple[Interval, ...]:
    """Return in which times stored readings bear on new ones; both ends of each count."""
    near = Interval(message.readings[0].at - LOOK_BACK, message.readings[-1].at + LOOK_BACK)
    if newest is None or newest >= near.starts_at:
        return (near,)
    return near, Interval(newest, newest + timedelta(seconds=1))  # the one before, however long ago


def _holds(span: Interval, at: datetime) -> bool:
    return span.starts_at <= at <= span.ends_at


def _note_refused(
    refused: dict[str, list[str]], told: Sequence[MeterMessage], judged: Sequence[MeterMessage]
) -> None:
    """Add the reason of every reading that became BAD, by site."""
    for message, after in zip(told, judged, strict=True):
        for reading, verdict in zip(message.readings, after.readings, strict=True):
            if verdict.quality is Quality.BAD and reading.quality is not Quality.BAD:
                refused.setdefault(message.site_id, []).append(str(verdict.reason))


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
