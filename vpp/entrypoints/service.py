"""``vpp serve``: the controller and its loopback API in one process and one event loop.

It starts whatever is down: what cannot be reached is named and tried again with growing waits, while the
API already answers what it can. SIGTERM and SIGINT end it in order: API, controller, broker, database.
"""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack
from pathlib import Path

import structlog
import uvicorn
from apscheduler.schedulers.asyncio import (  # type: ignore[import-untyped]  # it carries no types
    AsyncIOScheduler,
)
from fastapi import FastAPI

from vpp.adapters.clock import SlewedClock
from vpp.adapters.crash_points import crash_around
from vpp.adapters.embedded_broker import EmbeddedBroker, PortTaken
from vpp.adapters.keys import FileKeys, KeyFileRefused
from vpp.adapters.mqtt import Backoff
from vpp.adapters.sql.store import SqlStore
from vpp.bootstrap import Controller, build, crash_point
from vpp.domain.program import Program
from vpp.entrypoints.asking import require_state_dir
from vpp.entrypoints.doctor import examine_broker
from vpp.entrypoints.http.api import create_api
from vpp.entrypoints.http.pages import open_front_door
from vpp.entrypoints.http.security import cookie_key
from vpp.entrypoints.http.streaming import BoardFeed
from vpp.entrypoints.logs import log_to_stderr
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused
from vpp.entrypoints.operations.evening import keep_course
from vpp.entrypoints.operations.live import SAMPLE_EVERY_S, Live
from vpp.entrypoints.polling import Polling
from vpp.entrypoints.running_service import TOKEN_FILE, post_card, remove_card
from vpp.ports import Store, StoreUnavailable
from vpp.settings import Settings

LOCK_FILE = "service.lock"
LOOPBACK = "127.0.0.1"
LONGEST_WAIT_S = 30.0
NOTIFY_EVERY_S = 5
GRACE_S = 2
LEASE_OF_LEAD_S = 8
"""A leader that gives no sign of life for so long may be replaced; a standby then dispatches within 15 s."""
LEAD_EVERY_S = 2.0

logger = structlog.get_logger()


class OrderlyServer(uvicorn.Server):
    """Uvicorn without its signal handlers: this process ends in its own order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def end_pages(server: OrderlyServer, serving: asyncio.Task[None], api: FastAPI) -> None:
    """End what serves the pages: boards that are followed never end by themselves."""
    boards: BoardFeed = api.state.boards
    boards.close()
    server.should_exit = True
    await serving


class Service:
    """One run of ``vpp serve``."""

    def __init__(
        self,
        settings: Settings,
        programs: Mapping[str, Program],
        *,
        told: Callable[[Json], None] | None = None,
    ) -> None:
        self._told = told  # where it listens, once it does
        self._settings = settings
        self._programs = programs
        self._stop = asyncio.Event()
        self._controller: Controller | None = None
        self._desk: Desk | None = None
        self._waits_for = "the database"
        self._crash = crash_point(settings)

    async def run(self) -> None:
        """Serve until told to stop.

        Raises:
            OperationRefused: It cannot start: another service runs here, a port is taken, a file is unusable.
        """
        settings = self._settings
        require_state_dir(settings.state_dir)
        log_to_stderr()
        async with AsyncExitStack() as open_things:
            open_things.enter_context(only_one(settings.state_dir))
            with self._around("key-file"):
                keys = _keys(settings)
            listener = listen(settings.http_port)
            open_things.callback(listener.close)
            port = int(listener.getsockname()[1])
            token = secrets.token_urlsafe(32)
            post_card(settings.state_dir, port=port, token=token)
            open_things.callback(remove_card, settings.state_dir)
            self._stop_on_signals()
            api = create_api(self._desk_now, token=token, readiness=self._readiness)
            door = open_front_door(
                api, self._desk_now, cookie_key=cookie_key(settings.state_dir), secure=settings.production
            )
            server = OrderlyServer(uvicorn.Config(
                    door, log_config=None, access_log=False, lifespan="off",
                    timeout_graceful_shutdown=GRACE_S,
                ))  # fmt: skip
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            where = f"http://{LOOPBACK}:{port}"
            logger.info("listening", url=where)
            if self._told is not None:
                self._told({
                        "url": where,
                        "port": port,
                        "pid": os.getpid(),
                        "state_dir": str(settings.state_dir),
                        "token_file": str(settings.state_dir / TOKEN_FILE),
                    })  # fmt: skip
            try:
                await self._control(keys)
            finally:
                await end_pages(server, serving, api)

    def _stop_on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)

    def _desk_now(self) -> Desk:
        if self._desk is None:
            raise StoreUnavailable(f"vpp serve still waits for {self._waits_for}")
        return self._desk

    async def _readiness(self) -> Json:
        database = False
        if self._desk is not None:
            with contextlib.suppress(StoreUnavailable):
                await self._desk.store.ready()
                database = True
        broker = self._controller is not None and self._controller.connected
        return {"database": database, "broker": broker, "leads": self._controller is not None}

    async def _control(self, keys: FileKeys) -> None:
        clock = SlewedClock()
        holder = f"{socket.gethostname()} {self._settings.state_dir.resolve()}"
        async with AsyncExitStack() as open_things:
            opened = await self._open_store()
            if opened is None:
                return
            open_things.push_async_callback(opened.close)
            store = crash_around(opened, self._crash)
            while (epoch := await self._take_lead(store, clock, holder)) is not None:
                logger.info("leads", epoch=epoch)
                await self._dispatch(store, clock, keys, epoch)

    async def _dispatch(self, store: Store, clock: SlewedClock, keys: FileKeys, epoch: int) -> None:
        """Control the fleet until told to stop, or replaced by another controller."""
        settings = self._settings
        async with AsyncExitStack() as open_things:
            url = settings.broker_url
            if url == "embedded":
                broker = await _embedded(settings.embedded_broker_port)
                open_things.push_async_exit(broker)
                url = broker.url
                logger.info("broker listens", url=url)
            controller = await open_things.enter_async_context(
                build(
                    settings,
                    clock=clock,
                    store=store,
                    keys=keys,
                    programs=self._programs,
                    broker_url=url,
                    crash=self._crash,
                    epoch=epoch,
                )
            )
            self._controller = controller
            self._desk = Desk(
                store,
                clock,
                keys,
                controller.programs,
                production=settings.production,
                changed=controller.wake,
                live=Live(controller),
                certificates=settings.broker_tls.certificates,
                mail=bool(settings.mail_url),
            )
            alarm = make_alarm()
            alarm.add_job(controller.wake, "interval", seconds=settings.dispatch.tick_s)
            alarm.add_job(controller.notify, "interval", seconds=NOTIFY_EVERY_S)
            alarm.add_job(controller.deliver, "interval", seconds=NOTIFY_EVERY_S)
            alarm.add_job(keep_course, "interval", (self._desk,), seconds=SAMPLE_EVERY_S)
            for source, vtn in settings.vtns.items():
                polling = Polling(source, vtn, controller=controller, desk=self._desk)
                alarm.add_job(polling.turn, "interval", seconds=vtn.poll_s, next_run_time=clock.now())
            alarm.start()
            open_things.callback(alarm.shutdown, wait=False)
            keeping = asyncio.create_task(_keep_lead(store, controller, epoch))
            open_things.callback(keeping.cancel)
            try:
                await controller.run(self._stop)
            finally:
                self._desk = self._controller = None
        if controller.replaced:
            logger.warning("another controller leads now; this one sends nothing any more", epoch=epoch)
        else:
            with contextlib.suppress(StoreUnavailable):
                await store.renew_lead(epoch, lease_s=0)  # whoever stands by need not wait

    async def _take_lead(self, store: Store, clock: SlewedClock, holder: str) -> int | None:
        """Return the epoch as soon as nobody else leads, or None when told to stop before."""
        told = False
        while not self._stop.is_set():
            with contextlib.suppress(StoreUnavailable):
                for tick in await store.ticks(since=clock.now()):
                    clock.not_before(tick.at)
                epoch = await store.take_free_lead(at=clock.now(), holder=holder, lease_s=LEASE_OF_LEAD_S)
                if epoch is not None:
                    return epoch
                if not told:
                    logger.warning("stands by: another controller leads on this database", holder=holder)
                    self._waits_for, told = "the lead: another controller dispatches on this database", True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), LEAD_EVERY_S)
        return None

    def _around(self, point: str) -> AbstractContextManager[None]:
        return contextlib.nullcontext() if self._crash is None else self._crash.around(point)

    async def _open_store(self) -> SqlStore | None:
        """Return the store as soon as the database answers, or None when told to stop before."""
        backoff, attempt = Backoff(first_s=0.5, longest_s=LONGEST_WAIT_S), 0
        jitter = secrets.SystemRandom().random
        while not self._stop.is_set():
            try:
                with self._around("migration"):
                    return await SqlStore.open(self._settings.store_url)
            except StoreUnavailable as failure:
                wait_s = max(0.1, backoff.wait_s(attempt, jitter))
                logger.warning("the database is down", why=str(failure), next_try_s=round(wait_s, 1))
                broker = await examine_broker(
                    self._settings
                )  # nobody connects to it before the database is up
                if broker.state == "failed":
                    logger.warning("the broker is down too", why=broker.detail)
                attempt += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), wait_s)
        return None


async def _keep_lead(store: Store, controller: Controller, epoch: int) -> None:
    """Renew the lease of the lead; a controller that was replaced steps down."""
    while not controller.replaced:
        await asyncio.sleep(LEAD_EVERY_S)
        # While the database is down nobody can take the lead, and nothing but a stop can leave.
        with contextlib.suppress(StoreUnavailable):
            if not await store.renew_lead(epoch, lease_s=LEASE_OF_LEAD_S):
                controller.step_down()


def make_alarm() -> AsyncIOScheduler:
    """Return an alarm clock that ends in silence: what it cancels at its end is no failure."""
    logging.getLogger("apscheduler.executors.default").addFilter(_is_no_cancel)
    return AsyncIOScheduler(timezone="UTC")


def _is_no_cancel(record: logging.LogRecord) -> bool:
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)


@contextlib.contextmanager
def only_one(state_dir: Path) -> Iterator[None]:
    """Hold the state directory: two services on one would both command the fleet."""
    descriptor = os.open(state_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as taken:
        os.close(descriptor)
        raise OperationRefused(
            f"vpp serve or vpp demo runs on {state_dir} already; end it, or name another VPP_STATE_DIR"
        ) from taken
    try:
        yield
    finally:
        os.close(descriptor)


def _keys(settings: Settings) -> FileKeys:
    try:
        return FileKeys(settings.state_dir)
    except KeyFileRefused as failure:
        raise OperationRefused(str(failure)) from failure


def listen(port: int) -> socket.socket:
    """Return a socket that listens on loopback. Raises OperationRefused."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen()
    except OSError as failure:
        listener.close()
        reason = "is taken by another program" if failure.errno == errno.EADDRINUSE else failure.strerror
        raise OperationRefused(
            f"port {port} on {LOOPBACK} {reason}; set VPP_HTTP_PORT to a free port, or to 0 for any"
        ) from failure
    return listener


async def _embedded(port: int) -> EmbeddedBroker:
    """Return a broker on the port, or on a free one where something else listens there."""
    broker = EmbeddedBroker(port)
    try:
        await broker.__aenter__()
    except PortTaken as taken:
        logger.warning("another port for the broker", why=taken.strerror)
        broker = EmbeddedBroker(0)
        await broker.__aenter__()
    return broker
