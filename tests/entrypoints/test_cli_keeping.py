"""``vpp backup``, ``vpp restore``, ``vpp replay`` on a real database."""

import json
import os
import pwd
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

    def run(*words: str, stdin: str = "") -> Result:
        return CliRunner().invoke(app, words, input=stdin)

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


def test_event_is_changed_approved_and_stopped_from_the_command_line(
    vpp: Vpp, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = vpp("event", "start", "ev-1", "--program", "elrp-a4-pge", "--mw", "0.01", "--hours", "1").stdout
    assert "10.0 kW" in started
    assert "power_w" not in started

    monkeypatch.setenv("LOGNAME", "ada")  # whoever sits there can say so
    monkeypatch.setenv("USER", "ada")
    changed = json.loads(vpp("event", "modify", "ev-1", "--mw", "0.02", "--json").stdout)
    monkeypatch.setenv("LOGNAME", "ben")
    approved = vpp("event", "approve", "ev-1")
    seen = json.loads(vpp("trail", "--json").stdout)["entries"]
    stopped = json.loads(vpp("event", "stop-all", "--json").stdout)

    assert changed["version"] == 2
    assert approved.exit_code == 1  # by whoever started it
    assert "somebody else has to approve" in approved.stderr
    assert stopped["cancelled"] == ["ev-1"]
    assert {each["actor"] for each in seen} == {f"operator:{pwd.getpwuid(os.getuid()).pw_name}"}


def test_a_second_person_approves_at_the_same_terminal_with_a_login_of_their_own(vpp: Vpp) -> None:
    vpp("user", "add", "ben", "--role", "approver", "--password-stdin", stdin="a-word-of-bens\n")
    vpp("event", "start", "ev-1", "--program", "elrp-a4-pge", "--mw", "0.01", "--hours", "1")

    wrong = vpp("event", "approve", "ev-1", "--as", "ben", stdin="another-word\n")
    approved = vpp("event", "approve", "ev-1", "--as", "ben", "--json", stdin="a-word-of-bens\n")

    assert wrong.exit_code == 1
    assert "login ben and that password do not belong together" in wrong.stderr
    assert json.loads(approved.stdout)["approved_by"] == "staff:ben"


def test_whoever_raises_a_limit_or_gives_a_login_stands_in_the_trail(vpp: Vpp) -> None:
    vpp("source", "add", "console", "--max-mw", "1")
    vpp("source", "add", "console", "--max-mw", "5")
    vpp("user", "add", "ben", "--role", "approver")
    vpp("user", "link", "ben")
    stranger = vpp("source", "add", "console", "--max-mw", "5", "--key", "A" * 43)

    seen = json.loads(vpp("trail", "--json").stdout)["entries"]
    assert [(each["action"], each["subject"], each["reason"]) for each in seen] == [
        ("make login link", "user:ben", ""),
        ("add user", "user:ben", "as approver"),
        ("add source", "source:console", "5 MW, before 1 MW, the same key, waits for a second person"),
        ("add source", "source:console", "1 MW, new"),
    ]
    assert {each["actor"] for each in seen} == {f"operator:{pwd.getpwuid(os.getuid()).pw_name}"}
    assert stranger.exit_code == 1
    assert "own key; leave --key and --client away" in stranger.stderr
