"""A real mosquitto on a free loopback port, and its command-line clients as foreign programs."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import Self

from vpp.ports import Packet

INSTALL = "apt-get install -y mosquitto mosquitto-clients"


class MosquittoMissing(AssertionError):
    """A test that needs a real broker fails without one: a skipped promise is a broken one."""


def program(name: str) -> str:
    """Return the path of one of mosquitto's programs."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise MosquittoMissing(f"{name} is not installed: {INSTALL}")
    return found


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """The broker while the context is open. ``extra`` lines go into its listener's configuration."""

    def __init__(self, folder: Path, *, extra: str = "allow_anonymous true") -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nset_tcp_nodelay true\nmax_queued_messages 0\n"
            f"max_inflight_messages 0\npersistence false\nlog_type none\n{extra}\n"
            # Started by root it would become a user who may not read the test's own folder.
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
        self.resume()
        await self.kill()

    async def start(self) -> None:
        """Start and return when it accepts connections."""
        self._process = await asyncio.create_subprocess_exec(program("mosquitto"), "-c", str(self._config))
        while True:
            assert self._process.returncode is None, "mosquitto ended at its start"
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """Kill it without warning; sessions and retained messages are gone."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def pause(self) -> None:
        """Stop it in its tracks: connections stand, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after ``pause``."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)

    async def publish(self, packet: Packet) -> None:
        """Publish as a foreign program does."""
        arguments = ["-p", str(self.port), "-h", "127.0.0.1", "-t", packet.topic, "-q", str(packet.qos), "-s"]
        foreign = await asyncio.create_subprocess_exec(
            program("mosquitto_pub"),
            *arguments,
            *(["-r"] if packet.retain else []),
            stdin=asyncio.subprocess.PIPE,
        )
        await foreign.communicate(packet.payload)
        assert foreign.returncode == 0

    async def hear(self, topic: str, *, messages: int) -> asyncio.subprocess.Process:
        """Start a foreign subscriber that prints ``topic payload`` lines and ends after ``messages``."""
        foreign = await asyncio.create_subprocess_exec(
            program("stdbuf"),
            "-oL",  # into a pipe it would keep the word that it listens to itself
            program("mosquitto_sub"),
            *("-p", str(self.port), "-h", "127.0.0.1", "-t", topic, "-q", "1", "-v", "-d"),
            *("-C", str(messages)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert foreign.stdout is not None
        while b"SUBACK" not in await foreign.stdout.readline():
            pass
        return foreign
