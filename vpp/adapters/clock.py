"""What time it is: by the machine, by the machine without its small steps, or by whoever steps it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from vpp.domain.interval import require_utc

FOLLOWED_SLOWLY = timedelta(seconds=10)
"""The largest step that is slewed: a third of the 30 s by which a home's clock may disagree with ours."""
SLEWS_BY = 50
"""A slewed second is longer or shorter by a fiftieth: ten seconds are made up for in eight minutes."""


class ClockMovedBack(ValueError):
    """A stepped clock was told to go back."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class WallClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present instant, aware UTC."""
        return _utc_now()


class SlewedClock:
    """The machine's clock for whoever steers power: a small step of it is followed little by little.

    A ramp is watts a second, so a clock that is set right by ten seconds would let ten seconds of it pass at
    once. What is further off is no correction but a clock that was wrong, or a machine that slept: homes
    refuse commands of a time far from theirs, so it is taken over at once.

    Args:
        machine: Returns what the machine says, aware UTC.
        elapsed: Returns seconds that nobody sets, from any beginning.
    """

    def __init__(
        self,
        machine: Callable[[], datetime] = _utc_now,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._machine = machine
        self._elapsed = elapsed
        self._now = machine()
        self._at = elapsed()

    def now(self) -> datetime:
        """Return the present instant, aware UTC."""
        machine, at = self._machine(), self._elapsed()
        passed = timedelta(seconds=at - self._at)
        steady = self._now + passed
        most = passed / SLEWS_BY
        self._at = at
        if abs(machine - steady) > FOLLOWED_SLOWLY:
            self._now = machine
        else:
            self._now = steady + max(-most, min(most, machine - steady))
        return self._now

    def not_before(self, at: datetime) -> None:
        """Go on from an instant that an earlier life had reached, unless that is a wrong clock's."""
        if timedelta(0) < at - self.now() <= FOLLOWED_SLOWLY:
            self._now = at


class SteppedClock:
    """A clock that stands still between steps, so that a slow machine computes the same."""

    def __init__(self, start: datetime) -> None:
        self._now = require_utc(start)

    def now(self) -> datetime:
        """Return the instant of the last step."""
        return self._now

    def step_to(self, at: datetime) -> None:
        """Move to an instant. The same again is no step.

        Raises:
            ClockMovedBack: The instant lies before the present one.
        """
        if require_utc(at) < self._now:
            raise ClockMovedBack(f"{at.isoformat()} is before {self._now.isoformat()}; a clock only goes on")
        self._now = at
