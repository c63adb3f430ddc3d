"""The product behind its pages, for every test of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.entrypoints.pages.browser import a_browser
from tests.entrypoints.pages.world import Suburb, a_suburb


@pytest.fixture
async def suburb(tmp_path: Path) -> Suburb:
    """Twelve homes at 6 PM, charged between 69 and 80 %."""
    return await a_suburb(tmp_path)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One browser for all tests that need a real one; each of their tabs has a session of its own."""
    async with a_browser() as opened:
        yield opened
