"""A running service whose ports get everything but what belongs there goes on as if nothing had been."""

import asyncio
import json
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random

import aiomqtt
import httpx
import pytest

from tests.entrypoints.builders import an_enrollment_file
from tests.entrypoints.test_service import Serve, answer_of, card_of, serve, vpp
from tests.hostile.parsers import SITE, parsers
from tests.hostile.spoiling import spoil
from tests.mosquitto import Mosquitto, free_port

__all__ = ["serve"]  # the fixture

CONNECTIONS = 200  # of each kind
MESSAGES = 1_500
GROWN_MB = 40
REQUESTS = (
    b"GET /operator HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"POST /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n"
    b"Content-Type: application/json\r\n\r\n{}",
    b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 20\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n\r\nname=ana&password=xx",
    b"GET /api/v1/live HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n",
    b"POST /api/v1/sources/caiso/signals HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\n{\"a\":\r\n0\r\n\r\n",
    b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X-Much: " + b"b" * 60_000 + b"\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)  # fmt: skip
MQTT = (
    b"\x10\x12\x00\x04MQTT\x04\x02\x00\x3c\x00\x06nobody\x82\x06\x00\x01\x00\x01#\x00",
    b"\x10\x12\x00\x04MQTT\x04\x02\x00\x3c\x00\x06nobody\x30\x07\x00\x03a/bhi\xe0\x00",
    b"\x10\xff\xff\xff\x7f\x00\x04MQTT\x04\x02\x00\x3c",
    b"\xf0\x00\xd0\x00\xc0\x00",
)


def resident_mb(child: subprocess.Popen[str]) -> float:
    """Return the memory of a process."""
    status = Path(f"/proc/{child.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def throw_at(port: int, samples: Sequence[bytes], random: Random) -> None:
    """Open connections that each say something spoiled; every fourth stays half open until the end."""
    with ExitStack() as held:
        for number in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.settimeout(0.02)
            with suppress(OSError):  # it hangs up on us, or waits for more
                connection.sendall(spoil(random, samples))
                connection.recv(1_000)
            if number % 4:
                connection.close()
            else:
                held.callback(connection.close)


async def publish_spoiled(port: int, random: Random) -> None:
    """Publish spoiled bodies under every topic the service listens to, and under some that nobody has."""
    bodies = {parser.name: parser.samples for parser in parsers() if not parser.name.startswith("bundle")}
    kinds = {"telemetry": "telemetry", "ack": "acknowledgement", "status": "status", "meter": "meter"}
    async with aiomqtt.Client("127.0.0.1", port, identifier="stranger") as client:
        for _ in range(MESSAGES):
            kind = random.choice(list(kinds))
            site = random.choice([SITE, SITE, "s-of-nobody", "S-ODD", "a" * 60])
            address = f"vpp/v1/{random.choice(('00', '0a', 'zz'))}/{site}/{kind}"
            if random.random() < 0.2:
                address, kind = f"grid/v1/{random.choice(('caiso', 'nobody'))}/event", "signal"
            body = spoil(random, bodies.get(kinds.get(kind, kind), bodies["signal"]))
            await client.publish(address, body, qos=1, retain=random.random() < 0.1)


@pytest.fixture(params=["embedded", "mosquitto"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield a broker's port, and the settings that lead a service to it."""
    if request.param == "embedded":
        port = free_port()
        yield port, {"VPP_EMBEDDED_BROKER_PORT": str(port)}
        return
    mosquitto = Mosquitto(tmp_path)
    with asyncio.Runner() as runner:
        runner.run(mosquitto.start())
        yield mosquitto.port, {"VPP_BROKER_URL": mosquitto.url}
        runner.run(mosquitto.kill())


def test_a_service_under_hostile_bytes_goes_on_and_stays_as_small(
    broker: tuple[int, dict[str, str]], serve: Serve, tmp_path: Path
) -> None:
    (port, settings), state_dir, random = broker, tmp_path / "state", Random(11)
    child = serve(**settings)
    card = card_of(state_dir, child)
    answer_of(card["port"], "/health/ready", status=200)
    sites = tmp_path / "sites.csv"
    sites.write_bytes(an_enrollment_file(SITE))
    assert vpp(state_dir, "site", "enroll", "--file", str(sites)).returncode == 0

    for round_of in range(2):
        throw_at(card["port"], REQUESTS, random)
        throw_at(port, MQTT, random)
        asyncio.run(publish_spoiled(port, random))
        if round_of == 0:
            warm_mb = resident_mb(child)

    ready = answer_of(card["port"], "/health/ready", status=200)
    grown_mb = resident_mb(child) - warm_mb
    metrics = httpx.get(f"http://127.0.0.1:{card['port']}/metrics", trust_env=False).text
    listed = vpp(state_dir, "site", "list", "--json")
    child.send_signal(signal.SIGTERM)
    ended = child.wait(timeout=60)
    said = child.stderr.read() if child.stderr else ""

    assert ready == {"database": True, "broker": True, "leads": True}
    assert len(json.loads(listed.stdout)["sites"]) == 1
    assert "refused" in metrics
    assert "Traceback" not in said
    assert ended == 0
    assert grown_mb < GROWN_MB
