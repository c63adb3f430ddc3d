"""``vpp backup``, ``vpp restore``, ``vpp replay`` on a real database."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.entrypoints.builders import an_enrollment_file
from vpp.entrypoints.cli import app
from vpp.settings import variables

Vpp = Callable[..., Result]


@pytest.fixture
def vpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vpp:
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VPP_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "sites.csv").write_bytes(an_enrollment_file("s-1", "s-2"))

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, words)

    run("site", "enroll", "--file", str(tmp_path / "sites.csv"))
    return run


def test_database_goes_into_a_file_and_comes_back(
    vpp: Vpp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = vpp("backup", str(tmp_path / "vpp.backup"), "--json")
    twice = vpp("backup", str(tmp_path / "vpp.backup"))
    full = vpp("restore", str(tmp_path / "vpp.backup"))
    monkeypatch.setenv("VPP_STATE_DIR", str(tmp_path / "new"))
    restored = vpp("restore", str(tmp_path / "vpp.backup"), "--json")

    assert json.loads(saved.stdout)["tables"]["enrollment"] == 2
    assert (twice.exit_code, full.exit_code) == (1, 1)
    assert "name a file that does not" in twice.stderr
    assert "holds something already" in full.stderr
    assert json.loads(restored.stdout)["tables"] == json.loads(saved.stdout)["tables"]
    assert "2 sites" in vpp("site", "list").stdout


def test_replay_of_an_event_that_commanded_nobody_is_the_same(vpp: Vpp) -> None:
    vpp("event", "start", "ev-1", "--program", "elrp-a4-pge", "--mw", "0.01", "--test")

    found = json.loads(vpp("replay", "ev-1", "--json").stdout)

    assert (found["result"], found["commands"]) == ("same", 0)
    assert vpp("replay", "ev-2").exit_code == 1


def test_forecasts_say_that_they_need_a_running_controller(vpp: Vpp) -> None:
    for words in (("preview", "--program", "elrp-a4-pge"), ("rehearse", "--program", "elrp-a4-pge")):
        refused = vpp("event", *words)
        assert refused.exit_code == 1
        assert "start vpp serve" in refused.stderr
    assert vpp("event", "rehearse").exit_code == 2


def test_event_is_changed_approved_and_stopped_from_the_command_line(vpp: Vpp) -> None:
    vpp("event", "start", "ev-1", "--program", "elrp-a4-pge", "--mw", "0.01", "--hours", "1")

    changed = json.loads(vpp("event", "modify", "ev-1", "--mw", "0.02", "--json").stdout)
    approved = vpp("event", "approve", "ev-1")
    stopped = json.loads(vpp("event", "stop-all", "--json").stdout)

    assert changed["version"] == 2
    assert approved.exit_code == 1  # by whoever started it
    assert "somebody else has to approve" in approved.stderr
    assert stopped["cancelled"] == ["ev-1"]
