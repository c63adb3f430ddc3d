"""What time it is: the machine's clock, or one that only moves when told."""

from datetime import UTC, datetime

from vpp.domain.interval import require_utc


class ClockMovedBack(ValueError):
    """A stepped clock was told to go back."""


class WallClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present instant, aware UTC."""
        return datetime.now(UTC)


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
