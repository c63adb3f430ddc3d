"""What a gateway keeps through a power cut: each key's highest command, the lease in force, its event."""

import json
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredCommand:
    """A whole command as it came, and what was answered; ``ack`` None when power went before that."""

    epoch: int
    sequence: int
    body: bytes
    ack: bytes | None


@dataclass(slots=True)
class DiskContent:
    """``in_force`` is the body of an accepted lease that may be resumed; ``pair`` what telemetry names.

    The rest are instants in whole seconds since 1970. ``opt_out_ends_s`` is None while no event binds the
    owner's no.
    """

    highest: dict[str, StoredCommand] = field(default_factory=dict)  # by kid
    in_force: bytes | None = None
    pair: tuple[int, int] = (0, 0)
    event_until_s: int = 0
    grid_charge_from_s: int = 0
    opted_out: bool = False
    opt_out_ends_s: int | None = None

    def copy(self) -> "DiskContent":
        """Return the same content, which no later change of this one reaches."""
        return DiskContent(
            highest=dict(self.highest),
            in_force=self.in_force,
            pair=self.pair,
            event_until_s=self.event_until_s,
            grid_charge_from_s=self.grid_charge_from_s,
            opted_out=self.opted_out,
            opt_out_ends_s=self.opt_out_ends_s,
        )


_PLAIN = ("event_until_s", "grid_charge_from_s", "opted_out", "opt_out_ends_s")


class CommandDisk(Protocol):
    """Where a gateway's commands survive a reboot."""

    def load(self) -> DiskContent:
        """Return what was stored last; empty when nothing was, or the disk was lost."""
        ...

    def store(self, content: DiskContent) -> None:
        """Keep the content: it survives a power cut that comes after the battery moves or the answer leaves.

        A disk may wait that long with what many homes store in one instant, and no longer.
        """
        ...


class MemoryDisk:
    """A disk for simulated homes: it survives a simulated reboot, and can be lost on purpose."""

    def __init__(self) -> None:
        self._content = DiskContent()

    def load(self) -> DiskContent:
        """Return what was stored last."""
        return self._content.copy()

    def store(self, content: DiskContent) -> None:
        """Keep the content."""
        self._content = content.copy()

    def lose(self) -> None:
        """Forget everything, as after a replaced memory card."""
        self._content = DiskContent()


def text_of(content: DiskContent) -> str:
    """Return the content as one line of JSON."""
    highest = {
        kid: [
            each.epoch,
            each.sequence,
            each.body.decode(),
            None if each.ack is None else each.ack.decode(),
        ]
        for kid, each in content.highest.items()
    }
    in_force = None if content.in_force is None else content.in_force.decode()
    plain = {name: getattr(content, name) for name in _PLAIN}
    return json.dumps({"highest": highest, "in_force": in_force, "pair": content.pair, **plain})


def content_of(text: str) -> DiskContent:
    """Return the content that ``text_of`` wrote."""
    kept = json.loads(text)
    highest = {
        kid: StoredCommand(epoch, sequence, body.encode(), None if ack is None else ack.encode())
        for kid, (epoch, sequence, body, ack) in kept["highest"].items()
    }
    in_force = kept["in_force"]
    return DiskContent(
        highest,
        None if in_force is None else in_force.encode(),
        (kept["pair"][0], kept["pair"][1]),
        **{name: kept[name] for name in _PLAIN},
    )
