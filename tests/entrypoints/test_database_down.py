"""The database is down in the middle of an event: only stops leave, and they are recorded when it is back."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest

from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb
from tests.postgres import Postgres
from vpp.adapters.memory.store import MemoryStore
from vpp.adapters.patience import STOPS_WAIT_S
from vpp.adapters.sql.store import SqlStore
from vpp.domain.board import hold_back
from vpp.domain.command import Action, CommandBatch
from vpp.domain.interval import to_epoch
from vpp.entrypoints.http.api import create_api
from vpp.entrypoints.operations.replay import replay_event
from vpp.entrypoints.operations.sites import opt_out_site
from vpp.entrypoints.operations.starting import start_event, stop_all
from vpp.ports import Store, StoreUnavailable


class DatabaseThatGoesDown:
    """A store in memory that answers nothing while it is down, or commits and does not say so."""

    def __init__(self) -> None:
        self.down = False
        self.says_nothing = False
        self._store = MemoryStore()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = getattr(self._store, name)

        async def call(*positional: object, **named: object) -> object:
            if self.down:
                raise StoreUnavailable("the database is down")
            answer = await operation(*positional, **named)
            if self.says_nothing and name == "commit":
                self.down = True
                raise StoreUnavailable("the database went down before it answered")
            return answer

        return call


class DatabaseThatHangs:
    """A store in memory that answers nothing while it hangs; then it does all that it was asked, in order."""

    def __init__(self) -> None:
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        self._only = ""
        self._store = MemoryStore()

    def hang(self, only: str = "") -> None:
        """Answer nothing from now on, or none of one kind of question."""
        self._goes_on.clear()
        self._only = only

    def go_on(self) -> None:
        """Answer again."""
        self._goes_on.set()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = getattr(self._store, name)

        async def call(*positional: object, **named: object) -> object:
            if self._only in ("", name):
                await self._goes_on.wait()
            return await operation(*positional, **named)

        return call


class Evening:
    """An event that runs over a suburb, and what left for the homes since it was last looked at."""

    def __init__(self, suburb: Suburb) -> None:
        self.suburb = suburb
        self.left: list[CommandBatch] = []
        send = suburb.controller.link.command

        async def remember(batches: list[CommandBatch]) -> None:
            self.left.extend(batches)
            await send(batches)

        suburb.controller.link.command = remember  # type: ignore[assignment, method-assign]  # listens

    def sites(self, action: Action) -> set[int]:
        return {site for batch in self.left if batch.order.action is action for site in batch.order.site_no}

    def commanded(self) -> set[int]:
        serving = self.suburb.live.serving("ev-1", self.suburb.clock.now())
        return {int(site) for site in serving.nonzero()[0]}

    async def island(self, site_no: int) -> None:
        """Let a home lose the grid: control looks at once, and decides from what it read before."""
        self.suburb.controller.fleet.islanded[site_no] = True
        self.suburb.controller.runner._next_tick = None  # as if its 15 s were over
        await self.suburb.controller.turn()

    async def recover(self) -> None:
        await self.suburb.pass_time(75)


async def an_evening(state_dir: Path, store: Store) -> Evening:
    evening = Evening(await a_suburb(state_dir, store=store))
    await start_event(
        evening.suburb.desk,
        event_id="ev-1",
        program_id=PROGRAM,
        power_mw="0.02",
        minutes=60,
        actor="staff:ana",
    )
    await evening.suburb.pass_time(180)
    evening.left.clear()
    return evening


@pytest.fixture
def database() -> DatabaseThatGoesDown:
    return DatabaseThatGoesDown()


@pytest.fixture
async def evening(tmp_path: Path, database: DatabaseThatGoesDown) -> Evening:
    return await an_evening(tmp_path, cast(Store, database))


async def test_release_that_was_decided_leaves_first_and_is_recorded_when_the_database_is_back(
    evening: Evening, database: DatabaseThatGoesDown
) -> None:
    victim = min(evening.commanded())
    database.down = True
    await evening.island(victim)
    left_while_down = (evening.sites(Action.RELEASE), evening.sites(Action.DISCHARGE))
    (stop,) = evening.left

    database.down = False
    await evening.recover()

    assert left_while_down == ({victim}, set())
    (recorded,) = [
        order
        for tick in await database._store.event_ticks("ev-1")
        for order in tick.orders
        if tick.number == stop.sequence
    ]
    assert (recorded.action, recorded.site_no.tolist()) == (Action.RELEASE, [victim])
    assert (await replay_event(evening.suburb.desk, event_id="ev-1"))["difference"] is None


async def test_release_leaves_again_until_the_database_is_back_under_the_number_it_has(
    evening: Evening, database: DatabaseThatGoesDown
) -> None:
    victim = min(evening.commanded())
    database.down = True
    await evening.island(victim)

    await evening.suburb.pass_time(60)

    assert len(evening.left) > 2
    assert evening.sites(Action.DISCHARGE) == set()
    assert len({batch.sequence for batch in evening.left}) == 1


async def test_who_is_silent_and_who_is_held_back_is_known_still_when_the_database_is_back(
    evening: Evening, database: DatabaseThatGoesDown
) -> None:
    board = evening.suburb.controller.board
    assert board is not None
    hold_back(board, np.array([0]), to_epoch(evening.suburb.clock.now()))
    held_until_s, judged_from_s = board.held_back_until_s.tolist(), board.judged_from_s
    database.down = True
    await evening.island(min(evening.commanded()))

    database.down = False
    await evening.recover()

    read_back = evening.suburb.controller.board
    assert read_back is not None
    assert read_back is not board
    assert (read_back.held_back_until_s[0], read_back.judged_from_s) == (held_until_s[0], judged_from_s)
    assert read_back.proof is board.proof


async def test_tick_whose_commit_was_not_answered_is_recorded_once(
    evening: Evening, database: DatabaseThatGoesDown
) -> None:
    victim = min(evening.commanded())
    database.says_nothing = True
    await evening.island(victim)

    database.down = database.says_nothing = False
    await evening.recover()

    numbers = [tick.number for tick in await database._store.event_ticks("ev-1")]
    assert len(numbers) == len(set(numbers))
    assert evening.sites(Action.RELEASE) == {victim}
    assert victim not in evening.commanded()
    assert evening.suburb.plan("ev-1").setpoint_w.sum() == 20_000


async def test_stop_all_releases_every_home_while_the_database_is_down(
    evening: Evening, database: DatabaseThatGoesDown
) -> None:
    commanded = evening.commanded()
    database.down = True

    answer = await stop_all(evening.suburb.desk, actor="staff:ana")

    assert answer == {
        "cancelled": [],
        "homes": len(commanded),
        "scheduled": [],
        "recorded": False,
        "unrecorded": ["ev-1"],
        "tests": [],
    }
    assert evening.sites(Action.RELEASE) == commanded
    assert evening.commanded() == set()


def under_a_key(evening: Evening) -> httpx.AsyncClient:
    """Return a client of the API that names a key, as a command does, while the database is down."""

    async def readiness() -> dict[str, object]:
        return {"database": False, "broker": True}

    app = create_api(lambda: evening.suburb.desk, token="a-token", readiness=readiness)
    headers = {"Authorization": "Bearer a-token", "Idempotency-Key": "stop-1", "X-VPP-Actor": "operator:ana"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://vpp", headers=headers)


async def test_stop_all_under_a_key_asks_no_database_first(
    evening: Evening, database: DatabaseThatGoesDown
) -> None:
    commanded = evening.commanded()
    database.down = True

    async with under_a_key(evening) as client:
        answer = await client.post("/api/v1/stop-all")
        other = await client.post("/api/v1/events/ev-1/cancel")

    assert (answer.status_code, answer.json()["homes"]) == (200, len(commanded))
    assert not answer.json()["recorded"]
    assert evening.sites(Action.RELEASE) == commanded
    assert other.status_code == 503


async def test_events_that_were_stopped_while_the_database_was_down_are_cancelled_when_it_is_back(
    evening: Evening, database: DatabaseThatGoesDown
) -> None:
    database.down = True
    await stop_all(evening.suburb.desk, actor="staff:ana")
    database.down = False

    await evening.recover()

    history = await database._store.history("ev-1")
    assert history is not None
    assert history.latest.status.value == "cancelled"
    assert evening.sites(Action.DISCHARGE) == set()
    assert (await replay_event(evening.suburb.desk, event_id="ev-1"))["difference"] is None
    told = await database._store.trail(subject="event:ev-1")
    assert [(each.actor, each.action) for each in told] == [("staff:ana", "stop all"), ("staff:ana", "start")]


AT_ONCE_S = 8
"""The deadlines in a row are 2 s on a quiet machine; whoever waits for the database waits 10 s and more."""


async def stop_by_api(evening: Evening) -> tuple[Any, float]:
    """Stop everything as the command does, under a key; return the answer and how long it took."""
    async with under_a_key(evening) as client:
        begins = time.monotonic()
        answer = await client.post("/api/v1/stop-all")
        return answer.json(), time.monotonic() - begins


async def test_stop_all_waits_for_no_database_that_hangs_and_is_booked_when_it_goes_on(
    tmp_path: Path,
) -> None:
    database = DatabaseThatHangs()
    evening = await an_evening(tmp_path, cast(Store, database))
    commanded = evening.commanded()
    database.hang()

    answer, seconds = await stop_by_api(evening)

    assert seconds < AT_ONCE_S
    assert (answer["homes"], answer["recorded"], answer["unrecorded"]) == (len(commanded), False, ["ev-1"])
    assert evening.sites(Action.RELEASE) == commanded
    database.go_on()
    await evening.recover()
    history = await database._store.history("ev-1")
    assert history is not None
    assert [each.status.value for each in history.versions] == ["scheduled", "cancelled"]
    assert evening.sites(Action.DISCHARGE) == set()
    (fleet,) = await database._store.trail(subject="fleet")
    assert (fleet.actor, fleet.action) == ("operator:ana", "stop all")
    assert (await replay_event(evening.suburb.desk, event_id="ev-1"))["difference"] is None


async def test_stop_all_waits_for_no_other_writer_of_the_database_file(tmp_path: Path) -> None:
    store = await SqlStore.open(f"sqlite:///{tmp_path / 'vpp.sqlite'}")
    evening = await an_evening(tmp_path, store)
    commanded = evening.commanded()

    with closing(sqlite3.connect(tmp_path / "vpp.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer, seconds = await stop_by_api(evening)
        released = evening.sites(Action.RELEASE)
        other.execute("ROLLBACK")
    await evening.recover()

    assert seconds < AT_ONCE_S
    assert (answer["homes"], answer["unrecorded"], released) == (len(commanded), ["ev-1"], commanded)
    history = await store.history("ev-1")
    assert history is not None
    assert history.latest.status.value == "cancelled"
    assert (await replay_event(evening.suburb.desk, event_id="ev-1"))["difference"] is None
    await store.close()


async def test_release_waits_for_no_database_that_hangs_at_the_commit_and_is_in_its_tick(
    tmp_path: Path,
) -> None:
    database = DatabaseThatHangs()
    evening = await an_evening(tmp_path, cast(Store, database))
    victim, others = min(evening.commanded()), evening.commanded() - {min(evening.commanded())}
    database.hang("commit")
    turning = asyncio.create_task(evening.island(victim))

    await asyncio.wait((turning,), timeout=STOPS_WAIT_S + 1)
    left_before_the_commit = (turning.done(), evening.sites(Action.RELEASE), evening.sites(Action.DISCHARGE))
    database.go_on()
    await turning
    await evening.recover()

    assert left_before_the_commit == (False, {victim}, set())
    first, *again = [batch for batch in evening.left if batch.order.action is Action.RELEASE]
    assert {batch.sequence for batch in again} <= {first.sequence}
    (recorded,) = [
        order
        for tick in await database._store.event_ticks("ev-1")
        for order in tick.orders
        if tick.number == first.sequence and order.action is Action.RELEASE
    ]
    assert recorded.site_no.tolist() == [victim]
    assert others <= evening.commanded()
    assert (await replay_event(evening.suburb.desk, event_id="ev-1"))["difference"] is None


async def test_release_waits_for_no_other_writer_of_the_database_file(tmp_path: Path) -> None:
    store = await SqlStore.open(f"sqlite:///{tmp_path / 'vpp.sqlite'}")
    evening = await an_evening(tmp_path, store)
    victim = min(evening.commanded())

    with closing(sqlite3.connect(tmp_path / "vpp.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        turning = asyncio.create_task(evening.island(victim))
        await asyncio.wait((turning,), timeout=STOPS_WAIT_S + 2)
        left_before_the_commit = (turning.done(), evening.sites(Action.RELEASE))
        other.execute("ROLLBACK")
    await turning
    await evening.recover()

    assert left_before_the_commit == (False, {victim})
    assert victim not in evening.commanded()
    assert (await replay_event(evening.suburb.desk, event_id="ev-1"))["difference"] is None
    await store.close()


async def test_stop_while_the_board_is_read_back_is_not_lost(tmp_path: Path) -> None:
    database = DatabaseThatHangs()
    evening = await an_evening(tmp_path, cast(Store, database))
    controller = evening.suburb.controller
    controller._read_back = True
    database.hang("ticks")
    controller.wake()
    turning = asyncio.create_task(controller.turn())
    for _ in range(20):  # until it waits for the ticks
        await asyncio.sleep(0)

    await controller.stop_everything("staff:ana")
    database.go_on()
    await turning
    await evening.recover()

    history = await database._store.history("ev-1")
    assert history is not None
    assert history.latest.status.value == "cancelled"
    assert evening.sites(Action.DISCHARGE) == set()


async def test_opt_out_is_refused_and_no_discharge_leaves_while_the_database_is_down(
    evening: Evening, database: DatabaseThatGoesDown
) -> None:
    database.down = True

    with pytest.raises(StoreUnavailable):
        await opt_out_site(evening.suburb.desk, site_id="s-001", event_id="ev-1", actor="owner:o-s-001")
    await evening.suburb.pass_time(600)

    assert evening.left == []


@pytest.fixture
def server() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


async def test_killed_postgresql_stops_nothing_but_starts_and_comes_back_with_the_stop(
    tmp_path: Path, server: Postgres
) -> None:
    store = await SqlStore.open(await server.database())
    evening = await an_evening(tmp_path, store)
    commanded = evening.commanded()

    server.kill()
    answer = await stop_all(evening.suburb.desk, actor="staff:ana")
    await evening.suburb.pass_time(30)
    left_while_down = (evening.sites(Action.RELEASE), evening.sites(Action.DISCHARGE))
    server.start_again()
    await evening.recover()

    history = await store.history("ev-1")
    assert history is not None
    assert not answer["recorded"]
    assert left_while_down == (commanded, set())
    assert history.latest.status.value == "cancelled"
    assert (await replay_event(evening.suburb.desk, event_id="ev-1"))["difference"] is None
    await store.close()
