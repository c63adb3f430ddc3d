"""After a demonstration: both pages stay open, full of data, while the evening goes on in real time.

Its folder names it as that of ``vpp serve`` names the service: a command in another terminal goes through
it, and so by its clock; beside it, a command would take the evening for long past.
"""

import asyncio
import contextlib
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

import uvicorn
from fastapi import FastAPI

from vpp.domain.access import Role
from vpp.entrypoints.demo import Outcome, Stage
from vpp.entrypoints.http.api import create_api
from vpp.entrypoints.http.pages import open_front_door
from vpp.entrypoints.operations import people
from vpp.entrypoints.operations.desk import Json
from vpp.entrypoints.running_service import post_card, remove_card
from vpp.entrypoints.service import GRACE_S, LOOPBACK, OrderlyServer, end_pages, only_one

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
    token = secrets.token_urlsafe(32)
    api = _api(stage, token)
    door = open_front_door(api, lambda: stage.desk, cookie_key=secrets.token_bytes(32))
    server = OrderlyServer(uvicorn.Config(
        door, log_config=None, access_log=False, lifespan="off",
        timeout_graceful_shutdown=GRACE_S,
    ))  # fmt: skip
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        with _found_by_commands(stage, port=listener.getsockname()[1], token=token):
            announce(await _links(stage, outcome, address))
            await _live_on(stage, stop)
    finally:
        await end_pages(server, serving, api)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _found_by_commands(stage: Stage, *, port: int, token: str) -> Iterator[None]:
    """Leave word in the folder where commands ask, and take it back; no ``vpp serve`` starts beside it."""
    with only_one(stage.folder):
        post_card(stage.folder, port=port, token=token)
        try:
            yield
        finally:
            remove_card(stage.folder)


def _api(stage: Stage, token: str) -> FastAPI:
    async def readiness() -> Json:
        return {"database": True, "broker": stage.controller.connected, "leads": True}

    return create_api(lambda: stage.desk, token=token, readiness=readiness)


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
