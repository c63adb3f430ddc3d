"""``python -m simulators.chaos.soak``: one controller lives through fault after fault and stays as small.

The stage of the kills, but nobody kills the controller: every half minute the broker dies, homes reboot,
owners say no, the grid changes its mind, or strangers speak. Its memory and its descriptors are read after
each fault; at the end everything that was promised holds, and the books are exact.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import aiomqtt

from simulators.chaos.broker import MosquittoMissing
from simulators.chaos.nursery import Life
from simulators.chaos.plan import hours_touched
from simulators.chaos.report import Tally
from simulators.chaos.stage import NotSetUp
from simulators.chaos.story import Story, sqlite_in, told
from vpp.adapters.clock import WallClock

STRANGERS_SAY = 200  # messages each time
GROWN_PERCENT, GROWN_MB = 5, 5.0
MORE_DESCRIPTORS = 8  # a connection that is just being replaced is open twice


@dataclass(frozen=True, slots=True)
class Size:
    """How much one process holds."""

    memory_mb: float
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> "Size":
        """Return the size of a process of this machine."""
        status = Path(f"/proc/{pid}/status").read_text()
        memory_kb = int(status.partition("VmRSS:")[2].split()[0])
        return cls(memory_kb / 1024, len(list(Path(f"/proc/{pid}/fd").iterdir())))


@dataclass(slots=True)
class Soak:
    """What a run came to. ``sizes`` were read after each fault."""

    tally: Tally
    sizes: list[Size] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    def early_and_late(self) -> tuple[Size, Size]:
        """Return the largest sizes of the second quarter, when caches are full, and of the last one."""
        quarter = max(1, len(self.sizes) // 4)
        return _largest(self.sizes[quarter : 2 * quarter]), _largest(self.sizes[-quarter:])

    def flat(self) -> bool:
        """Return whether the controller is as small in the end as it was early on."""
        early, late = self.early_and_late()
        most_mb = early.memory_mb * (100 + GROWN_PERCENT) / 100 + GROWN_MB
        return late.memory_mb <= most_mb and late.descriptors <= early.descriptors + MORE_DESCRIPTORS

    def as_json(self) -> dict[str, object]:
        """Return everything as one JSON object."""
        early, late = self.early_and_late()
        return {
            "homes": self.tally.homes,
            "faults": self.faults.total(),
            "faults_by_kind": dict(sorted(self.faults.items())),
            "memory_mb": [round(early.memory_mb, 1), round(late.memory_mb, 1)],
            "descriptors": [early.descriptors, late.descriptors],
            "flat": self.flat(),
            "violations": [sentence for _, sentence in self.tally.faults],
            "commands": self.tally.commands,
            "readings": self.tally.readings,
            "wall_s": round(self.tally.wall_s, 1),
        }


def _largest(sizes: Sequence[Size]) -> Size:
    """Return the largest of sizes; of none, because a fault ended the run before, nothing."""
    return Size(
        max((each.memory_mb for each in sizes), default=0.0),
        max((each.descriptors for each in sizes), default=0),
    )


KINDS = ("broker dies", "homes reboot", "owner says no", "owner says yes", "grid changes its mind",
         "event ends", "homes speak", "strangers speak", "reserve changes")  # fmt: skip


async def soak(
    folder: Path,
    *,
    minutes: float,
    every_s: float,
    homes: int,
    seed: int,
    database_url: str = "",
    say: Callable[[str], None],
) -> Soak:
    """Return what came of one controller's life under a fault every so many seconds."""
    database_url = database_url or sqlite_in(folder)
    run = Soak(Tally(seed, homes, database_url.partition(":")[0]))
    hours = hours_touched(homes, int(minutes * 4), WallClock().now().minute)
    async with told(
        folder, run.tally, homes=homes, hours=hours, seed=seed, database_url=database_url, say=say
    ) as story:
        ends_at = time.monotonic() + minutes * 60
        async with story.life("") as life:
            while time.monotonic() < ends_at or len(run.sizes) < len(KINDS):
                kind = KINDS[len(run.sizes) % len(KINDS)]
                await _let_happen(kind, story, life)
                run.faults[kind] += 1
                await asyncio.sleep(every_s)
                run.sizes.append(Size.of(life.pid))
                await story.promises(life)
                say(f"{kind}: {run.sizes[-1].memory_mb:.0f} MB, {run.sizes[-1].descriptors} descriptors")
        await story.come_to_rest()
    return run


async def _let_happen(kind: str, story: Story, life: Life) -> None:
    people = story.people
    await people.insist(life.pid)
    if people.event_id is None:
        await people.begin_event()
    match kind:
        case "broker dies":
            await story.stage.broker.kill()
            await asyncio.sleep(story.random.random())
            await story.stage.broker.start()
        case "homes reboot":
            await people.tell_homes("reboot 3")
        case "owner says no":
            await people.say_no(life.pid)
        case "owner says yes":
            await people.provoke(life.pid, "opt-in")
        case "grid changes its mind":
            await people.change_power()
        case "event ends":
            await people.end_event(life.pid)
        case "homes speak":
            await people.tell_homes("speak")
        case "strangers speak":
            await _strangers(story.stage.broker.port, story.stage.site_ids, story.random)
        case "reserve changes":
            await people.provoke(life.pid, "reserve")


async def _strangers(port: int, site_ids: Sequence[str], random: Random) -> None:
    """Publish noise under the topics of homes and of the grid."""
    with suppress(aiomqtt.MqttError):
        async with aiomqtt.Client(
            "127.0.0.1", port, identifier=f"stranger-{random.randrange(10**6)}"
        ) as client:
            for _ in range(STRANGERS_SAY):
                kind = random.choice(("telemetry", "ack", "status", "meter"))
                site = random.choice([*site_ids, "s-of-nobody"])
                address = random.choice((f"vpp/v1/0a/{site}/{kind}", "grid/v1/nobody/event"))
                await client.publish(address, random.randbytes(random.randrange(300)), qos=1)


def main(words: Sequence[str] | None = None) -> int:
    """Run and return the exit code: 0 it stayed as small and kept its promises, 1 it did not."""
    parser = argparse.ArgumentParser(prog="python -m simulators.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=30, metavar="S", help="seconds between two faults")
    parser.add_argument("--homes", type=int, default=1_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object last")
    chosen = parser.parse_args(words)
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="vpp-soak-") as folder:
        try:
            run = asyncio.run(
                soak(
                    Path(folder),
                    minutes=chosen.minutes,
                    every_s=chosen.every,
                    homes=chosen.homes,
                    seed=chosen.seed,
                    say=lambda line: print(line, file=sys.stderr, flush=True),  # noqa: T201  # progress
                )
            )
        except (MosquittoMissing, NotSetUp) as problem:
            sys.stderr.write(f"{problem}\n")
            return 1
    found = run.as_json()
    for name, value in found.items():
        sys.stdout.write(f"{name}: {value}\n")
    if chosen.json:
        sys.stdout.write(json.dumps(found) + "\n")
    return 0 if run.flat() and not run.tally.faults else 1


if __name__ == "__main__":
    sys.exit(main())
