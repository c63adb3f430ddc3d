"""The night after the last event: homes still speak of it, and a controller restarts that read nothing of it.

What is over for more than the longest lease is no longer read back as an event in force. Homes do not
care: one never heard its release, another lost its disk after it did and says that it knows of nothing, a
third delivers its readings only now. Every night has these, and whatever else its climate knows.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from simulators.faults import Fault
from simulators.mischief import Mischief
from simulators.online_home import OnlineHome
from simulators.world import World
from vpp.domain.command import LONGEST_LEASE

DEAF = 2
FORGETFUL = 3
DEAF_FOR_MS = 25 * 60_000
FORGETS_AGAIN = timedelta(seconds=90)
QUIET_UNTIL = timedelta(minutes=5)


class Night:
    """What happens late in one history; begins with ``deafen``, just before the events end."""

    def __init__(self, world: World, mischief: Mischief) -> None:
        self._world = world
        self._mischief = mischief
        self._random = world.kernel.random

    def deafen(self) -> frozenset[str]:
        """Let some homes hear nothing of the end: they go on until their leases run out. Return them."""
        deaf = frozenset(home.site_id for home in self._some(DEAF))
        for site_id in sorted(deaf):
            self._world.network.cut(site_id, "down", DEAF_FOR_MS)
        return deaf

    def course(self) -> list[tuple[datetime, Callable[[], None]]]:
        """Return what happens when, the last of it after the controller restarted late.

        Homes forget before that, so that they are released by an event that is over, and again after it,
        when only what was told them within the last lease is known.
        """
        ends_at = max(event.ends_at for event in self._world.operator.events.values())  # as asked: it is kept
        late_at = max(ends_at, self._world.kernel.now()) + LONGEST_LEASE
        first_at = late_at - timedelta(seconds=self._random.randint(60, 600))
        restart_at = late_at + timedelta(seconds=self._random.randint(30, 240))
        forgetful = self._some(FORGETFUL)
        return [
            (first_at - QUIET_UNTIL, self._begin),
            (first_at, lambda: self._forget(forgetful)),
            (restart_at, self._restart),
            (restart_at + FORGETS_AGAIN, lambda: self._forget([*forgetful, *self._some(1)])),
            (restart_at + 2 * FORGETS_AGAIN, lambda: None),
        ]

    def _begin(self) -> None:
        self._world.climate.over = False
        self._mischief.go_on()

    def _restart(self) -> None:
        leader = self._world.leader
        if leader is not None:
            self._world.kill(leader)

    def _forget(self, homes: list[OnlineHome]) -> None:
        for home in homes:
            home.reboot(lose_disk=True)
            self._world.count(Fault.GATEWAY_DISK_LOST)

    def _some(self, count: int) -> list[OnlineHome]:
        return self._random.sample(list(self._world.homes.values()), count)
