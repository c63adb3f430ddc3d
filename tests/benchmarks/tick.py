"""How long one tick takes that judges every home, plans again and commits, in seconds of one processor."""

import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import numpy as np

from tests.benchmarks.measuring import Figure, sizes_up_to_most
from tests.stages.world import EVENING, GRID, PROGRAM, ListeningLink, World, a_program, a_request
from vpp.adapters.memory.store import MemoryStore
from vpp.adapters.sql.store import SqlStore
from vpp.domain.fleet import enroll
from vpp.domain.interval import to_epoch
from vpp.domain.lease import Standing
from vpp.ports import Store
from vpp.stages.control import resume

SITES = sizes_up_to_most(10_000, 100_000)
REPLANS = 5
FAILING_EVERY = 50
CHUNK = 10_000
AIM_MS = 200.0


class _SilentLink(ListeningLink):
    """Keeps nothing: signing and sending are another benchmark's."""

    async def command(self, batches: object) -> None:
        pass


async def _fleet(store: Store, sites: int) -> World:
    """Return homes between 60 and 99 % full, under an event of a third of what they can give."""
    world = World(store, {PROGRAM: a_program()})  # type: ignore[arg-type]  # any store serves
    world.link = _SilentLink()
    await world.store.add_source(GRID)
    for first in range(0, sites, CHUNK):
        requests = [a_request(site) for site in range(first, min(first + CHUNK, sites))]
        enroll(world.fleet, world.roster, await world.store.enroll(requests, at=EVENING - timedelta(days=60)))
    world.board = await resume(store=world.store, fleet=world.fleet, clock=world.clock)
    world.board.judged_from_s = 0
    world.sample(soc_permille=_charge(sites))
    await world.signal(1_500 * sites)
    return world


def _charge(sites: int) -> list[int]:
    return (600 + np.arange(sites) * 7919 % 400).tolist()


async def _timed(world: World, seconds: int) -> float:
    world.clock.step_to(world.clock.now() + timedelta(seconds=seconds))
    began = time.process_time()
    tick = await world.tick()
    taken = time.process_time() - began
    assert tick is not None, "there was something to decide"
    world.board.leases.standing[world.board.leases.standing == Standing.WAITING] = Standing.ACCEPTED
    return taken


async def _ticks(store: Store, sites: int) -> dict[str, float]:
    """Return seconds of processor time by kind of tick."""
    world = await _fleet(store, sites)
    taken = {"first plan": await _timed(world, 0)}
    world.deliver(soc_permille=_charge(sites))
    world.clock.step_to(world.clock.now() + timedelta(seconds=180))
    replans = []
    for number in range(REPLANS):
        failing = dict.fromkeys(range(number, sites, FAILING_EVERY), 0)
        for _ in range(2):  # two samples in a row prove a home short
            world.clock.step_to(world.clock.now() + timedelta(seconds=1))
            world.deliver(soc_permille=_charge(sites), short=failing)
            _look(world)
        before = world.board.plans["ev-1"].revision
        replans.append(await _timed(world, 1))
        assert world.board.plans["ev-1"].revision == before + 1, "who fell short was made good"
    taken["re-plan"] = statistics.median(replans)
    return taken


def _look(world: World) -> None:
    """Let the first of two samples be seen as a tick in between would."""
    log, fleet = world.board.proof, world.fleet
    log.low_samples += (fleet.sampled_at_s > log.seen_at_s) & (fleet.battery_w == 0)
    log.seen_at_s = fleet.sampled_at_s.copy()
    assert to_epoch(world.clock.now()) >= int(log.seen_at_s.max())


async def run() -> list[Figure]:
    """Return milliseconds of processor time of a first plan and of a re-plan, committed."""
    figures = []
    for sites in SITES:
        with tempfile.TemporaryDirectory() as folder:
            file = await SqlStore.open(f"sqlite:///{Path(folder) / 'vpp.db'}")
            stores: dict[str, Store] = {"in memory": MemoryStore(), "on SQLite": file}
            for where, store in stores.items():
                for kind, seconds in (await _ticks(store, sites)).items():
                    figures.append(
                        Figure(
                            f"{sites:>9,} sites, {kind}, committed {where}",
                            seconds * 1e3,
                            "ms",
                            f"the aim of {AIM_MS:.0f} ms",
                            seconds * 1e3 / AIM_MS,
                        )
                    )
            await file.close()
    return figures
