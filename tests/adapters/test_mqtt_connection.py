"""What the socket under an MQTT connection is told."""

import asyncio
import socket

from vpp.adapters.mqtt.connection import BatchingSocket


async def test_small_packets_leave_without_waiting_for_the_one_before() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        plain = socket.create_connection(listening.getsockname())
        BatchingSocket(plain, asyncio.get_running_loop(), lambda _packet: None)
        assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        plain.close()
