"""Which boots' readings do not count at a time, in the database: written as readings are stored."""

from collections.abc import Mapping, Sequence

from sqlmodel.ext.asyncio.session import AsyncSession

from vpp.adapters.sql.bulk import Asked, insert_new
from vpp.adapters.sql.tables import ContestedSpanRow, table_of
from vpp.domain.delivery import MeterMessage
from vpp.domain.meter_source import IMPORT_BOOT, BootSpan, Contested, contest, newly_contested, spans_of

Boot = tuple[str, str]  # site id, boot id


def contested(reading: str, received: str = "") -> str:
    """Return SQL for whether a reading does not count beside other boots; ``received`` narrows by ``c``."""
    return (
        f"EXISTS (SELECT 1 FROM contested_span c WHERE c.site_id = {reading}.site_id"
        f" AND c.boot_id = {reading}.boot_id AND {reading}.at_s BETWEEN c.from_s AND c.until_s{received})"
    )


def left_out(reading: str, received: str = "") -> str:
    """Return SQL for whether a reading was imported for a time in which the site's gateway spoke itself."""
    return f"({reading}.boot_id = '{IMPORT_BOOT}' AND {contested(reading, received)})"


def wider_spans(
    messages: Sequence[MeterMessage], known: Mapping[Boot, BootSpan | None]
) -> dict[Boot, BootSpan]:
    """Return the spans of the messages' boots, those ``known`` of before included."""
    spans: dict[Boot, BootSpan] = {}
    for message in messages:
        boot = (message.site_id, message.boot_id)
        span = spans.get(boot) or known.get(boot)
        found = spans_of(message.readings, {message.boot_id: span}).get(message.boot_id, span)
        if found is not None:
            spans[boot] = found
    return spans


async def write_contested(
    session: AsyncSession,
    before: Mapping[Boot, BootSpan | None],
    now: Mapping[Boot, BootSpan],
    *,
    received_at_us: int,
) -> list[tuple[str, Contested]]:
    """Store and return, by site id, what boots with new spans contest that they did not before.

    ``now`` is stored already. What is known of other boots is read from the database.
    """
    grown = {boot: span for boot, span in now.items() if before.get(boot) != span}
    if not grown:
        return []
    asked: dict[str, Sequence[object]] = {
        "site_id": [site_id for site_id, _ in grown],
        "boot_id": [boot_id for _, boot_id in grown],
        "first_s": [span.first_s for span in grown.values()],
        "last_s": [span.last_s for span in grown.values()],
    }
    rows = await Asked(session, {"asked": asked}).rows(
        "SELECT asked.site_id, asked.boot_id, o.boot_id, o.first_s, o.last_s FROM asked JOIN meter_boot o"
        " ON o.site_id = asked.site_id AND o.boot_id <> asked.boot_id AND o.last_s >= asked.first_s"
        f" AND (o.first_s <= asked.last_s OR o.boot_id = '{IMPORT_BOOT}') UNION"
        " SELECT asked.site_id, asked.boot_id, o.boot_id, o.first_s, o.last_s FROM asked JOIN meter_boot o"
        f" ON o.site_id = asked.site_id AND o.boot_id <> '{IMPORT_BOOT}' AND asked.boot_id = '{IMPORT_BOOT}'"
        " AND o.first_s <= asked.last_s ORDER BY 1, 2, 3"
    )
    found: set[tuple[str, Contested]] = set()
    for site_id, boot_id, other_id, first_s, last_s in rows:
        other = BootSpan(first_s, last_s)
        was, other_was = before.get((site_id, boot_id)), before.get((site_id, other_id), other)
        known = contest(boot_id, was, other_id, other_was) if was and other_was else ()
        fresh = newly_contested(known, contest(boot_id, grown[site_id, boot_id], other_id, other))
        found.update((site_id, each) for each in fresh)
    new = sorted(found)
    columns: dict[str, Sequence[object]] = {
        "site_id": [site_id for site_id, _ in new],
        "boot_id": [each.boot_id for _, each in new],
        "from_s": [each.from_s for _, each in new],
        "until_s": [each.until_s for _, each in new],
        "reason": [each.reason.value for _, each in new],
        "received_at_us": [received_at_us] * len(new),
    }
    await insert_new(session, table_of(ContestedSpanRow), columns)
    return new
