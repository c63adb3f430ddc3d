"""Days that say nothing about what a home usually does: they stay out of its baselines."""

from datetime import date, timedelta
from http import HTTPStatus
from zoneinfo import ZoneInfo

from vpp.domain.baseline import DayDropped
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused
from vpp.entrypoints.operations.paging import page

REASONS = (DayDropped.OUTAGE, DayDropped.DUAL_EVENT, DayDropped.EVENT)


async def exclude_day(desk: Desk, *, site_id: str, day: str, reason: str, actor: str) -> Json:
    """Keep one local day out of the baselines of a site, or of all with ``*``.

    Events that are open are settled again with it; one that is closed changes by a correction only. The
    first reason of a day stays until ``vpp day include`` takes it back. A day may be tomorrow at the latest:
    what will keep it out must have been announced. The trail keeps who did it.

    Returns:
        ``site_id, day, reason`` as they stand.
    """
    if reason not in REASONS:
        raise OperationRefused(f"reason {reason[:40]!r} is not one of {', '.join(REASONS)}")
    excluded = _date(day)
    tomorrow = await _tomorrow(desk, site_id)
    if excluded > tomorrow:
        raise OperationRefused(
            f"{excluded} is after tomorrow, {tomorrow}; exclude it when what keeps it out has come"
        )
    standing = await _standing(desk, site_id, excluded)
    if standing is not None and standing != reason:
        raise OperationRefused(
            f"{excluded} is excluded for {site_id} already, because of {standing}", HTTPStatus.CONFLICT
        )
    if standing is None:
        await _leave_trail(desk, actor, "exclude day", site_id, f"{excluded}, {reason}")
        await desk.store.exclude_day(site_id, excluded, reason, at=desk.clock.now())
    return {"site_id": site_id, "day": excluded.isoformat(), "reason": reason}


async def include_day(desk: Desk, *, site_id: str, day: str, actor: str) -> Json:
    """Let a day count again that was kept out of the baselines of a site, or of all with ``*``.

    It takes back what ``vpp day exclude`` said under the same name, from now on; days of our own events stay
    out. Events that are open are settled again without it; one that is closed changes by a correction only.
    The trail keeps who did it.

    Returns:
        ``site_id, day``, and ``reason``, the one that is taken back; None where none stood.
    """
    included = _date(day)
    if site_id != "*":
        await desk.enrollment(site_id)
    standing = await _standing(desk, site_id, included)
    if standing is not None:
        await _leave_trail(desk, actor, "include day", site_id, f"{included}, {standing} is taken back")
        await desk.store.include_day(site_id, included, at=desk.clock.now())
    return {"site_id": site_id, "day": included.isoformat(), "reason": standing}


def _date(day: str) -> date:
    try:
        return date.fromisoformat(day)
    except ValueError as failure:
        raise OperationRefused(f"day {day[:40]!r} is not a date such as 2026-09-08") from failure


async def _tomorrow(desk: Desk, site_id: str) -> date:
    """Return the day after today at a site; for every site, where today begins first."""
    program_ids = list(desk.programs) if site_id == "*" else [(await desk.enrollment(site_id)).program_id]
    zones = [ZoneInfo(desk.time_zone(each)) for each in program_ids] or [ZoneInfo("UTC")]
    return max(desk.clock.now().astimezone(zone).date() for zone in zones) + timedelta(days=1)


async def _leave_trail(desk: Desk, actor: str, action: str, site_id: str, about: str) -> None:
    await desk.store.leave_trail([desk.trail_entry(actor, action, f"site:{site_id}", about)])


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
