"""What every page is wrapped in: headers, a check of the host, signed cookies, form tokens, and limits.

Knows nothing of what a page shows.
"""

import hashlib
import hmac
import os
import secrets
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "vpp_session"
COOKIE_KEY_FILE = "cookie-key"
COOKIE_KEY_BYTES = 32

HEADERS = {
    # Everything comes from this host: no inline script or style, no frame, no other origin.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityHeaders:
    """Add the headers to every answer, and refuse a request for another host.

    Without the second a foreign page could point its own name at this address and read ours.
    """

    def __init__(self, app: ASGIApp, *, hosts: tuple[str, ...], refuse: Callable[[Scope], ASGIApp]) -> None:
        self._app, self._hosts, self._refuse = app, hosts, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 421 where it names another host."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
        if host.rpartition(":")[0] not in self._hosts and host not in self._hosts:
            refusal = self._refuse(scope)
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


class CookieSigner:
    """Makes cookie values and form tokens that nobody else can make."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, secret: str) -> str:
        """Return the cookie's value: the secret and its signature."""
        return f"{secret}.{self._mac('cookie', secret)}"

    def secret_of(self, cookie: str) -> str | None:
        """Return the secret of a cookie that was signed here, else None."""
        secret, _, mac = cookie.rpartition(".")
        good = hmac.compare_digest(mac.encode(), self._mac("cookie", secret).encode())
        return secret if secret and good else None

    def form_token(self, session_key: str) -> str:
        """Return what every form of a session carries, so that no other site can send one."""
        return self._mac("form", session_key)

    def is_form_token(self, session_key: str, token: str) -> bool:
        """Return whether the token belongs to the session."""
        return hmac.compare_digest(token.encode(), self.form_token(session_key).encode())

    def _mac(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}\n{text}".encode(), hashlib.sha256).hexdigest()


def cookie_key(state_dir: Path) -> bytes:
    """Return the key that signs cookies, made on first use, readable by its user only."""
    path = state_dir / COOKIE_KEY_FILE
    if not path.exists():
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(COOKIE_KEY_BYTES))
        draft.replace(path)
    return path.read_bytes()


class RateLimit:
    """At most ``most`` hits of one key in any ``per_s`` seconds. Keys that went quiet are forgotten."""

    KEYS_KEPT = 10_000

    def __init__(self, most: int, per_s: float) -> None:
        self._most, self._per_s = most, per_s
        self._hits: dict[str, deque[float]] = {}

    def is_full(self, key: str) -> bool:
        """Return whether another hit of the key would be one too many."""
        hits = self._recent(key)
        return hits is not None and len(hits) >= self._most

    def hit(self, key: str) -> None:
        """Count one hit."""
        if self._recent(key) is None:
            if len(self._hits) >= self.KEYS_KEPT:
                self._hits.pop(next(iter(self._hits)))
            self._hits[key] = deque(maxlen=self._most)
        self._hits[key].append(time.monotonic())

    def _recent(self, key: str) -> deque[float] | None:
        hits = self._hits.get(key)
        if hits is None:
            return None
        while hits and hits[0] <= time.monotonic() - self._per_s:
            hits.popleft()
        if not hits:
            del self._hits[key]
            return None
        return hits
