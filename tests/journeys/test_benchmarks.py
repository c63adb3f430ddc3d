"""The short form of every benchmark: each figure is made by the command that the README names."""

import json
import subprocess
import sys

from tests.benchmarks.__main__ import NAMES

HOMES = 20


def test_every_benchmark_gives_its_figures() -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "--homes", str(HOMES), "--json"]

    ran = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr[-2_000:]
    report = json.loads(ran.stdout)
    assert set(report["figures"]) == set(NAMES)
    for name, figures in report["figures"].items():
        assert figures, name
        assert all(figure["value"] > 0 for figure in figures), name
