"""The doctor says what is missing and what to type."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from vpp.entrypoints.cli import app
from vpp.settings import variables

Doctor = Callable[..., tuple[Result, dict[str, dict[str, Any]]]]


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VPP_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("VPP_HTTP_PORT", "0")

    def examine(**environment: str) -> tuple[Result, dict[str, dict[str, Any]]]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        result = CliRunner().invoke(app, ["doctor", "--json"])
        return result, {check["check"]: check for check in json.loads(result.stdout)["checks"]}

    return examine


def test_an_empty_house_is_healthy_and_stays_empty(doctor: Doctor, tmp_path: Path) -> None:
    result, checks = doctor()

    assert result.exit_code == 0, checks
    assert {check["state"] for check in checks.values()} <= {"ok", "warning"}
    assert not (tmp_path / "state").exists()


def test_a_folder_that_others_can_read_fails_with_the_command_that_closes_it(
    doctor: Doctor, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir(mode=0o755)

    result, checks = doctor()

    assert result.exit_code == 1
    assert checks["state directory"]["fix"] == f"type: chmod 700 {tmp_path / 'state'}"


def test_a_broker_that_is_down_fails_with_the_setting_that_names_it(doctor: Doctor) -> None:
    result, checks = doctor(VPP_BROKER_URL="mqtt://127.0.0.1:1")

    assert result.exit_code == 1
    assert checks["broker"]["state"] == "failed"
    assert "VPP_BROKER_URL" in checks["broker"]["fix"]


def test_a_database_that_is_down_fails_without_showing_its_password(doctor: Doctor) -> None:
    result, checks = doctor(VPP_DATABASE_URL="postgresql://vpp:secret@127.0.0.1:1/vpp")

    assert checks["database"]["state"] == "failed"
    assert "VPP_DATABASE_URL" in checks["database"]["fix"]
    assert "secret" not in result.stdout


def test_a_taken_port_is_named(doctor: Doctor) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        _, checks = doctor(VPP_HTTP_PORT=str(port))

    assert checks["HTTP port"]["state"] == "failed"
    assert str(port) in checks["HTTP port"]["detail"]


def test_a_misspelt_variable_fails_with_the_name_that_is_known(doctor: Doctor) -> None:
    result, checks = doctor(VPP_BROKER_ULR="mqtt://127.0.0.1:1883")

    assert result.exit_code == 1
    assert checks["settings"]["detail"] == (
        "VPP_BROKER_ULR: there is no such setting; VPP_BROKER_URL is; rename or unset it"
    )


def test_settings_that_cannot_be_used_are_the_whole_finding(doctor: Doctor) -> None:
    result, checks = doctor(VPP_DISPATCH__LEASE_S="9999")

    assert result.exit_code == 1
    assert list(checks) == ["settings"]
    assert "VPP_DISPATCH__LEASE_S" in checks["settings"]["detail"]


def test_a_person_reads_one_line_for_each_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VPP_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("VPP_BROKER_URL", "mqtt://127.0.0.1:1")

    shown = CliRunner().invoke(app, ["doctor"]).stdout

    (line,) = (line for line in shown.splitlines() if "broker" in line)
    assert line.startswith("failed  broker: ")
    assert line.endswith("or set VPP_BROKER_URL to one that runs")


def test_a_database_in_a_folder_that_is_not_there_fails_with_the_command_that_makes_it(
    doctor: Doctor, tmp_path: Path
) -> None:
    result, checks = doctor(VPP_DATABASE_URL=f"sqlite:///{tmp_path / 'nowhere' / 'vpp.sqlite'}")

    assert result.exit_code == 1
    assert f"mkdir -p {tmp_path / 'nowhere'}" in checks["database"]["fix"]


def test_a_vtn_that_is_silent_or_whose_secret_others_can_read_fails_by_its_source(
    doctor: Doctor, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    vtn = {"url": "http://127.0.0.1:1", "client_id": "us", "secret_file": str(secret)}

    secret.chmod(0o644)
    _, read_by_all = doctor(VPP_VTNS=json.dumps({"pge": vtn}))
    secret.chmod(0o600)
    result, silent = doctor()

    assert read_by_all["VTN of pge"]["fix"] == f"type: chmod 600 {secret}"
    assert result.exit_code == 1
    assert "gives no answer" in silent["VTN of pge"]["detail"]
    assert "[vtns.pge]" in silent["VTN of pge"]["fix"]
