"""How long pages and lists take: p95 with 100,000 homes on SQLite, and a browser's first paint with 10,000.

In both an event is on, one is over and settled, and every home has reported. Each page is asked for one
after the other, as a person would; ``VPP_BENCH_SITES`` takes another number of homes.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np

from tests.benchmarks.measuring import Figure, at_most, often
from tests.entrypoints.builders import an_enrollment_file
from tests.entrypoints.pages.browser import a_browser, a_window
from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb, logged_in
from vpp.adapters.sql.store import SqlStore
from vpp.domain.access import Role
from vpp.domain.command import AckBatch
from vpp.domain.interval import to_epoch
from vpp.domain.ledger import confirm
from vpp.domain.payout import pay_out
from vpp.domain.quantities import MicroDollars
from vpp.entrypoints.operations import events, money, sites, starting

MANY, SOME = at_most(int(os.environ.get("VPP_BENCH_SITES", "100000"))), at_most(10_000)
AT_ONCE = 20_000
ASKED, PAINTS = often(60), often(7)
LONG_ENOUGH_MS = 10_000
OWNER = "o-s-001"
PAINT = """() => new Promise((found) => new PerformanceObserver((list) => {
  for (const each of list.getEntries()) if (each.name === "first-contentful-paint") found(each.startTime);
}).observe({ type: "paint", buffered: true }))"""
TOKEN = {"Authorization": "Bearer a-token"}
OPERATOR = (
    "/operator", "/operator/boards", "/operator/events", "/operator/events/hot-2",
    "/operator/events/hot-2/board", "/operator/events/hot-1/replay", "/operator/events/hot-2/change",
    "/operator/new-event", "/operator/fleet", "/operator/fleet?search=s-077777",
    "/operator/fleet?reason=selected&offset=5000", "/operator/map", "/operator/health", "/operator/alarms",
    "/operator/trail", "/operator/sites/s-001?reason=measured", "/operator/fleet?event=hot-2",
    "/operator/events/hot-2/sites/s-001", "/operator/questions", "/operator/programs/elrp-a4-pge/fairness",
    "/operator/events/hot-1",
)  # fmt: skip
OWNERS = ("/owner", "/owner/events", "/owner/events/hot-1", "/owner/data")
LISTS = (
    "sites?limit=100", "events", "fleet?limit=50", "fleet?search=s-077777", "trail", "programs", "users",
    "counties", "payouts", "disputes", "events/hot-2/board", "fleet/health", "sources", "excluded-days",
    "alarms", "traffic", "nominations", "payouts/years/2026", "payouts/2026-09",
    "programs/elrp-a4-pge/fairness?limit=50",
)  # fmt: skip


async def run() -> list[Figure]:
    """Measure answers of pages and lists, and first paints."""
    return await _answers() + await _paints()


async def an_evening(folder: Path, homes: int) -> tuple[Suburb, SqlStore]:
    """Return that many homes on SQLite: one event over and settled, one that is on."""
    store = await SqlStore.open(f"sqlite:///{folder / 'vpp.db'}")
    suburb = await a_suburb(folder, homes=1, console_mw=1000, store=store)
    ids = [f"s-{number:03d}" for number in range(1, homes)]
    for first in range(0, len(ids), AT_ONCE):
        content = an_enrollment_file(*ids[first : first + AT_ONCE])
        await sites.enroll_sites(suburb.desk, content=content, file_name="sites.csv")
    suburb.charge_permille = 800
    await suburb.pass_time(15)
    await suburb.add("ana", Role.OPERATOR)
    await suburb.add("rosa", Role.OWNER, OWNER)
    for event_id in ("hot-1", "hot-2"):
        await starting.start_event(
            suburb.desk, event_id=event_id, program_id=PROGRAM, power_mw=f"{homes * 0.0012:.6f}", minutes=120,
            actor="staff:ana",
        )  # fmt: skip
        await suburb.pass_time(300)
        await _answered(suburb, event_id)
        if event_id == "hot-1":
            await events.cancel_event(suburb.desk, event_id=event_id, actor="staff:ana")
            await suburb.pass_time(60)
            await money.settle_event(suburb.desk, event_id=event_id)
    await _paid(store, ids)
    await suburb.pass_time(60)
    return suburb, store


async def _paid(store: SqlStore, site_ids: Sequence[str]) -> None:
    """Book that every owner was sent a dollar, and that half of them got it."""
    now = datetime.now(UTC).replace(microsecond=0)
    begun = [pay_out("2026-09", f"o-{each}", MicroDollars(1_000_000), at=now) for each in site_ids]
    for first in range(0, len(begun), AT_ONCE):
        await store.post(begun[first : first + AT_ONCE])
    await store.post([confirm(each, at=now) for each in begun[::2]])


async def _answered(suburb: Suburb, event_id: str) -> None:
    """Store the answer of every home to every command of an event."""
    for tick in await suburb.desk.store.event_ticks(event_id):
        for order in tick.orders:
            known = np.ones(len(order.site_no), dtype=np.int64)
            at_s = known * to_epoch(tick.at)
            words = (event_id,) * len(known), (None,) * len(known)
            acks = AckBatch(order.site_no, known * tick.epoch, known * tick.number, at_s, *words)
            await suburb.desk.store.record_acks(acks)


async def _answers() -> list[Figure]:
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        suburb, store = await an_evening(Path(folder), MANY)
        ana, rosa = await logged_in(suburb, "ana"), await logged_in(suburb, "rosa")
        for browser, paths in ((ana, OPERATOR), (rosa, OWNERS)):
            figures += [await _p95(path, _page(browser, path)) for path in paths]
        figures += [await _p95(f"/api/v1/{path}", _page(ana, f"/api/v1/{path}", TOKEN)) for path in LISTS]
        await store.close()
    return figures


def _page(
    browser: httpx.AsyncClient, path: str, headers: dict[str, str] | None = None
) -> Callable[[], Awaitable[None]]:
    async def ask() -> None:
        answer = await browser.get(path, headers=headers)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:200])

    return ask


async def _p95(name: str, ask: Callable[[], Awaitable[None]]) -> Figure:
    taken = []
    await ask()  # the first look of a process pays for what is kept afterwards
    for _ in range(ASKED):
        began = time.perf_counter()
        await ask()
        taken.append(1000 * (time.perf_counter() - began))
        if len(taken) > 1 and sum(taken) > LONG_ENOUGH_MS:
            break
    figure = Figure(f"{MANY:,} homes, {name}, p95", statistics.quantiles(taken, n=20)[-1], "ms")
    sys.stderr.write(f"{figure.line()}\n")
    return figure


async def _paints() -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        suburb, store = await an_evening(Path(folder), SOME)
        async with a_browser() as browser, a_window(suburb, browser) as window:
            for name, path in (("ana", "/operator"), ("rosa", "/owner")):
                taken = []
                for _ in range(PAINTS):
                    page = await window.open()
                    await window.log_in(page, name)
                    await page.goto(f"{window.address}{path}")
                    taken.append(await page.evaluate(PAINT))
                    await page.context.close()
                figures.append(
                    Figure(f"{SOME:,} homes, first paint of {path}", statistics.median(taken), "ms")
                )
        await store.close()
    return figures
