"""A broker for one machine: iotcore in a child process that dies with us, and alone is started again.

It listens on loopback only, keeps nothing over a restart and has no users: right for a demonstration or
a single process, wrong for homes on the internet. Run as a module it is the child.
"""

import asyncio
import contextlib
import errno
import logging
import os
import resource
import socket
import sys
import tempfile
import threading
import time
from typing import Self

import iotcore

LOOPBACK = "127.0.0.1"
MAX_PAYLOAD_BYTES = 65_536
MAX_CONNECTIONS = 10_000
MAX_IN_FLIGHT = 1_000  # for each connection; small windows stall, because iotcore leaves Nagle on
SEGMENT_BYTES, SEGMENTS = 4_194_304, 8  # of each topic filter; the engine's own measure grew to 1 GB each
START_WITHIN_S = 15.0
STOP_WITHIN_S = 5.0
RESTART_AFTER_S, RESTART_AFTER_AT_MOST_S = 0.1, 5.0  # doubled as long as it does not stay up
STEADY_AFTER_S = 10.0  # who ran so long is started again at once

log = logging.getLogger(__name__)

_CONFIG = f"""
id = 0
[router]
id = 0
max_connections = {MAX_CONNECTIONS}
max_outgoing_packet_count = 200
max_segment_size = {SEGMENT_BYTES}
max_segment_count = {SEGMENTS}
[v4.1]
name = "v4-1"
listen = "{LOOPBACK}:{{port}}"
next_connection_delay_ms = 0
[v4.1.connections]
connection_timeout_ms = 60000
max_payload_size = {MAX_PAYLOAD_BYTES}
max_inflight_count = {MAX_IN_FLIGHT}
dynamic_filters = true
"""


class PortTaken(OSError):
    """Another program listens on the port that the broker was to use."""


class BrokerDidNotStart(RuntimeError):
    """The child ended or did not accept connections in time."""


class EmbeddedBroker:
    """The broker while the context is open. ``port`` zero takes a free one and says which.

    A child that ends by itself is replaced on the same port for as long as the context is open.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self._child: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Return the address for ``mqtt.Access.from_url``."""
        return f"mqtt://{LOOPBACK}:{self.port}"

    async def __aenter__(self) -> Self:
        self.port = _claim(self.port)
        child = await self._start()
        self._keeping = asyncio.create_task(self._keep_alive(child), name="embedded broker")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait((self._keeping,))
        await self._stop()

    async def _start(self) -> asyncio.subprocess.Process:
        child = self._child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "vpp.adapters.embedded_broker", str(self.port),
            stdin=asyncio.subprocess.PIPE,  # the child ends when this closes, however we die
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us: homes are released before the broker goes
        )  # fmt: skip
        accepts = False
        try:
            async with asyncio.timeout(START_WITHIN_S):
                await self._accepts(child)
            accepts = True
        except TimeoutError:
            raise BrokerDidNotStart(
                f"the embedded broker took no connection on port {self.port} within {START_WITHIN_S:.0f} s"
            ) from None
        finally:
            if not accepts:
                await self._stop()
        return child

    async def _keep_alive(self, child: asyncio.subprocess.Process) -> None:
        """Put another child in the place of one that ended: homes find the port they know, or nothing."""
        wait_s = RESTART_AFTER_S
        while True:
            began = time.monotonic()
            code = await child.wait()
            wait_s = RESTART_AFTER_S if time.monotonic() - began > STEADY_AFTER_S else wait_s
            log.warning(
                "the embedded broker ended with code %s; starting it again on port %d", code, self.port
            )
            await self._stop()
            while True:
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, RESTART_AFTER_AT_MOST_S)
                try:
                    _claim(self.port)
                    child = await self._start()
                    break
                except (OSError, BrokerDidNotStart) as failure:
                    log.warning("the embedded broker did not start: %s; next try in %g s", failure, wait_s)
            log.warning("the embedded broker listens again on port %d", self.port)

    async def _accepts(self, child: asyncio.subprocess.Process) -> None:
        while True:
            if child.returncode is not None:
                raise BrokerDidNotStart(f"the embedded broker ended at once with code {child.returncode}")
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(LOOPBACK, self.port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.02)

    async def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if child.returncode is None:
            child.terminate()
        try:
            await asyncio.wait_for(child.wait(), STOP_WITHIN_S)
        except TimeoutError:
            child.kill()
            await child.wait()
        assert child.stdin is not None
        child.stdin.close()


def _claim(port: int) -> int:
    """Return the port if it is free on loopback, or a free one for zero."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one just closed counts as free
        try:
            probe.bind((LOOPBACK, port))
        except OSError as taken:
            if taken.errno != errno.EADDRINUSE:
                raise
            raise PortTaken(
                errno.EADDRINUSE,
                f"port {port} on {LOOPBACK} is taken by another program; name a free one, or 0 for any",
            ) from None
        return int(probe.getsockname()[1])


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # returns when the parent's end of the pipe closes, whatever ended it
    os._exit(0)


def _child(port: int) -> None:
    """Be the broker until the parent goes away."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each home holds a connection
    logging.basicConfig(level=logging.WARNING)
    # The engine logs each packet's trace span as an error.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with tempfile.NamedTemporaryFile("w", prefix="vpp-broker-", suffix=".toml") as file:
        file.write(_CONFIG.format(port=port))
        file.flush()
        broker = iotcore.IotCoreBroker(config_path=file.name)
    broker.run_forever()


if __name__ == "__main__":
    _child(int(sys.argv[1]))
