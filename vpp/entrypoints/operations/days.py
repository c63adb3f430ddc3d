"""Days that say nothing about what a home usually does: they stay out of its baselines."""

from datetime import date
from http import HTTPStatus

from vpp.domain.baseline import DayDropped
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused
from vpp.entrypoints.operations.paging import page

REASONS = (DayDropped.OUTAGE, DayDropped.DUAL_EVENT, DayDropped.EVENT)


async def exclude_day(desk: Desk, *, site_id: str, day: str, reason: str) -> Json:
    """Keep one local day out of the baselines of a site, or of all with ``*``.

    Events that are open are settled again with it; one that is closed changes by a correction only. The
    first reason of a day stays.

    Returns:
        ``site_id, day, reason`` as they stand.
    """
    if reason not in REASONS:
        raise OperationRefused(f"reason {reason[:40]!r} is not one of {', '.join(REASONS)}")
    try:
        excluded = date.fromisoformat(day)
    except ValueError as failure:
        raise OperationRefused(f"day {day[:40]!r} is not a date such as 2026-09-08") from failure
    if site_id != "*":
        await desk.enrollment(site_id)
    standing = await _standing(desk, site_id, excluded)
    if standing is not None and standing != reason:
        raise OperationRefused(
            f"{excluded} is excluded for {site_id} already, because of {standing}", HTTPStatus.CONFLICT
        )
    await desk.store.exclude_day(site_id, excluded, reason, at=desk.clock.now())
    return {"site_id": site_id, "day": excluded.isoformat(), "reason": reason}


async def _standing(desk: Desk, site_id: str, day: date) -> str | None:
    found = (
        reason for site, each, reason in await desk.store.excluded_days() if (site, each) == (site_id, day)
    )
    return next(found, None)


async def list_days(desk: Desk, *, cursor: str = "", limit: int | None = None) -> Json:
    """Return the days kept out of baselines by hand, by site and day; those of our own events are not listed.

    Returns:
        ``days``: ``site_id`` (``*``: every site), ``day, reason``; ``next_cursor``.
    """
    days, following = page(
        sorted(await desk.store.excluded_days()),
        lambda each: f"{each[0]} {each[1].isoformat()}",
        cursor=cursor,
        limit=limit,
    )
    found = [{"site_id": site_id, "day": day.isoformat(), "reason": reason} for site_id, day, reason in days]
    return {"days": found, "next_cursor": following}
