"""Which boots' readings do not count at a time, in the database: written as readings are stored."""

from collections.abc import Mapping, Sequence

from sqlmodel.ext.asyncio.session import AsyncSession

from vpp.adapters.sql.bulk import Asked, insert_new
from vpp.adapters.sql.tables import ContestedSpanRow, table_of
from vpp.domain.delivery import QUALITY_CODES, MeterMessage, Quality, ReadingFault
from vpp.domain.interval import Interval, to_epoch
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


async def refuse(
    session: AsyncSession, stretches: Sequence[tuple[str, Interval]], *, received_at_us: int
) -> list[tuple[str, Contested]]:
    """Store and return, by site id, the stretches of gateways' boots that a person refused."""
    asked: dict[str, Sequence[object]] = {
        "site_id": [site_id for site_id, _ in stretches],
        "from_s": [to_epoch(each.starts_at) for _, each in stretches],
        "until_s": [to_epoch(each.ends_at) for _, each in stretches],
    }
    rows = await Asked(session, {"asked": asked}).rows(
        "SELECT asked.site_id, b.boot_id, asked.from_s, asked.until_s FROM asked JOIN meter_boot b"
        f" ON b.site_id = asked.site_id AND b.boot_id <> '{IMPORT_BOOT}'"
        " AND b.first_s <= asked.until_s AND b.last_s >= asked.from_s ORDER BY 1, 2, 3"
    )
    columns: dict[str, Sequence[object]] = {
        "site_id": [row[0] for row in rows],
        "boot_id": [row[1] for row in rows],
        "from_s": [row[2] for row in rows],
        "until_s": [row[3] for row in rows],
        "reason": [ReadingFault.POWER_DIFFERS.value] * len(rows),
        "received_at_us": [received_at_us] * len(rows),
    }
    new = await insert_new(session, table_of(ContestedSpanRow), columns) if rows else 0
    return [(row[0], Contested(*row[1:])) for row in rows] if new else []


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


async def reading_faults(
    session: AsyncSession, site_id: str, from_s: int, until_s: int, before_us: int | None
) -> list[tuple[int, str]]:
    """Return instant and reason of each BAD reading of a site that has one, but those that are left out."""
    known = {name: "" if before_us is None else f" AND {name}.received_at_us < {before_us}" for name in "rcd"}
    covers = (
        "c.site_id = r.site_id AND c.boot_id = r.boot_id AND r.at_s BETWEEN c.from_s AND c.until_s"
        + known["c"]
    )
    beside = f"SELECT MIN(c.reason) FROM contested_span c WHERE {covers}"
    of_others = f"{beside} AND c.reason <> '{ReadingFault.POWER_DIFFERS.value}'"
    doubted = (
        "SELECT 1 FROM doubted_reading d WHERE d.site_id = r.site_id AND d.boot_id = r.boot_id"
        f" AND d.reading_index = r.reading_index{known['d']}"
    )
    bad, faults = QUALITY_CODES.index(Quality.BAD), ", ".join(f"'{each.value}'" for each in ReadingFault)
    parts = [
        f"SELECT r.at_s, COALESCE(({of_others}), ({beside}), CASE WHEN {twice} THEN"
        f" '{ReadingFault.TWO_VALUES.value}' WHEN r.quality = {bad} AND r.reason IN ({faults})"
        f" THEN r.reason END) AS why FROM asked JOIN {table} r ON r.site_id = asked.site_id"
        f" WHERE r.at_s BETWEEN {from_s} AND {until_s}{known['r']} AND NOT {left_out('r', known['c'])}"
        for table, twice in (("meter_reading", f"EXISTS ({doubted})"), ("doubted_reading", "1 = 1"))
    ]
    rows = await Asked(session, {"asked": {"site_id": [site_id]}}).rows(
        f"SELECT at_s, MIN(why) FROM ({' UNION ALL '.join(parts)}) told WHERE why IS NOT NULL GROUP BY at_s"
    )
    return [(row[0], row[1]) for row in rows]
