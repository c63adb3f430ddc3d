"""A process that is to be killed at a commit or a send dies exactly there, and nobody else does."""

import ast
import os
import subprocess
import sys
from inspect import getmembers, isfunction
from pathlib import Path

import pytest

from vpp.adapters import sql
from vpp.adapters.crash_points import LABELS, STORE_POINTS, CrashPoint, UnknownLabel, crash_around
from vpp.adapters.memory.store import MemoryStore
from vpp.ports import Store
from vpp.settings import BadSettings, load_settings

NOT_THE_STORES = {"open", "_copy_tables"}
"""``open`` migrates, which has a label of its own. ``_copy_tables`` fills an empty database by a command
that nobody serves beside, in one transaction: killed before its commit it left no row, and is given again."""


def test_everything_that_commits_in_the_sql_store_has_its_labels() -> None:
    functions = [
        found
        for file in sorted(Path(sql.__file__).parent.glob("*.py"))
        for found in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    committing = {each.name for each in functions if any(map(_opens_a_writing_transaction, ast.walk(each)))}

    assert committing > NOT_THE_STORES
    assert set(STORE_POINTS) == committing - NOT_THE_STORES
    assert set(STORE_POINTS) <= set(dict(getmembers(Store, isfunction)))


def _opens_a_writing_transaction(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "write"


def test_labels_are_at_least_forty_and_come_in_pairs() -> None:
    before = {label.removeprefix("before-") for label in LABELS if label.startswith("before-")}
    after = {label.removeprefix("after-") for label in LABELS if label.startswith("after-")}

    assert len(LABELS) >= 40
    assert before == after
    for named in ("signal", "plan", "tick", "publish", "ack", "telemetry", "readings", "meter-receipt",
                  "signal-receipt", "opt-out", "cancel", "settlement", "ledger-pending", "ledger-posted",
                  "ledger-reversed", "payout", "epoch", "key-file", "enrolment", "consent",
                  "notice-send", "migration"):  # fmt: skip
        assert named in before


@pytest.mark.parametrize("text", ["before-tik", "tick", "before-tick:0", "before-tick:x"])
def test_a_misspelt_label_is_refused_with_the_list(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownLabel):
        CrashPoint.parse(text)

    monkeypatch.setenv("VPP_CRASH_AT", text)
    with pytest.raises(BadSettings) as refused:
        load_settings()

    assert "VPP_CRASH_AT" in str(refused.value)
    assert all(label in str(refused.value) for label in LABELS)


def test_production_is_never_killed_on_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VPP_CRASH_AT", "before-tick")
    monkeypatch.setenv("VPP_PRODUCTION", "true")
    monkeypatch.setenv("VPP_BROKER_URL", "mqtts://broker")

    with pytest.raises(BadSettings, match="crash_at"):
        load_settings()


def test_without_a_crash_point_the_store_is_handed_over_as_it_is() -> None:
    store = MemoryStore()

    assert crash_around(store, None) is store


DIES = """
import asyncio, sys
from datetime import UTC, datetime
from vpp.adapters.crash_points import CrashPoint, crash_around
from vpp.adapters.memory.store import MemoryStore

async def lead() -> None:
    memory = MemoryStore()
    store = crash_around(memory, CrashPoint.parse(sys.argv[1]))
    for life in range(3):
        await store.last_tick()
        print(await store.take_epoch(at=datetime(1970, 1, 1, tzinfo=UTC)), flush=True)

asyncio.run(lead())
"""


DIES_AT_A_MESSAGE = """
import asyncio, sys
from vpp.adapters.crash_points import CrashPoint, CrashingMessenger

class Told:
    async def send(self, notice, contact):
        print("sent", flush=True)

asyncio.run(CrashingMessenger(Told(), CrashPoint.parse(sys.argv[1])).send(None, None))
"""


def died(program: str, label: str) -> tuple[int, str]:
    here = Path(__file__).resolve().parents[2]
    child = subprocess.run(
        [sys.executable, "-c", program, label],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(here)},
    )  # fmt: skip
    return child.returncode, child.stdout


@pytest.mark.parametrize(("label", "said"), [("before-notice-send", ""), ("after-notice-send", "sent\n")])
def test_the_process_dies_around_a_message(label: str, said: str) -> None:
    assert died(DIES_AT_A_MESSAGE, label) == (-9, said)


@pytest.mark.parametrize(
    ("label", "code", "said"),
    [
        ("before-epoch", -9, ""),
        ("after-epoch:1", -9, ""),
        ("before-epoch:3", -9, "1\n2\n"),
        ("before-tick", 0, "1\n2\n3\n"),
    ],
)
def test_the_process_dies_at_the_named_passing_and_nowhere_else(label: str, code: int, said: str) -> None:
    assert died(DIES, label) == (code, said)
