"""An open board, followed as server-sent events over a real socket."""

import asyncio
import json
from typing import Any

STREAM = "/api/v1/events/hot-1/board/stream"


class Follower:
    """One open board: reads what comes and knows the newest."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def at(cls, address: str) -> "Follower":
        host, port = address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        request = f"GET {STREAM} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer a-token\r\n"
        writer.write(f"{request}Connection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        assert b"content-type: text/event-stream" in head.lower()
        return cls(reader, writer)

    async def until(self, kind: str, **values: object) -> dict[str, Any]:
        """Return the first event of the kind that has these values."""
        while True:
            line = (await self._reader.readline()).decode()
            assert line, f"the stream ended before a {kind} with {values}"
            if line.startswith("event: "):
                found = line.strip().removeprefix("event: ")
            if line.startswith("data: ") and found == kind:
                facts: dict[str, Any] = json.loads(line.removeprefix("data: "))
                if values.items() <= facts.items():
                    return facts

    async def rest(self) -> bytes:
        """Return what comes until the stream ends, and close it."""
        rest = await self._reader.read()
        self.close()
        return rest

    def close(self) -> None:
        """Follow no longer."""
        self._writer.close()
