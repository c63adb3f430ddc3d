"""A process that is to be killed at a commit or a send dies exactly there, and nobody else does."""

import os
import subprocess
import sys
from inspect import getmembers, isfunction, signature
from pathlib import Path

import pytest

from vpp.adapters.crash_points import LABELS, STORE_POINTS, CrashPoint, UnknownLabel, crash_around
from vpp.adapters.memory.store import MemoryStore
from vpp.ports import Store
from vpp.settings import BadSettings, load_settings

ANSWERING_WRITES = {
    "enroll", "withdraw", "take_back_opt_out", "take_epoch", "take_free_lead", "renew_lead", "append",
    "use_login_link", "read_homes", "write_notices", "raise_alarm", "answer_alarm",
}  # fmt: skip
NO_WRITES = {"ready", "close"}


def test_every_writing_method_of_the_store_has_its_labels() -> None:
    methods = dict(getmembers(Store, isfunction))
    silent = {name for name, call in methods.items() if signature(call).return_annotation in (None, "None")}
    writing = {name for name in silent if not name.startswith("_")} - NO_WRITES | ANSWERING_WRITES

    assert set(STORE_POINTS) == writing


def test_labels_are_at_least_forty_and_come_in_pairs() -> None:
    before = {label.removeprefix("before-") for label in LABELS if label.startswith("before-")}
    after = {label.removeprefix("after-") for label in LABELS if label.startswith("after-")}

    assert len(LABELS) >= 40
    assert before == after
    for named in ("signal", "plan", "tick", "publish", "ack", "telemetry", "readings", "meter-receipt",
                  "signal-receipt", "opt-out", "cancel", "settlement", "ledger-pending", "ledger-posted",
                  "ledger-reversed", "payout", "epoch", "key-file", "enrolment", "consent",
                  "migration"):  # fmt: skip
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
        await store.last_tick_number()
        print(await store.take_epoch(at=datetime(1970, 1, 1, tzinfo=UTC)), flush=True)

asyncio.run(lead())
"""


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
    here = Path(__file__).resolve().parents[2]
    child = subprocess.run(
        [sys.executable, "-c", DIES, label],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(here)},
    )  # fmt: skip

    assert (child.returncode, child.stdout) == (code, said), child.stderr
