"""A VTN's answers as they come: pages, ends of tokens, and everything that is no list of events."""

import gzip
import json
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from vpp.adapters.vtn_client import BYTES_MOST, VtnAccess, VtnClient, VtnUnreachable

GZIP = b"\x1f\x8b"


@dataclass
class Vtn:
    """A server on loopback; ``answers`` replaces what it would say, by path."""

    url: str = ""
    events: int = 3
    token: str = "t-1"
    drips: bool = False
    stopped: threading.Event = field(default_factory=threading.Event)
    secrets: list[str] = field(default_factory=list)
    answers: dict[str, Callable[[], tuple[int, bytes]]] = field(default_factory=dict)

    def answer(self, path: str, query: dict[str, list[str]], shown: str, form: dict[str, list[str]]) -> Any:
        if path in self.answers:
            return self.answers[path]()
        if path == "/auth/server":
            return 200, json.dumps({"tokenURL": f"{self.url}/auth/token"}).encode()
        if path == "/auth/token":
            self.secrets += form.get("client_secret", [])
            return 200, json.dumps({"access_token": self.token}).encode()
        if shown != f"Bearer {self.token}":
            return 401, b"{}"
        skip, limit = int(query["skip"][0]), int(query["limit"][0])
        page = [{"id": f"ev-{number}"} for number in range(self.events)][skip : skip + limit]
        return 200, json.dumps(page).encode()


@pytest.fixture
def vtn(monkeypatch: pytest.MonkeyPatch) -> Iterator[Vtn]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Vtn()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            where = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            form = parse_qs(self.rfile.read(length).decode())
            status, body = made.answer(
                where.path, parse_qs(where.query), self.headers.get("Authorization", ""), form
            )
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            if body.startswith(GZIP):
                self.send_header("Content-Encoding", "gzip, gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for byte in body if made.drips else ():
                if made.stopped.wait(0.05):
                    return
                self.wfile.write(bytes([byte]))
            self.wfile.write(b"" if made.drips else body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, args=(0.02,))
    serving.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    yield made
    made.stopped.set()
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.fixture
def client(vtn: Vtn, tmp_path: Path) -> VtnClient:
    (tmp_path / "secret").write_text("very secret\n")
    return VtnClient(VtnAccess(vtn.url, "us", tmp_path / "secret"))


@pytest.mark.parametrize("events", [0, 3, 49, 50, 51, 120])
async def test_all_pages_are_read(vtn: Vtn, client: VtnClient, events: int) -> None:
    vtn.events = events

    assert [each["id"] for each in await client.events()] == [f"ev-{number}" for number in range(events)]


async def test_one_token_serves_until_it_is_refused(vtn: Vtn, client: VtnClient) -> None:
    await client.events()
    await client.events()
    vtn.token = "t-2"
    found = await client.events()

    assert len(found) == 3
    assert vtn.secrets == ["very secret"] * 2


@pytest.mark.parametrize(
    ("path", "status", "body", "why"),
    [
        ("/events", 500, b"", "answers 500"),
        ("/events", 302, b"", "answers 302"),
        ("/events", 200, b"<html>", "answers no JSON"),
        ("/events", 200, b"{}", "gave no list of events"),
        ("/events", 200, b'[{"name":"x"}]', "gave no list of events"),
        ("/events", 200, b'[{"id":7}]', "gave no list of events"),
        ("/events", 200, b"[" * 200_000, "answers no JSON"),
        ("/events", 200, b" " * (BYTES_MOST + 1), "more than 4,194,304 bytes"),
        ("/events", 401, b"", "answers 401"),
        ("/auth/token", 401, b"", "answers 401"),
        ("/auth/token", 200, b'{"access_token":"a\\nb"}', "gave no access_token"),
        ("/auth/token", 200, b"[]", "gave no access_token"),
        ("/auth/server", 404, b"", "answers 404"),
        ("/auth/token", 200, b'{"access_token":"' + b"a" * 9_000 + b'"}', "gave no access_token"),
        ("/auth/server", 200, b'{"tokenURL":"https://[::1/token"}', "set token_url"),
        ("/auth/server", 200, b'{"tokenURL":"SAME/to\\nken"}', "set token_url"),
        ("/auth/server", 200, b'{"tokenURL":"SAME/' + b"a" * 70_000 + b'"}', "set token_url"),
        ("/auth/server", 200, b'{"tokenURL":"https://elsewhere.example/token"}', "set token_url"),
    ],
)
async def test_what_is_no_list_of_events_is_told_and_the_secret_is_not(
    vtn: Vtn, client: VtnClient, path: str, status: int, body: bytes, why: str
) -> None:
    vtn.answers[path] = lambda: (status, body.replace(b"SAME", vtn.url.encode()))

    with pytest.raises(VtnUnreachable, match=why) as told:
        await client.events()
    assert "very secret" not in str(told.value)


async def test_a_server_that_is_not_there_or_a_secret_that_is_not_is_told(tmp_path: Path, vtn: Vtn) -> None:
    (tmp_path / "secret").write_text("s")
    with pytest.raises(VtnUnreachable, match="gives no answer"):
        await VtnClient(VtnAccess("http://127.0.0.1:1", "us", tmp_path / "secret")).events()
    with pytest.raises(VtnUnreachable, match="nowhere cannot be read"):
        await VtnClient(VtnAccess(vtn.url, "us", tmp_path / "nowhere")).events()


async def test_a_list_without_end_is_given_up(vtn: Vtn, client: VtnClient) -> None:
    vtn.events = 3_000

    with pytest.raises(VtnUnreachable, match="more than 2,000 events"):
        await client.events()


async def test_a_list_that_comes_a_byte_at_a_time_is_given_up(vtn: Vtn, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("very secret")
    vtn.drips = True

    with pytest.raises(VtnUnreachable, match="no whole list in 1 s"):
        await VtnClient(VtnAccess(vtn.url, "us", tmp_path / "secret"), list_s=1.0).events()


async def test_a_few_packed_bytes_do_not_become_megabytes(vtn: Vtn, client: VtnClient) -> None:
    bomb = gzip.compress(gzip.compress(b" " * 64_000_000))
    vtn.answers["/events"] = lambda: (200, bomb)
    tracemalloc.start()

    with pytest.raises(VtnUnreachable, match="answers no JSON"):
        await client.events()
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 8_000_000


async def test_pages_have_a_size_together_as_well_as_each(vtn: Vtn, client: VtnClient) -> None:
    page = json.dumps([{"id": "x" * 80_000}] * 50).encode()
    vtn.answers["/events"] = lambda: (200, page)

    with pytest.raises(VtnUnreachable, match="16,777,216 bytes of events"):
        await client.events()
