"""What a run needs before the first event: programs in season, a database, homes that are enrolled."""

import asyncio
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from simulators.chaos.broker import Mosquitto
from simulators.chaos.nursery import Nursery
from simulators.chaos.plan import BEFORE_SERVING
from simulators.grid import Operator, make_key_file, read_key_file
from simulators.home_files import SITES_FILE, read_site_ids
from vpp.adapters.clock import WallClock
from vpp.adapters.keys import FileKeys
from vpp.settings import CONFIG_DIR
from vpp.wire.signed import VerifyingKey

SOURCE = "caiso"
KILLED = -9


class NotSetUp(Exception):
    """A command of the preparation did not do what it should; the log says why."""


def always_in_season(folder: Path) -> None:
    """Write a program's file so that it is noon, in season, and closed a day after, whenever this runs."""
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


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that stands while controllers come and go."""

    folder: Path
    broker: Mosquitto
    nursery: Nursery
    site_ids: list[str]
    full_w: int
    source: Operator
    controller_key: str

    @property
    def log(self) -> Path:
        """Return the file in which every controller's words end up."""
        return self.folder / "controller.log"

    @property
    def sites(self) -> Path:
        """Return the homes' enrolment file."""
        return self.folder / "homes" / SITES_FILE


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
    folder: Path, *, homes: int, seed: int, database_url: str, kills: Counter[str]
) -> AsyncIterator[Stage]:
    """Give a stage on which homes are enrolled; each command of the preparation was killed on its way.

    ``kills`` counts them by label. Raises NotSetUp.
    """
    always_in_season(folder / "programs")
    await _make_homes(folder / "homes", homes, seed)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(Mosquitto(folder))
        settings = variables(folder, broker, database_url)
        nursery = await stack.enter_async_context(Nursery(settings, folder / "controller.log"))
        public = make_key_file(folder / "grid.key")
        await _prepare(nursery, folder, public, kills)
        keys = FileKeys(folder / "state")
        site_ids = list(read_site_ids(folder / "homes" / SITES_FILE))
        controller_key = VerifyingKey(keys.public_key)
        pinned = {keys.kid: controller_key}
        yield Stage(
            folder=folder,
            broker=broker,
            nursery=nursery,
            site_ids=site_ids,
            full_w=homes * 2000,
            source=Operator(SOURCE, read_key_file(folder / "grid.key"), pinned),
            controller_key=f"{keys.kid}:{controller_key.text}",
        )


async def _make_homes(out: Path, count: int, seed: int) -> None:
    words = ("homes", "--count", str(count), "--seed", str(seed), "--out", str(out))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators", *words, stdout=asyncio.subprocess.DEVNULL
    )
    if await child.wait() != 0:
        raise NotSetUp(f"python -m simulators {' '.join(words)} ended with {child.returncode}")


async def _prepare(nursery: Nursery, folder: Path, public: VerifyingKey, kills: Counter[str]) -> None:
    """Type an operator's first commands, killed before and after each point and typed again."""
    homes = folder / "homes"
    key_commands = ("keys", "show")
    for point, words in zip(
        BEFORE_SERVING,
        (
            key_commands,
            key_commands,
            ("site", "enroll", "--file", str(homes / SITES_FILE)),
            ("meter", "import", str(homes / "history.csv")),
            ("source", "add", SOURCE, "--key", public.text, "--max-mw", "100"),
        ),
        strict=True,
    ):
        kid: str | None = None
        for label in (f"before-{point}", f"after-{point}"):
            life = await nursery.start(*words, "--json", VPP_CRASH_AT=label)
            if await life.wait() != KILLED:
                raise NotSetUp(f"vpp {' '.join(words)} did not die at {label}; see {nursery.log}")
            kills[label] += 1
        if point == "key-file":
            kid = FileKeys(folder / "state").kid
        code = await (await nursery.start(*words, "--json", VPP_CRASH_AT="")).wait()
        # What was committed before the kill is refused the second time; nothing is missing either way.
        if code != 0 and not (code == 1 and point == "enrolment"):
            raise NotSetUp(f"vpp {' '.join(words)} ended with {code} after two kills; see {nursery.log}")
        if kid is not None and FileKeys(folder / "state").kid != kid:
            raise NotSetUp("the controller has another key after a kill")


@asynccontextmanager
async def homes_of(stage: Stage) -> AsyncIterator[asyncio.subprocess.Process]:
    """Keep the homes running in a process of their own."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators.chaos.homes",
        *("--broker", stage.broker.url, "--sites", str(stage.sites)),
        *("--controller-key", stage.controller_key),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**26,
    )  # fmt: skip
    try:
        yield child
    finally:
        assert child.stdin is not None
        child.stdin.close()
        await child.wait()
