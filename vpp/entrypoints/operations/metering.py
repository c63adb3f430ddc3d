"""Meter history that homes had before they were enrolled: without it there is no baseline."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice

from vpp.domain.delivery import MeterMessage
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant
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

    Importing again changes nothing. A large file takes several commits: an interrupted import is
    finished by importing again.

    Args:
        progress: Told readings stored and readings in all.

    Returns:
        ``sites, readings``: how many of each the file holds.
    """
    try:
        messages = read_meter_file(content, now=desk.clock.now(), file_name=file_name)
    except BadFile as failure:
        raise OperationRefused(
            f"{file_name}: {len(failure.faults)} faults, nothing of it was stored", faults=failure.faults
        ) from failure
    known = {enrollment.site_id: enrollment.withdrawn_at for enrollment in await desk.store.enrollments()}
    strangers = [message.site_id for message in messages if message.site_id not in known]
    if strangers:
        raise OperationRefused(
            f"{file_name}: {len(strangers)} sites are not enrolled, nothing of it was stored",
            faults=[f"site {site_id} is not enrolled; vpp site enroll comes first" for site_id in strangers],
        )
    _refuse_after_leaving(messages, known, file_name)
    total = sum(len(message.readings) for message in messages)
    done = 0
    for batch in _batches(messages):
        await desk.store.append(batch, at=desk.clock.now())
        done += sum(len(message.readings) for message in batch)
        progress(done, total)
    desk.changed()
    return {"sites": len(messages), "readings": total}


def _refuse_after_leaving(
    messages: Sequence[MeterMessage], left_at: Mapping[str, datetime | None], file_name: str
) -> None:
    """Return only if no reading is from after its home's consent was withdrawn. Raises OperationRefused."""
    faults = []
    for message in messages:
        until = left_at[message.site_id]
        if until is not None and any(reading.at > until for reading in message.readings):
            faults.append(f"site {message.site_id} left at {instant(until)}; take out its later readings")
    if faults:
        raise OperationRefused(
            f"{file_name}: {len(faults)} sites left before their readings, nothing of it was stored",
            faults=faults,
        )


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
