"""The product behind its pages, for every test of this folder."""

from pathlib import Path

import pytest

from tests.entrypoints.pages.world import Suburb, a_suburb


@pytest.fixture
async def suburb(tmp_path: Path) -> Suburb:
    """Twelve homes at 6 PM, charged between 69 and 80 %."""
    return await a_suburb(tmp_path)
