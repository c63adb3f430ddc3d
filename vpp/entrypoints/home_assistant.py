"""The bridge to an owner's own Home Assistant: tells what the page tells, and takes the opt-out switch.

It runs only where somebody starts it, with the address of the owner's own broker; the controller's broker is
never used for it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from vpp.ports import Packet, Transport
from vpp.wire.home_assistant import (
    SWITCH_FILTER,
    HomeState,
    availability_topic,
    config_topic,
    decode_switch,
    encode_config,
    encode_state,
    state_topic,
)

MISSED_MOST = 4


HEARD_WITHIN_S = 1.0
"""A broker gives what it keeps right after the subscription."""


class Away(Exception):
    """The service does not answer now."""


class NotTheOwnersBroker(Exception):
    """Homes speak to the controller at this broker: everybody there would read an owner's earnings."""


Read = Callable[[], Awaitable[Mapping[str, Any]]]
Switch = Callable[[str, str, bool], Awaitable[None]]
"""Opts a site out of an event, or in again. Both raise Away."""


@dataclass(slots=True)
class HomeBridge:
    """Keeps an owner's homes in Home Assistant up to date, a turn at a time."""

    transport: Transport
    owner_id: str
    read: Read
    switch: Switch
    every_s: int = 15
    _events: dict[str, str] = field(default_factory=dict)  # by site, the event that the switch is about

    @staticmethod
    def will_of(owner_id: str) -> Packet:
        """Return what the broker says when the bridge vanishes."""
        return Packet(availability_topic(owner_id), b"offline", retain=True)

    @staticmethod
    def filters_of(site_ids: Sequence[str]) -> list[str]:
        """Return what it listens to: its switches, and what gateways keep at a controller's broker."""
        return [SWITCH_FILTER, *(f"vpp/v1/+/{site_id}/status" for site_id in site_ids)]

    async def require_owners_broker(self, *, within_s: float = HEARD_WITHIN_S) -> None:
        """Return when no gateway of the homes was heard at the broker. Raises NotTheOwnersBroker."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while True:
                    for packet in await self.transport.receive():
                        if packet.topic.startswith("vpp/v1/"):
                            raise NotTheOwnersBroker(
                                f"{packet.topic} is said there, so it is the controller's broker; "
                                "name the owner's own"
                            )

    async def turn(self) -> Mapping[str, Any]:
        """Tell how every home stands now and return it. Raises Away after saying so."""
        try:
            found = await self.read()
        except Away:
            await self.transport.send([self._availability("offline")])
            raise
        packets = [self._availability("online")]
        self._events = {}
        for home in found["homes"]:
            if home["next_event_id"]:
                self._events[home["site_id"]] = home["next_event_id"]
            packets += self._packets(home)
        await self.transport.send(packets)
        return found

    async def hear(self) -> bool:
        """Wait for switches and set them; return whether any was for an event of a home here."""
        switched = False
        for packet in await self.transport.receive():
            said = None if packet.retain else decode_switch(packet.topic, packet.payload)
            if said is not None and said[0] in self._events:
                await self.switch(said[0], self._events[said[0]], said[1])
                switched = True
        return switched

    async def run(self, stop: asyncio.Event) -> None:
        """Take turns until told to stop; a service that is away is asked again at the next turn."""
        hearing = asyncio.create_task(self._keep_hearing())
        try:
            while not stop.is_set():
                with contextlib.suppress(Away):  # Home Assistant shows it as unavailable
                    await self.turn()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self.every_s)
        finally:
            hearing.cancel()
            await self.transport.send([self._availability("offline")])
            await self.transport.flush()

    async def _keep_hearing(self) -> None:
        while True:
            try:
                if await self.hear():
                    await self.turn()  # the switch shows what holds now
            except Away:
                await asyncio.sleep(1)

    async def remove(self, site_ids: list[str]) -> None:
        """Take homes out of Home Assistant."""
        await self.transport.send([Packet(config_topic(site_id), b"", retain=True) for site_id in site_ids])
        await self.transport.flush()

    def _packets(self, home: Mapping[str, Any]) -> list[Packet]:
        site_id, starts = home["site_id"], home["next_event_start"]
        state = HomeState(
            site_id=site_id,
            next_event_start=datetime.fromisoformat(starts) if starts else None,
            event_active=home["event_active"],
            event_test=home["event_test"],
            discharge_w=home["discharge_w"],
            energy_delivered_wh=home["energy_delivered_wh"],
            season_earnings_usd=home["season_earnings_usd"],
            opted_out=home["opted_out"],
        )
        config = encode_config(site_id, self.owner_id, expire_after_s=MISSED_MOST * self.every_s)
        return [
            Packet(config_topic(site_id), config, retain=True),
            Packet(state_topic(site_id), encode_state(state)),
        ]

    def _availability(self, word: str) -> Packet:
        return Packet(availability_topic(self.owner_id), word.encode(), retain=True)
