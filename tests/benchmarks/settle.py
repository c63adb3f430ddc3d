"""How long an event's settlement takes from the database, beside plain numpy on arrays in memory.

``python -m tests.benchmarks.settle SITES FILE`` measures one size in a process of its own, so that its
memory is the settlement's and not that of filling the database.
"""

import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.measuring import Figure, sizes_up_to_most
from tests.benchmarks.street import EVENING, PROGRAM, requests, site_of
from tests.postgres import Postgres
from vpp.adapters.clock import SteppedClock
from vpp.adapters.sql.bulk import insert_new
from vpp.adapters.sql.engine import Database, driver_url, make_engine, to_us
from vpp.adapters.sql.store import SqlStore
from vpp.adapters.sql.tables import MeterHourRow, table_of
from vpp.domain.command import Action, DispatchTick, Order
from vpp.domain.grid_event import EventStatus, GridEvent, GridSource, Operation, Step
from vpp.domain.interval import Interval, to_epoch
from vpp.domain.program import Program
from vpp.domain.quantities import Watts, column
from vpp.domain.rest_days import rest_days
from vpp.entrypoints.cli import LOOK_FOR_CYCLES_AFTER
from vpp.stages.pay import pay
from vpp.stages.settle import settle
from vpp.wire.program_file import read_program

SIZES = sizes_up_to_most(1_000, 10_000, 100_000)
HOURS = 3
DAYS = 14  # similar days with data; the latest ten are averaged
AVERAGED = 10
EVENT = "ev-benchmark"
ENDS_AT = EVENING + timedelta(hours=HOURS)
SITES_AT_ONCE = 10_000
PROGRAM_FILE = Path("config/programs") / f"{PROGRAM}.toml"


def program() -> Program:
    """Return the program as its file describes it: the battery's own meter, ten of ten."""
    return read_program(PROGRAM_FILE.read_text(), file_name=PROGRAM_FILE.name)


def evenings() -> list[int]:
    """Return the hours' starts: three on each of the latest weekdays, oldest first, the event's last."""
    is_rest_day = rest_days("NERC")
    days: list[date] = [date(2026, 9, 9)]
    while len(days) <= DAYS:
        earlier = days[-1] - timedelta(days=1)
        while is_rest_day(earlier):
            earlier -= timedelta(days=1)
        days.append(earlier)
    back = [(days[0] - day).days for day in reversed(days)]
    return [to_epoch(EVENING) - 86_400 * each + 3_600 * hour for each in back for hour in range(HOURS)]


def metered(sites: int) -> NDArray[np.int64]:
    """Return what each home metered in each hour, in watt-hours."""
    drawn = np.random.default_rng(sites).integers(-300, 2_000, (sites, (DAYS + 1) * HOURS))
    drawn[:, -HOURS:] += 3_000
    return drawn


async def fill(sites: int, url: str) -> None:
    """Make a database of homes that were metered for three weeks and dispatched for an evening."""
    store = await SqlStore.open(url, durable=False)
    await store.enroll(requests(sites), at=EVENING - timedelta(days=90))
    await store.add_source(GridSource("caiso", None, Watts(10**9), EVENING - timedelta(days=90)))
    asked_at = EVENING - timedelta(hours=4)
    version = GridEvent(
        event_id=EVENT, version=1, source="caiso", operation=Operation.CREATE, modified_at=asked_at,
        content_sha256="0" * 64, program_id=PROGRAM, name=EVENT, priority=None, targets=(),
        steps=(Step(Interval(EVENING, ENDS_AT), Watts(1_000_000)),), status=EventStatus.SCHEDULED,
        out_of_program=(), test=False, committed_at=asked_at,
    )  # fmt: skip
    await store.append_version(version, actor="caiso")
    order = Order(
        event_id=EVENT, revision=1, action=Action.DISCHARGE, site_no=column(range(sites)),
        starts_at=EVENING, expires_at=EVENING + timedelta(minutes=15), event_ends_at=ENDS_AT,
        ramp_s=30, spread_s=60, test=False,
    )  # fmt: skip
    epoch = await store.take_epoch(at=EVENING)
    await store.commit(DispatchTick(1, epoch, EVENING, (order,)), ())
    await store.close()
    await write_hours(url, metered(sites))


async def write_hours(url: str, energy_wh: NDArray[np.int64]) -> None:
    """Write hourly values as they stand after the readings came."""
    starts_s = evenings()
    engine = make_engine(driver_url(url), durable=False)
    for first in range(0, len(energy_wh), SITES_AT_ONCE):
        some = energy_wh[first : first + SITES_AT_ONCE]
        count = len(some) * len(starts_s)
        columns: dict[str, Sequence[Any]] = {
            "site_id": [site_of(first + place) for place in range(len(some)) for _ in starts_s],
            "hour_s": starts_s * len(some),
            "device_wh": some.ravel().tolist(),
            "device_quality": [0] * count,
            "grid_wh": [0] * count,
            "grid_quality": [2] * count,
            "received_at_us": [to_us(ENDS_AT)] * count,
        }
        async with Database(engine).write() as session:
            await insert_new(session, table_of(MeterHourRow), columns)
    await engine.dispose()


def in_numpy(energy_wh: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the owners' cents by the plainest arithmetic there is: no reasons, no days, nothing kept."""
    by_day = energy_wh.reshape(len(energy_wh), DAYS + 1, HOURS)
    baseline_sum = by_day[:, DAYS - AVERAGED : DAYS].sum(axis=1)
    beyond = (AVERAGED * by_day[:, DAYS] - baseline_sum).sum(axis=1)
    cents: NDArray[np.int64] = (2 * np.maximum(beyond, 0) * 200 + AVERAGED * 1_000) // (2 * AVERAGED * 1_000)
    return cents


async def measure(sites: int, url: str) -> dict[str, float]:
    """Return the seconds of one settlement, of booking it and of settling again, and memory in MB."""
    with suppress(AttributeError):  # only Linux can be told
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    gc.set_threshold(*LOOK_FOR_CYCLES_AFTER)  # as every command does
    energy_wh = metered(sites)
    in_numpy(energy_wh)
    used = time.process_time()
    cents = in_numpy(energy_wh)
    plain_s = time.process_time() - used
    store = await SqlStore.open(url)
    clock = SteppedClock(ENDS_AT + timedelta(minutes=2))
    history = await store.history(EVENT)
    assert history is not None
    before_mb = _peak_mb()
    began, used = time.perf_counter(), time.process_time()
    run = await settle(history, store=store, programs={PROGRAM: program()}, clock=clock)
    settle_s, settle_cpu_s = time.perf_counter() - began, time.process_time() - used
    assert run is not None
    settle_mb = _peak_mb()
    assert [line.amount // 10_000 for line in run.lines] == cents.tolist(), "numpy says something else"
    used = time.process_time()
    await pay(run, books=store, clock=clock)
    pay_cpu_s = time.process_time() - used
    first_mb = _peak_mb()
    clock.step_to(clock.now() + timedelta(minutes=10))
    began = time.perf_counter()
    again = await settle(history, store=store, programs={PROGRAM: program()}, clock=clock)
    again_s = time.perf_counter() - began
    assert again == run, "settled again it says something else"
    await store.close()
    return {
        "plain_s": plain_s,
        "settle_s": settle_s,
        "settle_cpu_s": settle_cpu_s,
        "pay_cpu_s": pay_cpu_s,
        "before_mb": before_mb,
        "settle_mb": settle_mb,
        "pay_mb": first_mb,
        "again_s": again_s,
        "again_mb": _peak_mb(),  # the run before is still held
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(sizes: Sequence[int] = SIZES) -> list[Figure]:
    """Return seconds and memory of settling and booking: each size on SQLite, the largest on PostgreSQL."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="vpp-benchmark-") as folder:
        for sites in sizes:
            figures += _figures(sites, "SQLite", f"sqlite:///{Path(folder) / f'{sites}.db'}")
    with Postgres() as server:
        figures += _figures(sizes[-1], "PostgreSQL", asyncio.run(server.database()))
    return figures


def _figures(sites: int, database: str, url: str) -> list[Figure]:
    """Return what one settlement takes; of PostgreSQL the processor time is ours, not the server's."""
    asyncio.run(fill(sites, url))
    command = [sys.executable, "-m", "tests.benchmarks.settle", str(sites), url]
    taken = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    name = f"{sites:>9,} sites, {HOURS} hours, {AVERAGED} baseline days, {database}"
    ratio = taken["settle_cpu_s"] / taken["plain_s"]
    return [
        Figure(f"{name}: settled, stored", taken["settle_s"], "s"),
        Figure("processor time of it", taken["settle_cpu_s"], "s", "numpy in memory", ratio),
        Figure("peak memory of it", taken["settle_mb"], "MB"),
        Figure("processor time of booking it", taken["pay_cpu_s"], "s"),
        Figure("settled again, nothing new", taken["again_s"], "s"),
        Figure("peak memory with both runs held", taken["again_mb"], "MB"),
    ]


if __name__ == "__main__":
    measured = asyncio.run(measure(int(sys.argv[1]), sys.argv[2]))
    sys.stdout.write(json.dumps(measured) + "\n")
