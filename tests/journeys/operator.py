"""What an operator has at hand: a shell with ``vpp``, a real broker, homes, and foreign MQTT clients."""

import asyncio
import contextlib
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from tests.mosquitto import Mosquitto, program

CONFIG = Path(__file__).resolve().parents[2] / "config"
PATIENCE_S = 90.0
SOON_S = 30.0  # seconds on a busy machine; the benchmark "stop" measures how few they are on a quiet one


def always_in_season(folder: Path) -> Path:
    """Write the real program's file so that it is noon, and in season, whenever the test runs."""
    ahead_h = (12 - datetime.now(UTC).hour + 11) % 24 - 11  # what to add to UTC for noon, -11 to 12
    text = (CONFIG / "programs" / "elrp-a4-pge.toml").read_text()
    for key, value in (
        ("season_first", '"01-01"'),
        ("season_last", '"12-31"'),
        ("window_opens", "00:00:00"),
        ("window_closes", "23:59:59"),
    ):
        text = re.sub(
            rf"^{key} = {{ value = [^,]+,", f"{key} = {{ value = {value},", text, flags=re.MULTILINE
        )
    zone = f"Etc/GMT{-ahead_h:+d}"  # in these names the sign is the other way round
    text = text.replace('time_zone = "America/Los_Angeles"', f'time_zone = "{zone}"')
    folder.mkdir()
    (folder / "elrp-a4-pge.toml").write_text(text)
    return folder


class Operator:
    """One operator's shell: environment, folder, and every line that any MQTT client could read."""

    def __init__(self, folder: Path, broker: Mosquitto, *, programs: Path, database_url: str = "") -> None:
        self.folder = folder
        self.broker = broker
        self.heard: list[tuple[str, str]] = []
        clean = {name: value for name, value in os.environ.items() if not name.startswith("VPP_")}
        self.environment = clean | {
            "VPP_BROKER_URL": broker.url,
            "VPP_DATABASE_URL": database_url,
            "VPP_STATE_DIR": str(folder / "state"),
            "VPP_HTTP_PORT": "0",
            "VPP_PROGRAMS_DIR": str(programs),
            "VPP_DISPATCH__SPREAD_S": "0",
        }

    async def vpp(self, *words: str, code: int = 0) -> Any:
        """Return what a command prints with ``--json``."""
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "vpp", *words, "--json",
            env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await child.communicate()
        assert child.returncode == code, (words, child.returncode, out.decode(), err.decode())
        return json.loads(out) if out else err.decode()

    async def homes(self, count: int) -> Path:
        """Make homes with three weeks of history that end now."""
        out = self.folder / "homes"
        await self._simulator("homes", "--count", str(count), "--seed", "7", "--out", str(out))
        return out

    async def _simulator(self, *words: str) -> None:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "simulators",
            *words,
            env=self.environment,
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await child.wait() == 0, words

    @asynccontextmanager
    async def running(self, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Keep a program running; it is asked to end, and killed when it does not."""
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *words, env=self.environment, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            yield child
        finally:
            if child.returncode is None:
                child.terminate()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(child.wait(), 15)
                if child.returncode is None:
                    child.kill()
                    await child.wait()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Keep ``vpp serve`` running, ready when this begins."""
        async with self.running("vpp", "serve") as child:
            await until(self._ready, "vpp serve to be ready")
            yield child

    async def _ready(self) -> bool:
        card = self.folder / "state" / "service.json"
        if not card.exists():
            return False
        port = json.loads(card.read_text())["port"]
        async with httpx.AsyncClient(trust_env=False) as client:
            with contextlib.suppress(httpx.HTTPError):
                return (await client.get(f"http://127.0.0.1:{port}/health/ready")).status_code == 200
        return False

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hear everything as ``mosquitto_sub`` prints it."""
        child = await asyncio.create_subprocess_exec(
            program("stdbuf"), "-oL", program("mosquitto_sub"),
            *("-h", "127.0.0.1", "-p", str(self.broker.port), "-t", "vpp/#", "-t", "grid/#", "-v"),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip

        async def take() -> None:
            assert child.stdout is not None
            async for line in child.stdout:
                topic, _, payload = line.decode().rstrip("\n").partition(" ")
                if payload.startswith("{"):  # the second line of a signed message is its signature
                    self.heard.append((topic, payload))

        taking = asyncio.create_task(take())
        try:
            yield
        finally:
            child.terminate()
            await child.wait()
            await taking

    def said(self, kind: str, **fields: object) -> list[dict[str, Any]]:
        """Return the bodies heard on topics that end in a kind, whose fields have these values."""
        bodies = [json.loads(payload) for topic, payload in self.heard if topic.endswith(f"/{kind}")]
        return [body for body in bodies if all(body.get(name) == value for name, value in fields.items())]

    async def signal(self, source: str, notification: dict[str, Any]) -> None:
        """Publish a notification with ``mosquitto_pub``, as anybody's shell script could."""
        child = await asyncio.create_subprocess_exec(
            program("mosquitto_pub"),
            *("-h", "127.0.0.1", "-p", str(self.broker.port), "-q", "1"),
            *("-t", f"grid/v1/{source}/event", "-m", json.dumps(notification)),
        )
        assert await child.wait() == 0


async def until(holds: Callable[[], Awaitable[bool]], what: str, *, within_s: float = PATIENCE_S) -> float:
    """Return the seconds it took until something held."""
    began = time.monotonic()
    while not await holds():
        assert time.monotonic() - began < within_s, f"waited {within_s:.0f} s for {what}"
        await asyncio.sleep(0.1)
    return time.monotonic() - began


def notification(operation: str, event_id: str, *, modified_at: str, kw: int, minutes: int) -> dict[str, Any]:
    """Return an OpenADR 3.1 notification for an event that starts at once."""
    return {
        "objectType": "EVENT",
        "operation": operation,
        "object": {
            "id": event_id,
            "objectType": "EVENT",
            "createdDateTime": modified_at,
            "modificationDateTime": modified_at,
            "programID": "elrp-a4-pge",
            "eventName": "EEA 3 CAISO Grid",
            "priority": 0,
            "targets": ["pge"],
            "intervalPeriod": {"start": "0001-01-01T00:00:00Z", "duration": f"PT{minutes}M"},
            "payloadDescriptors": [
                {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "CONTROL_SETPOINT", "units": "KW"}
            ],
            "intervals": [
                {
                    "id": 0,
                    "payloads": [
                        {"type": "ALERT_GRID_EMERGENCY", "values": ["EEA 3: discharge requested"]},
                        {"type": "SIMPLE", "values": [3]},
                        {"type": "CONTROL_SETPOINT", "values": [-kw]},
                    ],
                }
            ],
        },
    }


def stamp() -> str:
    """Return the present second as messages write it."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


async def enrolled(operator: Operator, count: int) -> Path:
    """Enrol homes with their history and a grid source that signs nothing, as a newcomer would."""
    homes = await operator.homes(count)
    key = await operator.vpp("keys", "show")
    sites = await operator.vpp("site", "enroll", "--file", str(homes / "sites.csv"))
    await operator.vpp("meter", "import", str(homes / "history.csv"))
    await operator.vpp("source", "add", "caiso", "--max-mw", "1")
    assert set(key) == {"kid", "public_key"}
    assert [site["shard"] for site in sites["sites"]] == [f"{row:02x}" for row in range(count)]
    return homes
