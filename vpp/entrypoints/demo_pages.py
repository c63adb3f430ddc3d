"""After a demonstration: both pages stay open, full of data, while the evening goes on in real time."""

import asyncio
import contextlib
import secrets
import signal
import socket
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

import uvicorn

from vpp.domain.access import Role
from vpp.entrypoints.demo import Outcome, Stage
from vpp.entrypoints.http.api import create_api
from vpp.entrypoints.http.pages import open_front_door
from vpp.entrypoints.operations import people
from vpp.entrypoints.operations.desk import Json
from vpp.entrypoints.service import LOOPBACK, OrderlyServer

STEP_EVERY_S = 1.0

Announce = Callable[[Mapping[str, str]], None]


async def stay_open(stage: Stage, outcome: Outcome, listener: socket.socket, *, announce: Announce) -> None:
    """Serve the pages until SIGINT or SIGTERM.

    Args:
        stage: The demonstration, which goes on a second for each second.
        listener: Where the pages are asked for.
        outcome: Whose best paid owner logs in on the owner's page.
        announce: Hears the address of each page, with a login that works once.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    address = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
    server = OrderlyServer(uvicorn.Config(_door(stage), log_config=None, access_log=False, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    announce(await _links(stage, outcome, address))
    try:
        await _live_on(stage, stop)
    finally:
        server.should_exit = True
        await serving
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _door(stage: Stage) -> Callable[..., object]:
    async def readiness() -> Json:
        return {"database": True, "broker": stage.controller.connected}

    api = create_api(lambda: stage.desk, token=secrets.token_urlsafe(32), readiness=readiness)
    return open_front_door(api, lambda: stage.desk, cookie_key=secrets.token_bytes(32))


async def _links(stage: Stage, outcome: Outcome, address: str) -> dict[str, str]:
    owner_id = outcome.owners[0][0] if outcome.owners else None
    await people.add_user(stage.desk, name="operator", role=Role.OPERATOR.value)
    links = {"operator": await people.make_login_link(stage.desk, name="operator")}
    if owner_id is not None:
        await people.add_user(stage.desk, name="owner", role=Role.OWNER.value, owner=owner_id)
        links["owner"] = await people.make_login_link(stage.desk, name="owner")
    return {name: f"{address}{link['path']}" for name, link in links.items()}


async def _live_on(stage: Stage, stop: asyncio.Event) -> None:
    """Let the evening go on in real time; a machine that cannot keep up takes larger steps."""
    began, first = time.monotonic(), stage.clock.now()
    while not stop.is_set():
        at = first + timedelta(seconds=int(time.monotonic() - began))
        if at > stage.clock.now():
            await stage.step_to(at)
            await stage.controller.notify()
            await stage.controller.deliver()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), STEP_EVERY_S)
