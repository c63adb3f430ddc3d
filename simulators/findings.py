"""What a history showed to be broken: which invariant, when, where, and how to see it again."""

from dataclasses import dataclass
from datetime import datetime

from simulators.kernel import Kernel
from vpp.wire.strict_json import time_text

MOST_KEPT = 20


@dataclass(frozen=True, slots=True)
class Violation:
    """One promise that did not hold. ``site_id`` is empty where it is about the whole fleet."""

    invariant: str
    at: datetime
    site_id: str
    what: str
    seed: int
    harsh: bool

    @property
    def replay(self) -> str:
        """Return the command that plays this history again."""
        return f"python -m simulators --seed {self.seed}{' --harsh' if self.harsh else ''}"

    def line(self) -> str:
        """Return everything on one line."""
        where = f" at {self.site_id}" if self.site_id else ""
        return f"{self.invariant} {time_text(self.at)}{where}: {self.what}; replay: {self.replay}"

    def facts(self) -> dict[str, object]:
        """Return the same for JSON."""
        return {
            "invariant": self.invariant,
            "at": time_text(self.at),
            "site_id": self.site_id,
            "what": self.what,
            "seed": self.seed,
            "replay": self.replay,
        }


class Findings:
    """Violations in the order in which they were seen, of one history."""

    def __init__(self, kernel: Kernel, *, harsh: bool) -> None:
        self.violations: list[Violation] = []
        self._kernel = kernel
        self._harsh = harsh

    def report(self, invariant: str, what: str, *, site_id: str = "") -> None:
        """Write down that an invariant does not hold now."""
        if len(self.violations) < MOST_KEPT:
            at = self._kernel.now().replace(microsecond=0)
            self.violations.append(Violation(invariant, at, site_id, what, self._kernel.seed, self._harsh))
