"""The database is lost in the middle of an event and comes back from a backup: homes still obey."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from simulators.made_again import differences
from tests.simulation.gateways import a_gateway, told
from tests.stages.world import EVENING, GRID, PROGRAM, World, a_program, a_request
from vpp.adapters.sql.backup import back_up, restore
from vpp.adapters.sql.store import SqlStore
from vpp.domain.board import hear, hear_in_force
from vpp.domain.command import AckBatch, DispatchTick, Refusal
from vpp.domain.fleet import TelemetryBatch, enroll
from vpp.domain.interval import to_epoch
from vpp.domain.quantities import column, flags
from vpp.stages.control import resume
from vpp.wire.gateway import command_of
from vpp.wire.gateway_telemetry import decode_telemetry

HOME = "s-7f3a"


class _Evening:
    """One simulated Powerwall and a controller on a real database file."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.gateway = a_gateway(soc_pct=90)

    async def tick(self, *, seconds: int = 15) -> list[tuple[int, str | None]]:
        """Let control look once and the home take what it is told; return what the home answered."""
        tick = await self.world.tick(seconds=seconds)
        now_s = to_epoch(self.world.clock.now())
        self.gateway.advance(now_s)
        answers = []
        for batch in self.world.link.sent:
            command = command_of(batch, 0, HOME)
            answers += told(self.gateway, command, now_s)
        self.world.link.sent.clear()
        if tick is not None:
            await self._hear(tick, answers)
        self.world.sample(soc_permille=[850], battery_w=[max(0, self.gateway.inverter.power_w)])
        return answers

    def say(self) -> None:
        """Let control hear the home's next sample: which command it holds."""
        now_s = to_epoch(self.world.clock.now())
        said = self.gateway.connect(now_s)
        sample = next(each for each in said if each.topic.endswith("/telemetry"))
        holds = decode_telemetry(sample.payload, site_id=HOME)
        none, no = column([0]), flags([False])
        heard = TelemetryBatch(
            site_no=none, at_s=column([now_s]),
            epoch=column([holds.epoch]), sequence=column([holds.sequence]),
            soc_permille=none, battery_w=none, discharge_limit_w=none, energy_full_wh=none,
            reserve_permille=none, discharged_wh=none, charged_wh=none,
            grid_connected=no, storm_mode=no, opted_out=no, faulted=no,
        )  # fmt: skip
        hear_in_force(self.world.board, heard, [], self.world.clock.now())

    async def _hear(self, tick: DispatchTick, answers: Sequence[tuple[int, str | None]]) -> None:
        for sequence, reason in answers:
            one = np.array([0], dtype=np.int64)
            acks = AckBatch(
                site_no=one, epoch=one + tick.epoch, sequence=one + sequence, at_s=one,
                event_id=("ev-1",), refusal=(Refusal(reason) if reason else None,),
            )  # fmt: skip
            await self.world.store.record_acks(acks)
            hear(self.world.board, acks, self.world.clock.now())


async def a_running_evening(url: str) -> _Evening:
    """Return an event of 4 kW that has run for two minutes."""
    world = World(await SqlStore.open(url), {PROGRAM: a_program()})  # type: ignore[arg-type]  # any store serves
    await world.store.add_source(GRID)
    request = replace(a_request(0), site_id=HOME)
    enroll(world.fleet, world.roster, await world.store.enroll([request], at=EVENING - timedelta(days=60)))
    world.board = await resume(store=world.store, fleet=world.fleet, clock=world.clock)
    world.sample(soc_permille=[900])
    await world.signal(4_000)
    evening = _Evening(world)
    for _ in range(8):
        await evening.tick()
    return evening


async def test_home_obeys_the_controller_that_was_restored_in_the_middle_of_an_event(tmp_path: Path) -> None:
    evening = await a_running_evening(f"sqlite:///{tmp_path / 'vpp.db'}")
    world = evening.world
    assert evening.gateway.inverter.power_w == 4_000

    await back_up(f"sqlite:///{tmp_path / 'vpp.db'}", tmp_path / "vpp.backup")
    for power_w in (3_000, 2_000, 3_500):  # the home goes on to newer commands than the backup knows
        await world.signal(power_w)
        for _ in range(4):
            await evening.tick()
    assert evening.gateway.inverter.power_w == 3_500
    known_to_home = int(world.board.leases.sequence[0])
    await world.store.close()

    await restore(tmp_path / "vpp.backup", f"sqlite:///{tmp_path / 'restored.db'}")
    world.store = await SqlStore.open(f"sqlite:///{tmp_path / 'restored.db'}")  # type: ignore[assignment]  # any store serves
    await world.restart()
    world.sample(soc_permille=[850], battery_w=[3_500])
    assert world.board.tick_number < known_to_home

    await world.signal(2_500)
    changed = await evening.tick()
    for _ in range(6):
        await evening.tick()
    power_w = evening.gateway.inverter.power_w
    await world.signal(0, cancelled=True)
    released = await evening.tick(seconds=1)

    assert [reason for _, reason in changed] == [None]
    assert power_w == 2_500
    assert [reason for _, reason in released] == [None]
    evening.gateway.advance(to_epoch(world.clock.now()) + 5)
    assert evening.gateway.inverter.power_w == 0
    assert await differences(world.store, EVENING) == [], (
        "all of it can be made again, on either side of the loss"
    )
    await world.store.close()


async def test_home_of_an_event_from_after_the_backup_stops_as_soon_as_it_speaks(tmp_path: Path) -> None:
    evening = await a_running_evening(f"sqlite:///{tmp_path / 'vpp.db'}")
    world = evening.world
    await world.signal(0, cancelled=True)
    await evening.tick(seconds=1)
    await back_up(f"sqlite:///{tmp_path / 'vpp.db'}", tmp_path / "vpp.backup")
    await world.signal(3_000, event_id="ev-2", starts_at=world.clock.now())
    for _ in range(8):
        await evening.tick()
    assert evening.gateway.inverter.power_w == 3_000
    await world.store.close()

    await restore(tmp_path / "vpp.backup", f"sqlite:///{tmp_path / 'restored.db'}")
    world.store = await SqlStore.open(f"sqlite:///{tmp_path / 'restored.db'}")  # type: ignore[assignment]  # any store serves
    world.clock.step_to(world.clock.now() + timedelta(seconds=30))
    await world.restart()
    unheard = await evening.tick(seconds=1)
    evening.say()
    released = await evening.tick(seconds=1)
    quiet = await evening.tick(seconds=10)

    assert unheard == []
    assert [reason for _, reason in released] == [None]
    assert quiet == []
    assert evening.gateway.inverter.power_w == 0
    assert await differences(world.store, EVENING) == []
    await world.store.close()
