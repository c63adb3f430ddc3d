"""Somebody else's VTN over HTTPS: an access token, and all events that it has, as OpenADR 3.1 gives them.

Knows OAuth 2 client credentials and pages of fifty. Refuses to know what an event means.

Source: OpenADR 3.1.0, GET /auth/server, POST token, GET /events with skip and limit.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TypeGuard
from urllib.parse import urlsplit

import httpx

PAGE = 50
EVENTS_MOST = 2_000
BYTES_MOST = 4 * 1024 * 1024
LIST_BYTES_MOST = 4 * BYTES_MOST
ANSWER_S = 10.0
LIST_S = 60.0
URL_MOST = 1_000
TOKEN_MOST = 8_000


class VtnUnreachable(Exception):
    """The VTN gave no events. The message says why, and names no secret."""


@dataclass(frozen=True, slots=True)
class VtnAccess:
    """Where a VTN is, and as which client it is asked. ``token_url`` empty: where the VTN says."""

    url: str
    client_id: str
    secret_file: Path
    token_url: str = ""


class VtnClient:
    """Asks one VTN. An access token is kept until the VTN refuses it."""

    def __init__(self, access: VtnAccess, *, list_s: float = LIST_S) -> None:
        self._access, self._url = access, access.url
        self._token = ""
        self._list_s = list_s

    async def events(self) -> list[Mapping[str, object]]:
        """Return every event of the VTN, each an object with an id. Raises VtnUnreachable."""
        try:
            # Who sends a byte now and then is never silent for long enough, so the whole has its time too.
            async with asyncio.timeout(self._list_s), httpx.AsyncClient(timeout=ANSWER_S) as http:
                return await self._pages(http)
        except TimeoutError as failure:
            raise VtnUnreachable(f"{self._url} gives no whole list in {self._list_s:g} s") from failure

    async def _pages(self, http: httpx.AsyncClient) -> list[Mapping[str, object]]:
        found: list[Mapping[str, object]] = []
        seen_bytes = 0
        while True:
            page, page_bytes = await self._page(http, skip=len(found))
            found += page
            seen_bytes += page_bytes
            if len(page) < PAGE:
                return found
            if len(found) > EVENTS_MOST:
                raise VtnUnreachable(f"more than {EVENTS_MOST:,} events; it should delete old ones")
            if seen_bytes > LIST_BYTES_MOST:
                raise VtnUnreachable(f"more than {LIST_BYTES_MOST:,} bytes of events")

    async def _page(self, http: httpx.AsyncClient, *, skip: int) -> tuple[list[Mapping[str, object]], int]:
        asked = f"{self._url}/events?skip={skip}&limit={PAGE}"
        answer = await self._get(http, asked)
        if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) and self._token:
            self._token = ""  # it ended, or its secret was changed: one new one may help
            answer = await self._get(http, asked)
        page = _json(answer, asked)
        if not isinstance(page, list) or not all(map(_is_event, page)):
            raise VtnUnreachable(f"GET {asked} gave no list of events")
        return page, len(answer.content)

    async def _get(self, http: httpx.AsyncClient, url: str) -> httpx.Response:
        self._token = self._token or await self._new_token(http)
        return await _sent(http, "GET", url, headers={"Authorization": f"Bearer {self._token}"})

    async def _new_token(self, http: httpx.AsyncClient) -> str:
        url = self._access.token_url or await self._discovered(http)
        form = {
            "grant_type": "client_credentials",
            "client_id": self._access.client_id,
            "client_secret": self._secret(),
        }
        answer = _json(await _sent(http, "POST", url, data=form), url)
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not _is_plain(token, TOKEN_MOST):
            raise VtnUnreachable(f"POST {url} gave no access_token")
        return token

    async def _discovered(self, http: httpx.AsyncClient) -> str:
        asked = f"{self._url}/auth/server"
        answer = _json(await _sent(http, "GET", asked), asked)
        url = answer.get("tokenURL") if isinstance(answer, dict) else None
        if not _is_plain(url, URL_MOST) or _host_of(url) != _host_of(self._url):
            # The secret goes to no host that only an answer named.
            raise VtnUnreachable(f"GET {asked} names no tokenURL on the same host; set token_url")
        return url

    def _secret(self) -> str:
        try:
            return self._access.secret_file.read_text().strip()
        except (OSError, ValueError) as failure:
            raise VtnUnreachable(f"{self._access.secret_file} cannot be read: {failure}") from failure


async def _sent(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Return an answer that was read whole, but not endlessly. Raises VtnUnreachable."""
    try:
        # Nothing is unpacked: a few packed bytes may be gigabytes, before anybody could count them.
        plain = {"Accept-Encoding": "identity", **(headers or {})}
        request = http.build_request(method, url, headers=plain, data=data)
        answer = await http.send(request, stream=True)
        try:
            content = bytearray()
            async for part in answer.aiter_raw():
                content += part
                if len(content) > BYTES_MOST:
                    raise VtnUnreachable(f"{url} answers more than {BYTES_MOST:,} bytes")
        finally:
            await answer.aclose()
    except (httpx.HTTPError, httpx.InvalidURL) as failure:
        why = str(failure) or type(failure).__name__
        raise VtnUnreachable(f"{url} gives no answer: {why[:URL_MOST]}") from failure
    return httpx.Response(answer.status_code, content=bytes(content), request=request)


def _is_plain(found: object, most: int) -> TypeGuard[str]:
    return isinstance(found, str) and len(found) <= most and found.isascii() and found.isprintable()


def _host_of(url: str) -> tuple[str, str] | None:
    try:
        return urlsplit(url)[:2]
    except ValueError:
        return None


def _is_event(found: object) -> bool:
    return isinstance(found, dict) and isinstance(found.get("id"), str)


def _json(answer: httpx.Response, url: str) -> object:
    if answer.status_code != HTTPStatus.OK:
        raise VtnUnreachable(f"{url} answers {answer.status_code}")
    try:
        return json.loads(answer.content)
    except (ValueError, RecursionError) as failure:
        raise VtnUnreachable(f"{url} answers no JSON") from failure
