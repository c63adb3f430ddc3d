"""Two controllers on one database: the leader is frozen, the other takes the lead, the first wakes up."""

import asyncio
import shutil
import signal
import time
from dataclasses import dataclass
from random import Random

from simulators.chaos.checks import Auditor
from simulators.chaos.nursery import Life, Nursery
from simulators.chaos.patience import until
from simulators.chaos.people import Api, People
from simulators.chaos.report import Tally
from simulators.chaos.stage import Stage
from simulators.chaos.wire import Fault
from vpp.adapters.keys import KEY_FILE

FROZEN = "leader frozen"
DISPATCH_S = 15.0  # from the freeze to the other's first command
STEP_DOWN_S = 10.0
STEADY_S = 3.0


@dataclass(slots=True)
class Controller:
    """One of the two, and how to ask it."""

    api: Api
    life: Life

    async def leads(self) -> bool:
        """Return whether it leads and is ready."""
        return await self.api.ready(self.life.pid)

    async def stands_by(self) -> bool:
        """Return whether it does not lead."""
        return not await self.leads()


@dataclass(slots=True)
class Pair:
    """The two controllers on one stage, whose lead changes hands."""

    people: People
    auditor: Auditor
    tally: Tally
    random: Random

    async def change_hands(self, leader: Controller, standby: Controller) -> list[Fault]:
        """Freeze the leader, see the other dispatch, wake the first; return what did not hold."""
        people, heard = self.people, self.people.listener.heard
        await asyncio.sleep(STEADY_S)
        if await standby.leads():
            return [("wrong", "two controllers lead at once")]
        busy = self.random.random() < 0.5
        if busy:  # it is frozen somewhere between a signal and its last command
            await people.change_power()
            await asyncio.sleep(self.random.random() / 20)
        newest = max(epoch for _, epoch, _ in heard.commands)
        leader.life.signal(signal.SIGSTOP)
        frozen_at = time.monotonic()
        if not await until(standby.leads, DISPATCH_S):
            return [("wrong", f"nobody leads {DISPATCH_S:.0f} s after the leader was frozen")]
        people.api = standby.api
        await people.change_power()

        async def commands() -> bool:
            return any(epoch > newest for _, epoch, _ in heard.commands)

        if not await until(commands, DISPATCH_S - (time.monotonic() - frozen_at)):
            return [("wrong", f"nobody commands {DISPATCH_S:.0f} s after the leader was frozen")]
        self.tally.takeover_s.append(time.monotonic() - frozen_at)
        await people.listener.all_answered(DISPATCH_S)
        leader.life.signal(signal.SIGCONT)
        if not await until(leader.stands_by, STEP_DOWN_S):
            return [("wrong", f"a replaced leader leads {STEP_DOWN_S:.0f} s after it woke up")]
        self.tally.kills[FROZEN] += 1
        return []


async def take_turns(
    stage: Stage, people: People, auditor: Auditor, tally: Tally, random: Random, times: int
) -> list[Fault]:
    """Let the lead change hands so many times; return the first faults, and go no further then."""
    folder = stage.folder / "state-b"
    folder.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(stage.folder / "state" / KEY_FILE, folder / KEY_FILE)  # homes pin one key
    settings = {**stage.nursery.variables, "VPP_STATE_DIR": str(folder), "VPP_CRASH_AT": ""}
    pair, first_api = Pair(people, auditor, tally, random), people.api
    async with Nursery(settings, stage.folder / "controller-b.log") as nursery:
        leader = Controller(first_api, await stage.nursery.start("serve", VPP_CRASH_AT=""))
        if not await until(leader.leads, DISPATCH_S):
            return [("wrong", "the first of two controllers does not lead")]
        standby = Controller(Api(folder), await nursery.start("serve"))
        try:
            await _begin(people)
            for _ in range(times):
                faults = await pair.change_hands(leader, standby)
                faults += await auditor.audit(people.listener.heard, chain=True)
                if faults:
                    return faults
                leader, standby = standby, leader
        finally:
            people.api = first_api
            for each in (leader, standby):
                each.life.signal(signal.SIGCONT)
                await each.life.kill()
    return []


async def _begin(people: People) -> None:
    """Let an event run in which homes are commanded."""
    if people.event_id is None:
        await people.begin_event()
    await people.tell_homes("speak")
    await people.change_power()
    heard = people.listener.heard

    async def commanded() -> bool:
        return bool(heard.commands)

    await until(commanded, DISPATCH_S)
