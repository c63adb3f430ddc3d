"""A real mosquitto without persistence: what it is killed with is gone."""

import asyncio
import contextlib
import os
import shutil
import socket
import time
from pathlib import Path
from typing import Self


class MosquittoMissing(Exception):
    """The broker's program is not installed."""


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """The broker while the context is open."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.opened_at = 0.0  # monotonic, when its port last opened
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nset_tcp_nodelay true\nmax_queued_messages 0\n"
            "max_inflight_messages 0\npersistence false\nlog_type none\nallow_anonymous true\n"
            # Started by root it would become a user who may not read this folder.
            + ("user root\n" if os.geteuid() == 0 else "")
        )
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Return the broker's address."""
        return f"mqtt://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> None:
        """Start it and return when its port is open. Raises MosquittoMissing."""
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            raise MosquittoMissing("mosquitto is not installed: apt-get install -y mosquitto")
        self._process = await asyncio.create_subprocess_exec(program, "-c", str(self._config))
        while self._process.returncode is None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                self.opened_at = time.monotonic()
                writer.close()
                return
            await asyncio.sleep(0.01)
        raise MosquittoMissing(f"mosquitto ended at its start with {self._process.returncode}")

    async def kill(self) -> None:
        """Kill it without warning: sessions, queues and retained messages are gone."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
