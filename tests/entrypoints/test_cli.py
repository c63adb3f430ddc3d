"""The command line on a real database: one JSON value on stdout, errors on stderr, exit codes."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.entrypoints.builders import an_enrollment_file
from vpp.entrypoints.cli import app
from vpp.settings import variables

Vpp = Callable[..., Result]


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def vpp(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Vpp:
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VPP_STATE_DIR", str(state_dir))
    monkeypatch.setenv("COLUMNS", "160")

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, words)

    return run


def json_of(result: Result) -> Any:
    """Return the one JSON value that a command printed."""
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


@pytest.fixture
def sites_csv(tmp_path: Path) -> str:
    path = tmp_path / "sites.csv"
    path.write_bytes(an_enrollment_file("s-1", "s-2"))
    return str(path)


def test_the_first_command_makes_key_and_folder_for_its_user_alone(vpp: Vpp, state_dir: Path) -> None:
    keys = json_of(vpp("keys", "show", "--json"))

    assert sorted(keys) == ["kid", "public_key"]
    assert len(keys["public_key"]) == 43  # 32 bytes in base64url
    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in state_dir.glob("*.pem")} == {0}
    assert json_of(vpp("keys", "show", "--json")) == keys


def test_homes_are_enrolled_and_listed(vpp: Vpp, sites_csv: str) -> None:
    enrolled = json_of(vpp("site", "enroll", "--file", sites_csv, "--json"))

    assert enrolled == {"sites": [{"site_id": "s-1", "shard": "00"}, {"site_id": "s-2", "shard": "01"}]}
    listed = json_of(vpp("site", "list", "--json"))
    assert [site["site_id"] for site in listed["sites"]] == ["s-1", "s-2"]
    assert "2 sites" in vpp("site", "list").stdout
    assert json_of(vpp("site", "show", "s-2", "--json"))["full_energy_wh"] == 13305


def test_a_bad_file_is_refused_line_by_line_on_stderr(vpp: Vpp, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(an_enrollment_file("s-1", "S 2", "s-1"))

    refused = vpp("site", "enroll", "--file", str(path), "--json")

    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.splitlines() == [
        f"vpp: {path}:3: site_id: site id 'S 2' is not 1-36 of a-z, 0-9 and '-'",
        f"vpp: {path}:4: site s-1 stands on line 2 already",
        f"vpp: {path}: 2 faults, nothing of it was enrolled",
    ]
    assert json_of(vpp("site", "list", "--json")) == {"sites": []}


def test_a_reserve_is_changed_for_good(vpp: Vpp, sites_csv: str) -> None:
    vpp("site", "enroll", "--file", sites_csv)

    assert json_of(vpp("site", "reserve", "s-1", "42.5", "--json"))["reserve_pct"] == 42.5
    assert json_of(vpp("site", "show", "s-1", "--json"))["reserve_pct"] == 42.5


def test_a_source_is_told_its_topics(vpp: Vpp) -> None:
    added = json_of(vpp("source", "add", "caiso", "--max-mw", "1.5", "--json"))

    assert (added["event_topic"], added["max_w"]) == ("grid/v1/caiso/event", 1_500_000)
    assert added["signals_path"] == "/api/v1/sources/caiso/signals"
    assert json_of(vpp("source", "list", "--json")) == {"sources": [added]}


def test_meter_history_is_imported_for_enrolled_homes(vpp: Vpp, sites_csv: str, tmp_path: Path) -> None:
    vpp("site", "enroll", "--file", sites_csv)
    meter = tmp_path / "meter.csv"
    header = "site_id,at,discharged_wh,charged_wh,imported_wh,exported_wh,quality\n"
    meter.write_text(header + "s-1,2026-09-01T00:00:00Z,10,20,,,OK\ns-2,2026-09-01T00:00:00Z,10,20,,,OK\n")

    assert json_of(vpp("meter", "import", str(meter), "--json")) == {
        "sites": 2,
        "readings": 2,
        "stored": 2,
        "stored_before": 0,
        "refused": [],
        "quarantined": [],
        "left_out": [],
    }


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("event", "show", "ev-none"), "event ev-none is not known; vpp event list names all events"),
        (("event", "cancel", "ev-none"), "event ev-none is not known"),
        (("event", "force", "ev-none"), "event ev-none is not known"),
        (("settle", "ev-none"), "event ev-none is not known"),
        (("site", "show", "s-none"), "site s-none is not enrolled; vpp site list names all sites"),
        (("site", "why", "s-none", "--event", "ev-none"), "site s-none is not enrolled"),
        (("site", "opt-out", "s-none", "--event", "ev-none"), "site s-none is not enrolled"),
        (("statement", "o-none"), "owner o-none has no home and no entry here"),
        (("site", "enroll", "--file", "/nowhere.csv"), "/nowhere.csv: No such file or directory"),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_what_is_not_there_fails_with_a_sentence(
    vpp: Vpp, words: tuple[str, ...], sentence: str, flags: tuple[str, ...]
) -> None:
    refused = vpp(*words, *flags)

    assert (refused.exit_code, refused.stdout) == (1, "")
    assert sentence in refused.stderr


@pytest.mark.parametrize("words", [("site", "why", "s-1"), ("event", "shwo"), ("statement",), ("--color",)])
def test_a_command_that_cannot_be_meant_ends_with_2(vpp: Vpp, words: tuple[str, ...]) -> None:
    assert vpp(*words).exit_code == 2


def test_empty_books_verify(vpp: Vpp) -> None:
    verified = json_of(vpp("ledger", "verify", "--json"))

    assert (verified["balanced"], verified["chain_holds"]) == (True, True)
    assert "sum to zero" in vpp("ledger", "verify").stdout


def test_events_of_an_empty_house_are_an_empty_list(vpp: Vpp) -> None:
    assert json_of(vpp("event", "list", "--json")) == {"events": []}


def test_an_unknown_key_in_a_settings_file_names_file_and_line(vpp: Vpp, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("\nhttp_prot = 1\n")

    refused = vpp("--config", str(path), "keys", "show", "--json")

    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"{path}:2: there is no setting http_prot" in refused.stderr


def test_a_database_that_is_down_is_named_with_what_to_do(vpp: Vpp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VPP_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/vpp")

    refused = vpp("event", "list", "--json")

    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "vpp doctor says what to do" in refused.stderr


def test_the_keys_of_an_answer_are_explained_in_the_help(vpp: Vpp) -> None:
    shown = " ".join(vpp("statement", "--help").stdout.split())

    assert "rate_usd_per_kwh" in shown
    assert "incremental_wh" in shown
