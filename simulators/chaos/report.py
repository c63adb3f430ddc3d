"""What the kills came to, for people and as one JSON object."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from simulators.chaos.wire import Fault


@dataclass(slots=True)
class Tally:
    """Counted while it goes on. Times in seconds."""

    seed: int
    homes: int
    database: str
    kills: Counter[str] = field(default_factory=Counter)  # by label, "any instant" or "broker"
    missed: Counter[str] = field(default_factory=Counter)  # labels not come by; killed at any instant instead
    faults: list[Fault] = field(default_factory=list)
    life_s: list[float] = field(default_factory=list)  # from restart to first sign of life
    command_s: list[float] = field(default_factory=list)  # from the broker's open port to the first command
    obeyed_s: list[float] = field(default_factory=list)  # from an owner's answered no to the release
    takeover_s: list[float] = field(default_factory=list)  # from a leader's freeze to the other's command
    commands: int = 0
    executed: int = 0
    receipts: int = 0
    readings: int = 0
    events: int = 0
    notices: int = 0
    notices_again: int = 0  # arrived twice, the controller having died before it noted the first
    unnoted: int = 0  # lives that ended with a notice sent and not noted
    answers: int = 0  # to alarms
    entries: int = 0
    paid_micro_dollars: int = 0
    prepared_s: float = 0.0  # until every home was enrolled and online
    wall_s: float = 0.0
    busy: float = 1.0  # processes that waited for each processor, at most: all limits were so much longer

    def of(self, kind: str) -> int:
        """Return how many faults of a kind were found."""
        return sum(each == kind for each, _ in self.faults)

    def as_json(self) -> dict[str, object]:
        """Return everything as one JSON object."""
        return {
            "seed": self.seed,
            "homes": self.homes,
            "database": self.database,
            "kills": self.kills.total(),
            "broker_kills": self.kills["broker"],
            "labels": len([label for label in self.kills if label.startswith(("before-", "after-"))]),
            "kills_by_label": dict(sorted(self.kills.items())),
            "missed_labels": dict(sorted(self.missed.items())),
            "lost": self.of("lost"),
            "doubled": self.of("doubled"),
            "violations": [sentence for _, sentence in self.faults],
            "first_life_s": _spread(self.life_s),
            "first_command_s": _spread(self.command_s),
            "opt_out_s": _spread(self.obeyed_s),
            "takeovers": len(self.takeover_s),
            "takeover_s": _spread(self.takeover_s),
            "commands": self.commands,
            "executed": self.executed,
            "receipts": self.receipts,
            "readings": self.readings,
            "events": self.events,
            "notices": self.notices,
            "notices_again": self.notices_again,
            "lives_ended_before_the_note": self.unnoted,
            "alarms_answered": self.answers,
            "ledger_entries": self.entries,
            "paid_usd": f"{self.paid_micro_dollars / 1_000_000:.2f}",
            "prepared_s": round(self.prepared_s, 1),
            "wall_s": round(self.wall_s, 1),
            "busy": round(self.busy, 1),
        }

    def show(self, out: TextIO) -> None:
        """Write it for people."""
        out.write(f"{self.kills.total()} kills in {self.wall_s:.0f} s, {self.homes} homes, {self.database}\n")
        out.write(f"enrolled and online after {self.prepared_s:.0f} s\n")
        for label, count in sorted(self.kills.items()):
            out.write(f"  {count:5d}  {label}\n")
        if self.missed:
            missed = ", ".join(f"{label} ({count})" for label, count in sorted(self.missed.items()))
            out.write(f"labels not come by in time, killed at any instant instead: {missed}\n")
        for name, times in (
            ("restart to first sign of life", self.life_s),
            ("broker's port open to first command", self.command_s),
            ("owner's no to release", self.obeyed_s),
            ("leader frozen to the other's first command", self.takeover_s),
        ):
            if times:
                half, worst = _spread(times).values()
                out.write(f"{name}: {half} s half of the time, {worst} s at most\n")
        out.write(
            f"{self.events} events, {self.commands} commands heard, {self.executed} executed by homes; "
            f"{self.readings} readings stored; {self.entries} ledger entries, "
            f"${self.paid_micro_dollars / 1_000_000:.2f} paid\n"
            f"{self.notices} notices arrived, {self.notices_again} of them twice: {self.unnoted} lives ended "
            f"between a sending and its note; {self.answers} alarms answered\n"
            f"at the busiest {self.busy:.1f} processes waited for each processor: limits were longer\n"
            f"lost {self.of('lost')}, doubled {self.of('doubled')}, "
            f"otherwise wrong {len(self.faults) - self.of('lost') - self.of('doubled')}\n"
        )
        for kind, sentence in self.faults:
            out.write(f"{kind}: {sentence}\n")


def _spread(times: Sequence[float]) -> dict[str, float]:
    if not times:
        return {}
    ordered = sorted(times)
    return {"median": round(ordered[len(ordered) // 2], 2), "most": round(ordered[-1], 2)}
