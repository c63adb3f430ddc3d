"""What the operator's pages show, asked of a running service in the terminal."""

import json
from pathlib import Path

from tests.entrypoints.builders import an_enrollment_file
from tests.entrypoints.test_service import Serve, answer_of, card_of, serve, vpp

__all__ = ["serve"]  # the fixture

HOMES = 1_100  # more than one page of the API


def test_fleet_counties_programs_and_trail_are_shown_whole(serve: Serve, tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    card = card_of(state_dir, serve())
    answer_of(card["port"], "/health/ready", status=200)
    file = tmp_path / "sites.csv"
    file.write_bytes(an_enrollment_file(*(f"s-{number}" for number in range(HOMES))))
    assert vpp(state_dir, "site", "enroll", "--file", str(file)).returncode == 0

    shown = {
        words: vpp(state_dir, *words.split(), "--json")
        for words in ("fleet list", "fleet counties", "fleet traffic", "program list", "trail")
    }
    found = {words: json.loads(answer.stdout) for words, answer in shown.items()}
    table = vpp(state_dir, "fleet", "list", "--search", "s-1099")

    assert len(found["fleet list"]["sites"]) == HOMES
    assert found["fleet counties"]["counties"][0]["sites"] == HOMES
    assert set(found["fleet traffic"]) >= {"topics", "pending"}
    assert "elrp-a4-pge" in [each["program_id"] for each in found["program list"]["programs"]]
    assert found["trail"]["entries"][0]["action"] == "enroll sites"
    assert "1 of 1100 homes" in table.stdout
