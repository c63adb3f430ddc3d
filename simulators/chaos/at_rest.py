"""A restart while nothing changes: running leases go on, and the fleet does not move."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from simulators.chaos.people import People
from vpp.adapters.clock import WallClock
from vpp.domain.command import Action
from vpp.wire.gateway import Command

UNCHANGED_S = AFTER_RESTART_S = 3.0  # more than a tick
MOVED_PERCENT = 1
ABOUT_TO_RUN_OUT = timedelta(seconds=10)


def asked_w(people: People) -> int:
    """Return the power that all leases in force ask of the homes together, as heard on the wire."""
    return asked_by([command for command, _ in people.listener.heard.newest.values()], WallClock().now())


def asked_by(commands: Iterable[Command], now: datetime) -> int:
    """Return the power that each home's newest command asks, together.

    Without leases about to run out: one that is needed is renewed long before, so that home was replaced.
    """
    return sum(
        command.discharge_w
        for command in commands
        if command.action is Action.DISCHARGE and command.expires_at > now + ABOUT_TO_RUN_OUT
    )


async def steady(people: People) -> bool:
    """Return whether homes are asked for the same power for seconds in which the grid waits for nothing."""
    before_w = asked_w(people)
    if before_w == 0 or people.listener.pending():
        return False  # an answer that comes now will change the power only later
    await asyncio.sleep(UNCHANGED_S)
    return asked_w(people) == before_w and not people.listener.pending()


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the homes are asked and do at one moment."""

    asked_w: int
    discharging: int  # homes that say so themselves
    short_w: int  # what the plan in force lacks of the request

    def moved_by(self, later: "Fleet") -> str | None:
        """Return what a restart between the two moved; None if it moved no more than one per cent.

        One home may stop for reasons of its own: batteries run empty while a controller starts. And where
        power was lacking, a home that reports for the first time meanwhile may give some of it.
        """
        more_w = later.asked_w - self.asked_w
        if 100 * max(-more_w, more_w - self.short_w) > MOVED_PERCENT * self.asked_w:
            return f"{self.asked_w} W were asked before a restart at rest, {later.asked_w} W after it"
        fewer = self.discharging - later.discharging
        if fewer > max(1, MOVED_PERCENT * self.discharging // 100):
            return f"{fewer} of {self.discharging} homes stopped at a restart at rest"
        return None
