"""What a gateway keeps through a power cut: the highest command of each key, and the lease in force."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
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
    """``in_force`` is the body of an accepted lease that may be resumed; ``pair`` what telemetry names."""

    highest: dict[str, StoredCommand] = field(default_factory=dict)  # by kid
    in_force: bytes | None = None
    pair: tuple[int, int] = (0, 0)


class CommandDisk(Protocol):
    """Where a gateway's commands survive a reboot."""

    def load(self) -> DiskContent:
        """Return what was stored last; empty when nothing was, or the disk was lost."""
        ...

    def store(self, content: DiskContent) -> None:
        """Keep the content; when this returns it survives a power cut."""
        ...


class MemoryDisk:
    """A disk for simulated homes: it survives a simulated reboot, and can be lost on purpose."""

    def __init__(self) -> None:
        self._content = DiskContent()

    def load(self) -> DiskContent:
        """Return what was stored last."""
        return DiskContent(dict(self._content.highest), self._content.in_force, self._content.pair)

    def store(self, content: DiskContent) -> None:
        """Keep the content."""
        self._content = DiskContent(dict(content.highest), content.in_force, content.pair)

    def lose(self) -> None:
        """Forget everything, as after a replaced memory card."""
        self._content = DiskContent()


class FileDisk:
    """One small JSON file per home, replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> DiskContent:
        """Return what was stored last; empty when there is no file yet."""
        if not self._path.exists():
            return DiskContent()
        kept = json.loads(self._path.read_bytes())
        highest = {
            kid: StoredCommand(epoch, sequence, body.encode(), None if ack is None else ack.encode())
            for kid, (epoch, sequence, body, ack) in kept["highest"].items()
        }
        in_force = kept["in_force"]
        return DiskContent(
            highest, None if in_force is None else in_force.encode(), (kept["pair"][0], kept["pair"][1])
        )

    def store(self, content: DiskContent) -> None:
        """Write a draft, make it durable, then put it in place."""
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
        text = json.dumps({"highest": highest, "in_force": in_force, "pair": content.pair})
        draft = self._path.with_suffix(".new")
        with draft.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
