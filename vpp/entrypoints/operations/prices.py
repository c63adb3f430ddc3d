"""Wholesale prices: they weigh the hours of a month, for programs that pay a weighted mean power."""

from collections import Counter

from vpp.domain.interval import whole_second
from vpp.domain.program import Program, TariffRule
from vpp.domain.wholesale_price import WholesalePrice
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused
from vpp.stages.pay import accrue
from vpp.wire.price_file import read_prices
from vpp.wire.table import BadFile


async def import_prices(desk: Desk, *, content: bytes, file_name: str, actor: str) -> Json:
    """Store wholesale prices, or none where a line cannot be used, and pay by them.

    A file with columns ``program_id`` (one that pays a weighted month), ``hour_starts_at`` (a full hour,
    such as ``2026-09-10T01:00:00Z``) and ``usd_per_mwh`` (such as ``84.25``). Importing again changes
    nothing; another price of an hour takes its place. A month's hours weigh by their prices once every hour
    of its events has one above zero, and all the same until then. A price that comes after a month's close
    counts there with the next correction that changes one of its events.

    Returns:
        ``imported`` (prices that are new, or not what they were), ``known`` (the same as before).
    """
    weighing = {name: each.zone for name, each in desk.programs.items() if weighs_hours(each)}
    try:
        rows = read_prices(content, file_name=file_name, zones=weighing)
    except BadFile as failure:
        raise OperationRefused(
            f"{file_name}: {len(failure.faults)} faults, nothing of it was stored", faults=failure.faults
        ) from failure
    standing = {
        (each.program_id, each.hour_starts_at): each.per_mwh
        for program_id in sorted({row.program_id for row in rows})
        for each in await desk.store.prices(program_id)
    }
    now = whole_second(desk.clock.now())
    new = [
        WholesalePrice(row.program_id, row.hour_starts_at, row.per_mwh, now)
        for row in rows
        if standing.get((row.program_id, row.hour_starts_at)) != row.per_mwh
    ]
    if new:
        await desk.store.add_prices(new)
        counts = Counter(each.program_id for each in new)
        await desk.store.leave_trail(
            [
                desk.trail_entry(actor, "import_prices", f"program:{program_id}", f"{count} hours")
                for program_id, count in sorted(counts.items())
            ]
        )
    await accrue(desk.programs, store=desk.store, clock=desk.clock)
    return {"imported": len(new), "known": len(rows) - len(new)}


def weighs_hours(program: Program) -> bool:
    """Return whether a program pays a weighted month under any of its editions."""
    return any(each.tariff.rule is TariffRule.PER_KW_MONTH_WEIGHTED for each in program.editions)
