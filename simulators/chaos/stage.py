"""What a run needs before the first event: programs in season, a database, homes that are enrolled."""

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from simulators.chaos.broker import Mosquitto
from simulators.chaos.nursery import Nursery
from simulators.grid import Operator, make_key_file, read_key_file
from simulators.home_files import SITES_FILE, read_site_ids
from vpp.adapters.clock import WallClock
from vpp.adapters.keys import FileKeys
from vpp.settings import CONFIG_DIR
from vpp.wire.signed import VerifyingKey

SOURCE = "caiso"
KILLED = -9

PRICED = "dsgs-3"
"""A program that pays a month whose hours weigh by what energy cost. No home of a run is in it."""


class NotSetUp(Exception):
    """A command of the preparation did not do what it should; the log says why."""


def always_in_season(folder: Path) -> None:
    """Write a program's file so that it is noon, in season, and closed a day after, whenever this runs.

    Beside it lies that of ``PRICED``, as it is.
    """
    ahead_h = (12 - WallClock().now().astimezone(UTC).hour + 11) % 24 - 11  # hours to add to UTC for noon
    text = (CONFIG_DIR / "programs" / "elrp-a4-pge.toml").read_text()
    for key, value in (
        ("season_first", '"01-01"'),
        ("season_last", '"12-31"'),
        ("window_opens", "00:00:00"),
        ("window_closes", "23:59:59"),
        ("season_cap_h", "8000"),
        ("close_after_days", "1"),
    ):
        text = re.sub(
            rf"^{key} = {{ value = [^,]+,", f"{key} = {{ value = {value},", text, flags=re.MULTILINE
        )
    zone = f"Etc/GMT{-ahead_h:+d}"  # in these names the sign is the other way round
    folder.mkdir(exist_ok=True)
    text = text.replace('time_zone = "America/Los_Angeles"', f'time_zone = "{zone}"')
    (folder / "elrp-a4-pge.toml").write_text(text)
    priced = f"{PRICED}.toml"
    (folder / priced).write_text((CONFIG_DIR / "programs" / priced).read_text())


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that stands while controllers come and go."""

    folder: Path
    broker: Mosquitto
    nursery: Nursery
    homes: asyncio.subprocess.Process
    site_ids: list[str]
    full_w: int
    source: Operator

    @property
    def log(self) -> Path:
        """Return the file in which every controller's words end up."""
        return self.folder / "controller.log"


def variables(folder: Path, broker: Mosquitto, database_url: str) -> dict[str, str]:
    """Return the settings of every controller, by the variables' names: impatient ones."""
    return {
        "VPP_BROKER_URL": broker.url,
        "VPP_DATABASE_URL": database_url,
        "VPP_STATE_DIR": str(folder / "state"),
        "VPP_HTTP_PORT": "0",
        "VPP_PROGRAMS_DIR": str(folder / "programs"),
        "VPP_DISPATCH__SPREAD_S": "0",
        "VPP_DISPATCH__TICK_S": "2",
        "VPP_DISPATCH__LEASE_S": "60",
        "VPP_DISPATCH__ACK_TIMEOUT_S": "3",
    }


@asynccontextmanager
async def staged(
    folder: Path, *, homes: int, hours: int, seed: int, database_url: str, kills: Counter[str]
) -> AsyncIterator[Stage]:
    """Give a stage on which homes are enrolled and live; each first command was killed on its way.

    ``kills`` counts them by label; ``hours`` of each day, from the present one on, have a meter history.
    Raises NotSetUp.
    """
    always_in_season(folder / "programs")
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(Mosquitto(folder))
        settings = variables(folder, broker, database_url)
        nursery = await stack.enter_async_context(Nursery(settings, folder / "controller.log"))
        words = ("--out", folder / "homes", "--count", homes, "--seed", seed, "--hours", hours)
        child = await stack.enter_async_context(_homes(*map(str, words)))
        assert child.stdin is not None
        assert child.stdout is not None
        operator = Preparing(nursery, kills)
        keys = await operator.make_keys(folder / "state")
        controller_key = VerifyingKey(keys.public_key)
        # Homes connect while their history is imported: a controller that serves finds them there.
        child.stdin.write(f"live {broker.url} {keys.kid}:{controller_key.text}\n".encode())
        said = await child.stdout.readline()
        if not said:
            raise NotSetUp("python -m simulators.chaos.homes ended before it had made homes")
        public = make_key_file(folder / "grid.key")
        await operator.enrol(folder / "homes" / SITES_FILE, json.loads(said)["history"], public)
        pinned = {keys.kid: controller_key}
        yield Stage(
            folder=folder,
            broker=broker,
            nursery=nursery,
            homes=child,
            site_ids=list(read_site_ids(folder / "homes" / SITES_FILE)),
            full_w=homes * 2000,
            source=Operator(SOURCE, read_key_file(folder / "grid.key"), pinned),
        )


@dataclass(frozen=True, slots=True)
class Preparing:
    """An operator's first commands, each killed before and after its point and typed again."""

    nursery: Nursery
    kills: Counter[str]

    async def make_keys(self, state: Path) -> FileKeys:
        """Make the controller's key and the database's tables. Raises NotSetUp."""
        for point in ("key-file", "migration"):
            await self._killed(point, "keys", "show")
            kid = FileKeys(state).kid
            await self._typed("keys", "show")
            if FileKeys(state).kid != kid:
                raise NotSetUp("the controller has another key after a kill")
        return FileKeys(state)

    async def enrol(self, sites: Path, histories: Sequence[str], public: VerifyingKey) -> None:
        """Enrol the homes, import their histories and add the grid's key. Raises NotSetUp."""
        enroll = ("site", "enroll", "--file", str(sites))
        await self._killed("enrolment", *enroll)
        await self._typed(*enroll, again=True)
        await self._killed("readings", "meter", "import", histories[0])
        for history in histories:
            await self._typed("meter", "import", history)
        add = ("source", "add", SOURCE, "--key", public.text, "--max-mw", "100")
        await self._killed("source", *add)
        await self._typed(*add)

    async def _killed(self, point: str, *words: str) -> None:
        for label in (f"before-{point}", f"after-{point}"):
            life = await self.nursery.start(*words, "--json", VPP_CRASH_AT=label)
            if await life.wait() != KILLED:
                raise NotSetUp(f"vpp {' '.join(words)} did not die at {label}; see {self.nursery.log}")
            self.kills[label] += 1

    async def _typed(self, *words: str, again: bool = False) -> None:
        """Type a command to its end; one that was committed already may be refused ``again``."""
        code = await (await self.nursery.start(*words, "--json", VPP_CRASH_AT="")).wait()
        if code != 0 and not (code == 1 and again):
            raise NotSetUp(f"vpp {' '.join(words)} ended with {code}; see {self.nursery.log}")


@asynccontextmanager
async def _homes(*words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Keep homes in a process of their own."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators.chaos.homes", *words,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**26,
    )  # fmt: skip
    try:
        yield child
    finally:
        assert child.stdin is not None
        child.stdin.close()
        await child.wait()
