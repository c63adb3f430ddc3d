"""Who speaks while the controller is killed: the grid, owners, operators and homes, as often as it takes.

What somebody wanted and got no answer to is asked again in the next life, as a person would; what was
answered is remembered, because from then on it must hold.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx

from simulators.chaos.patience import times_many
from simulators.chaos.plan import ENDING
from simulators.chaos.wire import Listener
from vpp.adapters.clock import WallClock
from vpp.domain.command import Action
from vpp.domain.grid_event import Operation
from vpp.domain.interval import whole_second
from vpp.entrypoints.http.security import COOKIE
from vpp.wire.openadr import Ask, encode_notification

ANSWER_S = 60.0  # a settlement of ten thousand homes takes long; nobody asks twice meanwhile
LONG_S, TOO_SHORT_S = 3600, 600
FEW_EVENTS = 10
SETTLE_AFTER_S = 0.3  # until what homes just sent is stored
PROGRAM = "elrp-a4-pge"
ACTOR = "operator:chaos"
BY_SIGNAL = frozenset(
    ("signal", "signal-answer", "signal-receipt", "event-version", "plan", "tick", "publish", "ack")
)


class Api:
    """The running service's own API, found as every command of ours finds it."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._client = httpx.AsyncClient(trust_env=False, timeout=ANSWER_S)

    async def close(self) -> None:
        """Let go of every connection."""
        await self._client.aclose()

    def _card(self, pid: int) -> tuple[str, str] | None:
        try:
            card = json.loads((self._state_dir / "service.json").read_text())
            token = (self._state_dir / card["token_file"]).read_text().strip()
        except (OSError, ValueError):
            return None
        return (f"http://127.0.0.1:{card['port']}", token) if card["pid"] == pid else None

    async def ready(self, pid: int) -> bool:
        """Return whether this process reaches its database and its broker."""
        card = self._card(pid)
        if card is None:
            return False
        with contextlib.suppress(httpx.HTTPError):
            return (await self._client.get(f"{card[0]}/health/ready")).status_code == 200
        return False

    async def ask(
        self, pid: int, method: str, path: str, body: Any = None, key: str = ""
    ) -> httpx.Response | None:
        """Return what the service answers; None where it died over it, so nobody knows what was done.

        Asked again under the same ``key``, it is the same command. A body of bytes is a file.
        """
        card = self._card(pid)
        if card is None:
            return None
        headers = {"Authorization": f"Bearer {card[1]}", "X-VPP-Actor": ACTOR}
        if key:
            headers["Idempotency-Key"] = key
        url, file = f"{card[0]}/api/v1{path}", body if isinstance(body, bytes) else None
        with contextlib.suppress(httpx.HTTPError):
            return await self._client.request(
                method, url, headers=headers, content=file, json=body if file is None else None
            )
        return None

    async def browse(
        self, pid: int, method: str, path: str, *, cookie: str = "", form: dict[str, str] | None = None
    ) -> httpx.Response | None:
        """Return what a page answers to a browser that follows no address; None where the service died."""
        card = self._card(pid)
        if card is None:
            return None
        headers = {"Cookie": f"{COOKIE}={cookie}"} if cookie else {}
        try:
            return await self._client.request(method, f"{card[0]}{path}", headers=headers, data=form)
        except httpx.HTTPError:
            return None
        finally:
            self._client.cookies.clear()  # each visitor brings their own


@dataclass(frozen=True, slots=True)
class Wish:
    """Something asked of the service; ``granted`` is called once it was answered with success."""

    method: str
    path: str
    body: dict[str, Any] | bytes | None
    granted: Callable[[httpx.Response], None]
    key: str


@dataclass(slots=True)
class People:
    """Everybody outside the controller, and what they were promised."""

    api: Api
    listener: Listener
    homes: asyncio.subprocess.Process
    site_ids: list[str]
    full_w: int
    random: Random
    event_id: str | None = None
    ended: list[str] = field(default_factory=list)
    noes: dict[str, float] = field(default_factory=dict)  # site: when it was promised, by the loop's clock
    wishes: list[Wish] = field(default_factory=list)
    _number: int = 0
    _modified_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    async def tell_homes(self, line: str) -> None:
        """Let the homes do something."""
        assert self.homes.stdin is not None
        self.homes.stdin.write(line.encode() + b"\n")
        await self.homes.stdin.drain()

    async def report_of_homes(self) -> dict[str, Any]:
        """Return what the homes say of themselves."""
        await self.tell_homes("report")
        assert self.homes.stdout is not None
        report: dict[str, Any] = json.loads(await self.homes.stdout.readline())
        return report

    async def insist(self, pid: int) -> None:
        """Ask again for everything that was asked and not answered."""
        for wish in list(self.wishes):
            answer = await self.api.ask(pid, wish.method, wish.path, wish.body, wish.key)
            if answer is None or answer.status_code >= 500:
                return
            self.wishes.remove(wish)
            if answer.is_success:
                wish.granted(answer)

    async def provoke(self, pid: int, point: str) -> None:
        """Do once what makes the controller pass a point."""
        if point in ("settlement", "ledger-pending") and self.ended and self.random.random() < 0.5:
            await self.settle(pid)
        elif self.event_id is None:
            await self.begin_event()
        elif point in BY_SIGNAL:
            await self.change_power()
        elif point in ENDING:
            await self.end_event(pid)
        elif point in ("opt-out", "publish-stop"):
            await self.say_no(pid)
        elif point == "opt-in":
            await (self.say_yes(pid) if self.noes else self.say_no(pid))
        elif point == "reserve":
            site_id = self.random.choice(self.site_ids)
            await self.wish(pid, "PUT", f"/sites/{site_id}/reserve", {"reserve": f"{self._next() % 5}.5"})
        elif point == "telemetry":
            await self.tell_homes("speak")
        elif point in ("readings", "meter-receipt"):
            await self.tell_homes("reboot 3")
        elif point == "grant":
            await self.force_event(pid)
        elif point == "nomination":
            month = f"{WallClock().now() + timedelta(days=40):%Y-%m}"
            path = f"/programs/{PROGRAM}/nominations/{month}"
            await self.wish(pid, "PUT", path, {"power_mw": f"{self._next()}"})
        elif point in ("user", "trail", "kept-answer", "login-link"):
            await self._add_user(pid)

    async def begin_event(self) -> None:
        """Let the grid ask for an hour from now on."""
        self.event_id = f"ev-{self._next()}"
        self.noes.clear()
        await self._signal(Operation.CREATE, self.event_id, LONG_S)

    async def change_power(self) -> None:
        """Let the grid ask for another power."""
        assert self.event_id is not None
        await self._signal(Operation.UPDATE, self.event_id, LONG_S)

    async def end_event(self, pid: int) -> None:
        """Cancel the event and settle it."""
        assert self.event_id is not None
        event_id = self.event_id

        def cancelled(_: httpx.Response) -> None:
            if self.event_id == event_id:
                self.event_id = None
                self.ended.append(event_id)

        await self.wish(pid, "POST", f"/events/{event_id}/cancel", None, cancelled)
        await self.settle(pid)

    async def settle(self, pid: int) -> None:
        """Let the homes send what they metered, and settle what ended last, at times all that is over."""
        await self.tell_homes("speak")
        await asyncio.sleep(SETTLE_AFTER_S * times_many(len(self.site_ids)))
        # All of them again after each of a thousand kills would be most of what the service does.
        every = not self.ended or self.random.random() < FEW_EVENTS / len(self.ended)
        path = "/settlements" if every else f"/events/{self.ended[-1]}/settlement"
        await self.wish(pid, "POST", path, None)

    async def force_event(self, pid: int) -> None:
        """Let the grid ask for too short a time, and the operator say yes to it all the same."""
        event_id = await self.ask_too_shortly()
        await self.wish(pid, "POST", f"/events/{event_id}/force", None)
        await self.wish(
            pid, "POST", f"/events/{event_id}/cancel", None, lambda _: self.ended.append(event_id)
        )

    async def ask_too_shortly(self) -> str:
        """Let the grid ask for too short a time, and return the event, which waits for somebody's leave."""
        event_id = f"short-{self._next()}"
        await self._signal(Operation.CREATE, event_id, TOO_SHORT_S)
        await self.listener.all_answered(5.0)
        return event_id

    async def say_no(self, pid: int) -> None:
        """Let an owner who takes part opt out."""
        assert self.event_id is not None
        event_id = self.event_id
        taking_part = self.taking_part()
        if len(self.noes) > len(self.site_ids) // 3:
            await self.say_yes(pid)
        site_id = self.random.choice(taking_part or self.site_ids)

        def promised(_: httpx.Response) -> None:
            if self.event_id == event_id:
                self.noes[site_id] = asyncio.get_running_loop().time()

        await self.wish(pid, "PUT", f"/events/{event_id}/opt-outs/{site_id}", None, promised)

    def taking_part(self) -> list[str]:
        """Return the homes that discharge for the event, as far as was heard, and did not say no."""
        now = WallClock().now()
        return sorted(
            site_id
            for site_id, (command, _) in self.listener.heard.newest.items()
            if command.action is Action.DISCHARGE
            and command.event_id == self.event_id
            and command.expires_at > now  # one that ran out needs no release
            and site_id not in self.noes
        )

    async def say_yes(self, pid: int) -> None:
        """Let an owner take the no back."""
        site_id = self.random.choice(sorted(self.noes))
        del self.noes[site_id]  # from the asking on it may be so
        await self.wish(pid, "DELETE", f"/events/{self.event_id}/opt-outs/{site_id}", None)

    def disobeyed(self) -> list[str]:
        """Return the sites that said no, and whose newest command is a discharge that runs."""
        now = WallClock().now()
        found = []
        for site_id in self.noes:
            command, _ = self.listener.heard.newest.get(site_id, (None, 0.0))
            if command is None or command.event_id != self.event_id or command.expires_at <= now:
                continue
            if command.action is Action.DISCHARGE:
                found.append(site_id)
        return found

    async def _add_user(self, pid: int) -> None:
        name = f"op-{self._next()}"
        await self.wish(
            pid, "PUT", f"/users/{name}", {"role": "operator", "password": "a long one, for tests"}
        )
        await self.wish(pid, "POST", f"/users/{name}/login-links", None)

    async def _signal(self, operation: Operation, event_id: str, seconds: int) -> None:
        now = whole_second(WallClock().now())
        self._modified_at = max(now, self._modified_at + timedelta(seconds=1))
        part = self.random.randint(40, 100)
        body = encode_notification(
            operation,
            event_id=event_id,
            program_id=PROGRAM,
            name="EEA 3",
            created_at=self._modified_at,
            modified_at=self._modified_at,
            asks=(Ask(duration_s=seconds, power_w=self.full_w * part // 100_000 * 1000, alert="EEA 3"),),
            targets=("pge",),
        )
        await self.listener.signal(body)

    async def wish(
        self,
        pid: int,
        method: str,
        path: str,
        body: dict[str, Any] | bytes | None,
        granted: Callable[[httpx.Response], None] = lambda _: None,
    ) -> None:
        """Ask for something now, and in each life to come until it is answered."""
        self.wishes.append(Wish(method, path, body, granted, f"wish-{self._next()}"))
        await self.insist(pid)

    def _next(self) -> int:
        self._number += 1
        return self._number
