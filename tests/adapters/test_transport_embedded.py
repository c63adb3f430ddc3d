"""The broker that is brought along: where it listens, and that it dies with us."""

import asyncio
import contextlib
import os
import signal
import sys

import pytest

from tests.mosquitto import free_port
from vpp.adapters.embedded_broker import EmbeddedBroker, PortTaken

PARENT = """
import asyncio
from vpp.adapters.embedded_broker import EmbeddedBroker

async def main():
    async with EmbeddedBroker() as broker:
        print(broker.port, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()
        return True
    return False


async def test_a_named_port_is_used_and_free_again_afterwards() -> None:
    port = free_port()
    async with EmbeddedBroker(port) as broker:
        assert broker.url == f"mqtt://127.0.0.1:{port}"
        assert await answers(port)
    assert not await answers(port)


async def test_a_taken_port_is_named() -> None:
    async with EmbeddedBroker() as first:
        with pytest.raises(PortTaken, match=f"port {first.port} on 127.0.0.1 is taken"):
            await EmbeddedBroker(first.port).__aenter__()


async def test_the_broker_dies_with_its_parent() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert parent.stdout is not None
    port = int(await asyncio.wait_for(parent.stdout.readline(), 20))
    assert await answers(port)

    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()

    async with asyncio.timeout(10):
        while await answers(port):  # noqa: ASYNC110  # another process's end is no event of ours
            await asyncio.sleep(0.05)


async def test_a_broker_that_is_killed_listens_again_on_its_port_as_often_as_it_takes() -> None:
    async with EmbeddedBroker() as broker:
        for _ in range(2):
            killed = broker._child
            assert killed is not None
            killed.kill()
            await killed.wait()
            async with asyncio.timeout(20):
                while broker._child is killed or not await answers(broker.port):  # noqa: ASYNC110  # another process
                    await asyncio.sleep(0.05)
    assert not await answers(broker.port)


async def test_a_broker_whose_port_somebody_takes_meanwhile_comes_back_when_it_is_free() -> None:
    async with EmbeddedBroker() as broker:
        assert broker._child is not None
        broker._child.kill()
        await broker._child.wait()
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", broker.port):
            await asyncio.sleep(0.5)  # a start or two finds the port taken
        async with asyncio.timeout(20):
            while not await answers(broker.port):  # noqa: ASYNC110  # another process is no event of ours
                await asyncio.sleep(0.05)
