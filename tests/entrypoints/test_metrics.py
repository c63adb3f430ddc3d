"""Figures for alarms: what /metrics says, what dashboard and alert rules ask of it, what is never said."""

import json
import re
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb
from vpp.entrypoints.operations import starting
from vpp.ports import StoreUnavailable

GRAFANA = Path(__file__).resolve().parents[2] / "config" / "grafana"


@pytest.fixture
async def suburb(tmp_path: Path) -> Suburb:
    return await a_suburb(tmp_path)


async def figures(suburb: Suburb) -> dict[tuple[str, ...], float]:
    """Return every figure by its name and label values."""
    transport = httpx.ASGITransport(app=suburb.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def begin(suburb: Suburb, *, test: bool = False) -> None:
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.02", test=test, actor="staff:ana"
    )
    await suburb.pass_time(300)


async def test_an_event_is_told_in_watts_and_homes(suburb: Suburb) -> None:
    await begin(suburb)

    found = await figures(suburb)

    assert found["vpp_event_watts", "hot-1", "asked", "false"] == 20_000
    assert found["vpp_event_watts", "hot-1", "measured", "false"] == 20_000
    assert found["vpp_event_sites", "hot-1", "delivering", "false"] > 0
    assert found["vpp_sites", "online"] == 12
    assert found["vpp_events", "active"] == 1
    assert found["vpp_ready", "broker"] == 1
    assert found["vpp_season_seconds", "used", PROGRAM] == 3600


async def test_a_test_is_marked_in_every_figure_of_its_event(suburb: Suburb) -> None:
    await begin(suburb, test=True)

    transport = httpx.ASGITransport(app=suburb.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        text = (await client.get("/metrics")).text

    of_events = [line for line in text.splitlines() if 'event="hot-1"' in line]
    assert len(of_events) > 5
    assert all('test="true"' in line for line in of_events)


async def test_no_home_and_no_person_is_named(suburb: Suburb) -> None:
    await begin(suburb)

    said = " ".join(word for name in await figures(suburb) for word in name)

    assert not re.search(r"s-0\d\d|ana|Alameda|o-s", said)


async def test_what_dashboard_and_alerts_ask_for_is_there(suburb: Suburb) -> None:
    await begin(suburb)
    suburb.controller.shed = lambda: {"incoming": 0, "outgoing": 0}
    suburb.controller.runner.failures.received["ack"] += 1
    await figures(suburb)  # the second look has the time of the first
    there = {name[0] for name in await figures(suburb)}
    board = json.loads((GRAFANA / "dashboard.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked.append((GRAFANA / "alerts.yml").read_text())

    wanted = set(re.findall(r"\b(?:vpp|process)_[a-z_]+\b", " ".join(asked)))

    assert wanted - {"vpp_certificate_days"} <= there  # without TLS there is no certificate
    assert len(wanted) > 12
    assert "has used or scheduled 90 % of its season's hours" in asked[-1]  # as the figure counts


async def test_a_database_that_is_down_leaves_figures_out_and_says_so(suburb: Suburb) -> None:
    async def unreachable(**_asked: object) -> list[object]:
        raise StoreUnavailable("the database does not answer")

    suburb.desk.store.histories = unreachable  # type: ignore[method-assign, assignment]  # it is cut off here

    found = await figures(suburb)

    assert ("vpp_ready", "database") in found
    assert not any(name[0] == "vpp_season_seconds" for name in found)
