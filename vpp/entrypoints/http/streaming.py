"""Boards as server-sent events: one producer for each event that is followed, the same bytes for everybody.

A follower who reads slowly misses boards in between and never holds up the others.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from vpp.entrypoints.operations.board import show_board
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused
from vpp.ports import StoreUnavailable

EVERY_S = 1.0
FOLLOWERS_MOST = 2_000
MEDIA_TYPE = "text/event-stream"

Line = asyncio.Queue[bytes | None]


@dataclass(slots=True)
class _Channel:
    """The followers of one event. Each holds at most one board that was not read yet."""

    followers: set[Line] = field(default_factory=set)
    producer: asyncio.Task[None] | None = None
    newest: bytes | None = None

    def say(self, said: bytes | None) -> None:
        self.newest = said
        for line in self.followers:
            while not line.empty():
                line.get_nowait()
            line.put_nowait(said)


class BoardFeed:
    """Makes the board of an event once a second while somebody follows it."""

    def __init__(self, desk: Callable[[], Desk], *, every_s: float = EVERY_S) -> None:
        self._desk, self._every_s = desk, every_s
        self._channels: dict[str, _Channel] = {}

    @property
    def followers(self) -> int:
        """Return how many follow now."""
        return sum(len(channel.followers) for channel in self._channels.values())

    async def follow(self, event_id: str) -> AsyncIterator[bytes]:
        """Return the stream of one board: ``board`` each second, ``waiting`` while there is none, ``end``.

        Raises:
            OperationRefused: Nobody knows the event, or too many follow already.
        """
        desk = self._desk()
        await desk.history(event_id)
        assert desk.running
        if self.followers >= FOLLOWERS_MOST:
            raise OperationRefused(
                f"{FOLLOWERS_MOST} boards are followed already", HTTPStatus.SERVICE_UNAVAILABLE
            )
        return self._lines(event_id)

    def close(self) -> None:
        """End every stream: whoever follows hears that the service ends, and no connection holds it up."""
        for channel in self._channels.values():
            if channel.producer is not None:
                channel.producer.cancel()
            channel.say(None)
        self._channels.clear()

    async def _lines(self, event_id: str) -> AsyncIterator[bytes]:
        channel = self._channels.setdefault(event_id, _Channel())
        line: Line = asyncio.Queue(maxsize=1)
        channel.followers.add(line)
        if channel.producer is None:
            channel.producer = asyncio.create_task(self._produce(event_id, channel))
        elif channel.newest is not None:
            line.put_nowait(channel.newest)
        try:
            while (said := await line.get()) is not None:
                yield said
        finally:
            channel.followers.discard(line)
            if not channel.followers and self._channels.get(event_id) is channel:
                del self._channels[event_id]
                channel.producer.cancel()

    async def _produce(self, event_id: str, channel: _Channel) -> None:
        number = 0
        with contextlib.suppress(OperationRefused):
            while True:
                number += 1
                try:
                    facts = await show_board(self._desk(), event_id=event_id)
                except StoreUnavailable as failure:
                    channel.say(_event("waiting", number, {"detail": str(failure)}))
                else:
                    channel.say(_event("board", number, in_short(facts)))
                    if facts["state"] in ("ended", "cancelled"):
                        break
                await asyncio.sleep(self._every_s)
        await asyncio.sleep(self._every_s)  # so that the last board is read
        self._channels.pop(event_id, None)
        channel.say(None)


def in_short(facts: Json) -> Json:
    """Return a board without its course of power: whoever follows has seen it, or asks for it once."""
    course = facts["course"]
    assert isinstance(course, list)
    return {name: value for name, value in facts.items() if name != "course"} | {"newest": course[-1:]}


def _event(kind: str, number: int, value: Json) -> bytes:
    data = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return f"event: {kind}\nid: {number}\ndata: {data}\n\n".encode()
