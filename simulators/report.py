"""What many histories came to together, for people and as one JSON object."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field

from simulators.findings import Violation
from simulators.history_of_seed import Outcome


@dataclass(slots=True)
class Report:
    """Outcomes added up. ``cpu_seconds`` is processor time, so that figures are per core."""

    first_seed: int
    seeds: int = 0
    event_seconds: int = 0
    cpu_seconds: float = 0.0
    steps: int = 0
    ticks: int = 0
    real_signatures: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    _trace: str = ""

    def add(self, outcome: Outcome, cpu_seconds: float) -> None:
        """Add what one seed came to."""
        self.seeds += 1
        self.event_seconds += outcome.event_seconds
        self.cpu_seconds += cpu_seconds
        self.steps += outcome.steps
        self.ticks += outcome.ticks
        self.real_signatures += outcome.real_signatures
        self.faults.update(outcome.faults)
        self.violations.extend(outcome.violations)
        self._trace = hashlib.sha256(f"{self._trace}{outcome.trace_hash}".encode()).hexdigest()

    @property
    def event_hours(self) -> float:
        """Return the hours in which events were on, each event counted by itself."""
        return self.event_seconds / 3600

    def facts(self) -> dict[str, object]:
        """Return the report for JSON; ``trace_hash`` chains the hashes of all histories in order."""
        hours, minutes = self.event_hours, self.cpu_seconds / 60
        return {
            "first_seed": self.first_seed,
            "seeds": self.seeds,
            "event_hours": round(hours, 2),
            "event_hours_per_minute": round(hours / minutes, 1) if minutes else 0.0,
            "faults_per_event_hour": round(self.faults.total() / hours, 1) if hours else 0.0,
            "faults_by_class": dict(sorted(self.faults.items())),
            "steps": self.steps,
            "ticks": self.ticks,
            "seeds_with_real_signatures": self.real_signatures,
            "violations": [violation.facts() for violation in self.violations],
            "trace_hash": self._trace,
        }

    def text(self) -> str:
        """Return the report for people, one fact on a line."""
        facts = self.facts()
        lines = [
            f"{self.seeds} histories from seed {self.first_seed}, {facts['event_hours']} event-hours, "
            f"{facts['event_hours_per_minute']} of them a minute per core",
            f"{self.faults.total()} faults, {facts['faults_per_event_hour']} per event-hour:",
            *(f"  {count:>8} {kind}" for kind, count in sorted(self.faults.items())),
            f"{self.steps} steps, {self.ticks} committed ticks, trace {self._trace[:32]}",
            f"{len(self.violations)} violations",
            *(f"  {violation.line()}" for violation in self.violations),
        ]
        return "\n".join(lines)
