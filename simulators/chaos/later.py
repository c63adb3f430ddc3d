"""Money some days later: the product's own operations on its own store, by a clock that is ahead.

An event is final a day after its end at the earliest, which no test waits for. Started by the nursery with
``later WHAT ...``; the process may be told to kill itself like any other.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from vpp.adapters.clock import WallClock
from vpp.adapters.crash_points import crash_around
from vpp.adapters.keys import FileKeys
from vpp.adapters.sql.store import SqlStore
from vpp.bootstrap import crash_point
from vpp.entrypoints.operations import books, days, forgetting, money, own_data, payouts, write_offs
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused
from vpp.settings import load_programs, load_settings
from vpp.stages.watch import QUIET_FOR, Watched, alert

AHEAD = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class ClockAhead:
    """The machine's clock, some days ahead."""

    ahead: timedelta = AHEAD

    def now(self) -> datetime:
        """Return an instant some days from now."""
        return WallClock().now() + self.ahead


async def _settle(desk: Desk) -> Json:
    return await money.settle_ended(desk)


async def _exclude(desk: Desk, site_id: str, day: str) -> Json:
    return await days.exclude_day(desk, site_id=site_id, day=day, reason="outage", actor="staff:later")


async def _correct(desk: Desk, event_id: str) -> Json:
    return await books.correct_event(desk, event_id=event_id, reason="an outage", actor="operator:chaos")


async def _pay(desk: Desk, run_id: str) -> Json:
    return await payouts.run_payout(desk, run_id=run_id)


async def _confirm(desk: Desk, run_id: str) -> Json:
    return await payouts.confirm_payout(desk, run_id=run_id)


async def _call_back(desk: Desk, run_id: str) -> Json:
    return await payouts.cancel_payout(desk, run_id=run_id)


async def _leave(desk: Desk, site_id: str) -> Json:
    owner_id = (await desk.enrollment(site_id)).owner_id
    return await own_data.leave_program(desk, owner_id=owner_id, site_id=site_id, actor=f"owner:{owner_id}")


async def _forget(desk: Desk, owner_id: str) -> Json:
    hindrance = await forgetting.why_not_yet(desk, owner_id=owner_id)
    if hindrance is not None and hindrance[1].startswith("-"):  # a correction left the owner in debt
        await write_offs.write_off_owner(desk, owner_id=owner_id, reason="left", actor="staff:later")
    elif hindrance is not None:
        await payouts.run_payout(desk, run_id="last")
        await payouts.confirm_payout(desk, run_id="last")
    return await forgetting.forget_owner(desk, owner_id=owner_id, actor=f"owner:{owner_id}")


async def _quiet(desk: Desk) -> Json:
    """Watch, nothing being amiss, for as long as an alarm needs to be over; one unanswered is told again."""
    seen = Watched()
    for ahead in (AHEAD, AHEAD + QUIET_FOR):
        await alert((), store=desk.store, clock=ClockAhead(ahead), seen=seen)
    return {}


DEEDS: dict[str, Callable[..., Awaitable[Json]]] = {
    "settle": _settle,
    "exclude": _exclude,
    "correct": _correct,
    "pay": _pay,
    "confirm": _confirm,
    "call-back": _call_back,
    "leave": _leave,
    "forget": _forget,
    "quiet": _quiet,
}


async def do(deed: str, *words: str) -> None:
    """Do one deed on the store that the environment names. Raises OperationRefused."""
    settings = load_settings()
    opened = await SqlStore.open(settings.store_url)
    try:
        store = crash_around(opened, crash_point(settings))
        desk = Desk(store, ClockAhead(), FileKeys(settings.state_dir), load_programs(settings))
        await DEEDS[deed](desk, *words)
    finally:
        await opened.close()


def main() -> None:
    """Do what the command line says; a refusal ends with 1."""
    try:
        asyncio.run(do(*sys.argv[2:]))
    except OperationRefused as refused:
        sys.exit(f"refused: {refused}")
