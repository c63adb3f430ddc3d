"""A whole product behind its pages: memory store and wire, a real controller, homes that answer at once."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
from starlette.types import ASGIApp

from tests.entrypoints.builders import a_program, an_enrollment_file
from vpp.adapters.clock import SteppedClock
from vpp.adapters.keys import FileKeys
from vpp.adapters.memory.broker import MemoryBroker, MemoryTransport
from vpp.adapters.memory.store import MemoryStore
from vpp.bootstrap import Controller, assemble
from vpp.domain.access import Role
from vpp.domain.board import hear
from vpp.domain.command import AckBatch
from vpp.domain.event_plan import EventPlan
from vpp.domain.fleet import TelemetryBatch, update
from vpp.domain.grid_event import GridSource
from vpp.domain.interval import to_epoch
from vpp.domain.lease import Standing
from vpp.domain.quantities import Watts, column, flags
from vpp.entrypoints.http.api import create_api
from vpp.entrypoints.http.pages import open_front_door
from vpp.entrypoints.operations import people, sites
from vpp.entrypoints.operations.desk import Desk
from vpp.entrypoints.operations.evening import keep_course
from vpp.entrypoints.operations.live import Live
from vpp.ports import Store, StoreUnavailable
from vpp.settings import Settings

EVENING = datetime(2026, 9, 10, 1, tzinfo=UTC)  # 6 PM in California
COOKIE_KEY = bytes(range(32))
HOST = "127.0.0.1"
PROGRAM = "elrp-a4-pge"


@dataclass(slots=True)
class Suburb:
    """The product over homes that do at once what they are asked."""

    clock: SteppedClock
    controller: Controller
    desk: Desk
    app: ASGIApp
    broker: MemoryBroker
    hosts: tuple[str, ...] = (HOST,)
    charge_permille: int | None = None
    """What every home reports; None: the higher its number, the emptier it is."""

    @property
    def live(self) -> Live:
        return self.desk.running

    async def pass_time(self, seconds: int, *, answering: bool = True) -> None:
        """Let time pass; homes report, and answer what they are told, and control decides every 15 s."""
        end = self.clock.now() + timedelta(seconds=seconds)
        while self.clock.now() < end:
            self.clock.step_to(min(end, self.clock.now() + timedelta(seconds=15)))
            if answering:
                await self._answer()
            self.report()
            await self.controller.turn()
            await keep_course(self.desk)

    async def _answer(self) -> None:
        """Let every home that was told something accept it, unless the database is down."""
        board = self.controller.board
        if board is None:
            return
        leases = board.leases
        waiting = np.flatnonzero(leases.standing == Standing.WAITING)
        acks = AckBatch(
            site_no=waiting,
            epoch=np.full(len(waiting), board.epoch),
            sequence=leases.sequence[waiting],
            at_s=np.full(len(waiting), to_epoch(self.clock.now())),
            event_id=tuple(board.events.word(number) for number in leases.event_no[waiting].tolist()),
            refusal=(None,) * len(waiting),
        )
        with suppress(StoreUnavailable):
            await self.desk.store.record_acks(acks)
            hear(board, acks, self.clock.now())

    def report(self, *, silent: Sequence[int] = (), charge_permille: int | None = None) -> None:
        """Let every home report that it gives what its plan says."""
        charge_permille = self.charge_permille if charge_permille is None else charge_permille
        fleet, board = self.controller.fleet, self.controller.board
        rows = np.array([row for row in range(len(fleet)) if row not in silent], dtype=np.int64)
        asked = np.zeros(len(fleet), dtype=np.int64)
        if board is not None:
            asked = np.where(board.leases.discharging(to_epoch(self.clock.now())), board.leases.setpoint_w, 0)
            waiting = board.leases.standing == Standing.WAITING
            board.leases.standing[waiting] = Standing.ACCEPTED
        plain, off = column(np.zeros(len(rows))), flags(np.zeros(len(rows), dtype=np.bool_))
        charge = 800 - 10 * rows if charge_permille is None else np.full(len(rows), charge_permille)
        update(
            fleet,
            TelemetryBatch(
                site_no=rows,
                at_s=column(plain + to_epoch(self.clock.now())),
                epoch=plain,
                sequence=plain,
                soc_permille=column(np.maximum(charge, 250)),
                battery_w=column(asked[rows]),
                discharge_limit_w=column(plain + 5000),
                energy_full_wh=column(plain + 13305),
                reserve_permille=column(plain + 100),
                discharged_wh=plain,
                charged_wh=plain,
                grid_connected=flags(~off),
                storm_mode=off,
                opted_out=off,
                faulted=off,
            ),
        )

    async def add(self, name: str, role: Role, owner: str | None = None) -> None:
        """Let somebody log in with the usual password."""
        await people.add_user(self.desk, name=name, role=role.value, owner=owner, password=PASSWORD)

    def plan(self, event_id: str) -> EventPlan:
        plan = self.live.plan(event_id)
        assert plan is not None
        return plan


PASSWORD = "correct horse battery"  # everybody's in these tests


async def a_suburb(
    state_dir: Path, *, homes: int = 12, console_mw: int = 1, store: Store | None = None, mail: bool = True
) -> Suburb:
    """Return the product with enrolled homes that have reported, and a console that may start events."""
    clock, keys, store = SteppedClock(EVENING), FileKeys(state_dir), store or MemoryStore()
    broker = MemoryBroker()
    transport = MemoryTransport(broker, "controller")
    transport.reconnect()
    settings = Settings(state_dir=state_dir)
    controller = assemble(settings, clock=clock, store=store, keys=keys, transport=transport)
    controller.programs = {PROGRAM: a_program()}
    desk = Desk(
        store, clock, keys, controller.programs, changed=controller.wake, live=Live(controller), mail=mail
    )
    ids = [f"s-{number:03d}" for number in range(homes)]
    await sites.enroll_sites(desk, content=an_enrollment_file(*ids), file_name="sites.csv")
    await store.add_source(GridSource("console", keys.public_key, Watts(console_mw * 1_000_000), EVENING))

    async def readiness() -> dict[str, object]:
        return {"database": True, "broker": True}

    api = create_api(lambda: desk, token="a-token", readiness=readiness)  # of this test
    door = open_front_door(api, lambda: desk, cookie_key=COOKIE_KEY, hosts=(HOST,))
    suburb = Suburb(clock, controller, desk, door, broker)
    await controller.turn()
    suburb.report()
    return suburb


def a_browser(suburb: Suburb) -> httpx.AsyncClient:
    """Return somebody who keeps cookies and follows nothing by itself."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=suburb.app), base_url=f"http://{HOST}")


async def logged_in(suburb: Suburb, name: str) -> httpx.AsyncClient:
    """Return a browser after a login by link, which costs no password hashing."""
    browser = a_browser(suburb)
    link = await people.make_login_link(suburb.desk, name=name)
    answer = await browser.get(str(link["path"]))
    assert answer.status_code == 303, answer.text
    return browser


def form_token(page: httpx.Response) -> str:
    """Return what the page's forms carry."""
    return page.text.partition('name="form_token" value="')[2].partition('"')[0]


async def send(browser: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
    """Send a form with the token of the visitor's front page."""
    front = await browser.get("/", follow_redirects=True)
    return await browser.post(path, data={"form_token": form_token(front)} | fields)
