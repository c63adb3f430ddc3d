"""A real browser before a real server: the system's Chromium, driven by Playwright, on loopback only."""

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import uvicorn
from playwright.async_api import Browser, Page, Request, async_playwright, expect

from tests.entrypoints.pages.world import Suburb
from vpp.entrypoints.operations import people
from vpp.entrypoints.service import OrderlyServer, listen

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MISSING = "no chromium here; as root type: apt-get update && apt-get install -y chromium"
PATIENCE_MS = 30_000  # ten times what a page needs: a busy machine is no fault of a page
TURN_MS = 10_000  # how often a page that follows asks again
TURNS = 10  # a page whose scripts have not begun yet misses one

expect.set_options(timeout=PATIENCE_MS)


@dataclass  # without slots: Playwright marks the objects whose methods it calls
class Window:
    """One browser before one product; notes what went elsewhere and what the pages complained about."""

    suburb: Suburb
    address: str
    browser: Browser
    elsewhere: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    async def open(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> Page:
        """Return an empty tab of that size in a session of its own."""
        context = await self.browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        context.set_default_timeout(PATIENCE_MS)
        page = await context.new_page()
        page.on("request", self._note_request)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        return page

    async def log_in(self, page: Page, name: str) -> None:
        """Log somebody in by a link."""
        link = await people.make_login_link(self.suburb.desk, name=name)
        await page.goto(f"{self.address}{link['path']}")

    async def turn_until(self, page: Page, check: Callable[..., Awaitable[None]], *asked: object) -> None:
        """Let the time of a page with a clock of its own pass until a check of what it shows holds."""
        for _ in range(TURNS):
            await page.clock.fast_forward(TURN_MS)
            with contextlib.suppress(AssertionError):
                return await check(*asked, timeout=PATIENCE_MS / TURNS)
        return await check(*asked)

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith(self.address):
            self.elsewhere.append(request.url)


@contextlib.asynccontextmanager
async def serving(suburb: Suburb) -> AsyncIterator[str]:
    """Serve the pages on a free port and give their address."""
    with contextlib.closing(listen(0)) as listener:
        server = OrderlyServer(uvicorn.Config(suburb.app, log_config=None, access_log=False, lifespan="off"))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{_port(listener)}"
        finally:
            server.should_exit = True
            server.force_exit = True
            await running


def _port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


@contextlib.asynccontextmanager
async def a_browser() -> AsyncIterator[Browser]:
    """Give a browser; starting one takes seconds."""
    chromium = shutil.which("chromium")
    assert chromium is not None, MISSING
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def a_window(suburb: Suburb, browser: Browser) -> AsyncIterator[Window]:
    """Give a browser before the product; its tabs close with it."""
    async with serving(suburb) as address:
        window = Window(suburb, address, browser)
        try:
            yield window
        finally:
            for context in browser.contexts:
                await context.close()
