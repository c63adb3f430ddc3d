"""The real controller and the real broker, killed again and again in the middle of events."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.postgres import Postgres

KILLS = 60
WITHIN_S = 240
FIRST_COMMAND_S = 5.0


async def killed(folder: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the figures of ``python -m simulators.chaos``."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("VPP_")}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators.chaos", *words, "--folder", str(folder), "--json",
        env=clean, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await child.communicate()
    code = child.returncode
    assert code is not None
    assert out, f"it ended with {code} and said nothing"
    return code, json.loads(out.splitlines()[-1])


async def test_sixty_kills_lose_nothing_double_nothing_and_the_books_are_exact(tmp_path: Path) -> None:
    began = time.monotonic()
    code, found = await killed(tmp_path, "--kills", str(KILLS), "--seed", "1")

    assert found["violations"] == []
    assert (code, found["lost"], found["doubled"]) == (0, 0, 0)
    assert found["kills"] >= KILLS
    assert found["broker_kills"] >= 5
    assert found["labels"] >= 40
    assert found["first_command_s"]["most"] <= FIRST_COMMAND_S * found["busy"]
    assert found["executed"] >= found["homes"]  # the faster the machine, the fewer ticks between kills
    assert float(found["paid_usd"]) > 0
    assert found["notices"] > 0
    assert {"before-forgetting", "after-forgetting"} <= set(found["kills_by_label"])
    assert time.monotonic() - began < WITHIN_S * found["busy"]


async def test_kills_and_two_controllers_on_postgresql_lose_and_double_nothing(tmp_path: Path) -> None:
    with Postgres() as postgres:
        words = ("--kills", "12", "--takeovers", "2", "--seed", "2")
        code, found = await killed(tmp_path, *words, "--database-url", await postgres.empty_database())

    assert found["violations"] == []
    assert (code, found["lost"], found["doubled"]) == (0, 0, 0)
    assert found["broker_kills"] >= 1
    assert found["takeovers"] == 2
