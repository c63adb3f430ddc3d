"""One controller lives through fault after fault, keeps its promises and stays as small as it was."""

import json
import os
import subprocess
import sys

from simulators.chaos.report import Tally
from simulators.chaos.soak import KINDS, MORE_DESCRIPTORS, Size, Soak


def a_soak(*sizes: Size) -> Soak:
    return Soak(Tally(1, 24, "sqlite"), list(sizes))


def test_a_controller_under_every_kind_of_fault_keeps_its_promises_and_its_size() -> None:
    clean = {name: text for name, text in os.environ.items() if not name.startswith("VPP_")}
    words = ["--minutes", "0.25", "--every", "0.5", "--homes", "24", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "simulators.chaos.soak", *words],
        env=clean, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])

    assert found["violations"] == []
    assert set(found["faults_by_kind"]) == set(KINDS)
    assert found["flat"], found
    assert found["commands"] >= 24
    assert done.returncode == 0, done.stderr


def test_a_controller_that_grows_is_found() -> None:
    steady = [Size(140.0 + turn % 3, 17) for turn in range(40)]
    leaking = [Size(140.0 + turn, 17) for turn in range(40)]
    losing = [Size(140.0, 17 + turn) for turn in range(40)]

    assert a_soak(*steady).flat()
    assert not a_soak(*leaking).flat()
    assert not a_soak(*losing).flat()
    assert MORE_DESCRIPTORS < 40 // 2


def test_a_run_that_a_fault_ended_at_once_still_tells_of_the_fault() -> None:
    run = a_soak(Size(140.0, 17))
    run.tally.faults.append(("lost", "a signal is not answered"))

    assert run.as_json()["violations"] == ["a signal is not answered"]
    assert a_soak().as_json()["violations"] == []
