"""``vpp owner home-assistant``: an owner's homes in the owner's own Home Assistant."""

import asyncio
import json
import secrets
import signal
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from vpp.adapters.mqtt import Access, MqttTransport, NotABrokerUrl
from vpp.entrypoints.asking import JsonFlag, actor, ask, fail, stderr
from vpp.entrypoints.home_assistant import Away, HomeBridge, NotTheOwnersBroker, Read, Switch
from vpp.entrypoints.operations import home_states, sites

REASON = "home automation of the owner"


def home_assistant(
    owner: Annotated[str, typer.Argument(metavar="OWNER", help="Owner id.")],
    broker: Annotated[
        str,
        typer.Option(
            "--broker",
            metavar="URL",
            envvar="HOME_BROKER_URL",
            help="The owner's own broker, mqtt[s]://user:password@host; never the controller's.",
        ),
    ],
    every: Annotated[int, typer.Option(min=5, max=600, help="Seconds between two looks.")] = 15,
    once: Annotated[bool, typer.Option("--once", help="Tell the state once and end.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take the homes out again and end.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show an owner's homes in Home Assistant by MQTT discovery, until it is ended.

    Six entities for each home: next event, event active, discharge power, energy delivered, season earnings,
    and a switch to opt out. Nothing of it runs unless this is started.
    """
    # The owner's trail says once that it began; each look from then on is the owner's own.
    first = ask(home_states.show_home_states, owner_id=owner, actor=actor(), reason=REASON)
    asyncio.run(_bridge(owner, broker, every, first, once=once, remove=remove, as_json=as_json))


async def _bridge(
    owner: str, broker: str, every: int, first: Mapping[str, Any], *, once: bool, remove: bool, as_json: bool
) -> None:
    try:
        access = Access.from_url(broker, client_id=f"vpp-home-{owner}", will=HomeBridge.will_of(owner))
    except NotABrokerUrl as failure:
        fail(str(failure))
    site_ids = [home["site_id"] for home in first["homes"]]
    filters = HomeBridge.filters_of(site_ids)
    async with MqttTransport(access, filters=filters, jitter=secrets.SystemRandom().random) as transport:
        bridge = HomeBridge(transport, owner, _reader(owner), _switcher(owner), every)
        await transport.wait_connected()
        try:
            await bridge.require_owners_broker()
        except NotTheOwnersBroker as failure:
            fail(f"{broker.rpartition('@')[2]}: {failure}; nothing was sent")
        if remove:
            await bridge.remove(site_ids)
        elif once:
            await bridge.turn()
            await transport.flush()
        else:
            stop = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            stderr.print(f"{len(first['homes'])} homes are shown at the owner's broker; Ctrl-C ends it")
            await bridge.run(stop)
    if as_json:
        sys.stdout.write(json.dumps(first, separators=(",", ":"), ensure_ascii=False) + "\n")


def _reader(owner: str) -> Read:
    async def read() -> Mapping[str, Any]:
        return await _asked(home_states.show_home_states, owner_id=owner, actor=f"owner:{owner}")

    return read


def _switcher(owner: str) -> Switch:
    async def switch(site_id: str, event_id: str, out: bool) -> None:
        if out:
            named = {"site_id": site_id, "event_id": event_id, "actor": f"owner:{owner}"}
            await _asked(sites.opt_out_site, **named)
        else:
            await _asked(sites.opt_in_site, site_id=site_id, event_id=event_id)

    return switch


async def _asked(operation: Any, **arguments: Any) -> Mapping[str, Any]:
    try:
        return await asyncio.to_thread(ask, operation, **arguments)
    except typer.Exit as refused:  # the reason stands on stderr by now
        raise Away from refused


def add_to(owner_app: typer.Typer) -> None:
    """Add the command to the others about an owner."""
    owner_app.command("home-assistant")(home_assistant)
