"""The VTN: a grid operator's server with a client secret asks for events, changes and cancels them."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.entrypoints.pages.world import EVENING, PROGRAM, Suburb, a_suburb
from vpp.adapters.openadr import event_topic
from vpp.domain.grid_event import Operation
from vpp.entrypoints.operations import events, money, sources
from vpp.entrypoints.operations.desk import OperationRefused
from vpp.wire.openadr import Ask, encode_notification

BASE = "/openadr/3.1"


@dataclass
class Utility:
    """The product, and a utility's server that is a client of its OpenADR API."""

    suburb: Suburb
    http: httpx.AsyncClient
    secret: str
    name: str = "pge"
    token: str = ""

    async def ask(self, method: str, path: str, base: str = BASE, **more: Any) -> httpx.Response:
        """Return an answer, the controller turning meanwhile."""
        shown = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers = {**shown, **more.pop("headers", {})}
        asked = asyncio.create_task(self.http.request(method, f"{base}{path}", headers=headers, **more))
        while not asked.done():
            await asyncio.sleep(0)
            await self.suburb.controller.turn()
        return asked.result()

    async def log_in(self, **changed: str) -> httpx.Response:
        """Ask for a token, and use it from then on."""
        form = {"grant_type": "client_credentials", "client_id": self.name, "client_secret": self.secret}
        answer = await self.ask("POST", "/auth/token", data=form | changed, headers={"Authorization": ""})
        if answer.status_code == 200:
            self.token = answer.json()["access_token"]
        return answer

    async def create(self, **changed: Any) -> dict[str, Any]:
        """Return an event that was taken."""
        answer = await self.ask("POST", "/events", json=an_event(**changed))
        assert answer.status_code == 201, answer.text
        return dict(answer.json())


@pytest.fixture
async def pge(tmp_path: Path) -> AsyncIterator[Utility]:
    suburb = await a_suburb(tmp_path, homes=3)
    added = await sources.add_source(suburb.desk, name="pge", max_mw="1", client=True)
    wire = httpx.ASGITransport(app=suburb.app)
    async with httpx.AsyncClient(transport=wire, base_url="http://127.0.0.1") as client:
        utility = Utility(suburb, client, str(added["client_secret"]))
        await utility.log_in()
        yield utility


def an_event(power_kw: float = 5, hours: int = 2, **changed: Any) -> dict[str, Any]:
    """Return what a client asks: an emergency that begins now."""
    return {
        "programID": PROGRAM,
        "eventName": "EEA 2",
        "intervalPeriod": {"start": EVENING.strftime("%Y-%m-%dT%H:%M:%SZ"), "duration": f"PT{hours}H"},
        "payloadDescriptors": [
            {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "CONTROL_SETPOINT", "units": "KW"}
        ],
        "intervals": [
            {
                "id": 0,
                "payloads": [
                    {"type": "SIMPLE", "values": [3]},
                    {"type": "CONTROL_SETPOINT", "values": [-power_kw]},
                ],
            }
        ],
    } | changed


async def test_an_event_is_dispatched_changed_and_cancelled_as_its_client_says(pge: Utility) -> None:
    created = await pge.ask("POST", "/events", json=an_event())
    event_id = created.json()["id"]
    await pge.suburb.pass_time(30)
    board = await events.show_event(pge.suburb.desk, event_id=event_id)
    changed = await pge.ask("PUT", f"/events/{event_id}", json=an_event(power_kw=3))
    again = await events.show_event(pge.suburb.desk, event_id=event_id)
    gone = await pge.ask("DELETE", f"/events/{event_id}")

    assert (created.status_code, created.headers["x-vpp-state"]) == (201, "active")
    assert created.json() | an_event() == created.json()
    assert created.json()["objectType"] == "EVENT"
    assert board["source"] == "pge"
    assert [step["power_w"] for step in board["steps"]] == [5_000]
    assert changed.status_code == 200
    assert changed.json()["createdDateTime"] == created.json()["createdDateTime"]
    assert changed.json()["modificationDateTime"] > created.json()["modificationDateTime"]
    assert [step["power_w"] for step in again["steps"]] == [3_000]
    assert (gone.status_code, gone.json()["id"], gone.headers["x-vpp-state"]) == (200, event_id, "cancelled")
    assert (await pge.ask("GET", f"/events/{event_id}")).status_code == 404
    assert (await pge.ask("PUT", f"/events/{event_id}", json=an_event())).status_code == 404
    assert (await events.show_event(pge.suburb.desk, event_id=event_id))["state"] == "cancelled"


async def test_changes_within_one_second_are_each_later_than_the_one_before(pge: Utility) -> None:
    event_id = (await pge.create())["id"]

    for power_kw in (1, 2, 3):
        answer = await pge.ask("PUT", f"/events/{event_id}", json=an_event(power_kw=power_kw))
        assert answer.status_code == 200, answer.text

    shown = await events.show_event(pge.suburb.desk, event_id=event_id)
    assert [step["power_w"] for step in shown["steps"]] == [3_000]
    assert len(shown["versions"]) == 4


async def test_the_very_same_event_asked_for_again_is_no_second_event(pge: Utility) -> None:
    event_id = (await pge.create())["id"]
    await pge.suburb.pass_time(60)
    again = await pge.ask("POST", "/events", json=an_event())
    other = await pge.ask("POST", "/events", json=an_event(power_kw=4))
    await pge.ask("DELETE", f"/events/{event_id}")
    anew = await pge.ask("POST", "/events", json=an_event())

    assert again.status_code == 409
    assert event_id in again.json()["detail"]
    assert other.status_code == 201
    assert anew.status_code == 201
    assert len(await events_of(pge)) == 2


async def events_of(pge: Utility, **query: Any) -> list[dict[str, Any]]:
    answer = await pge.ask("GET", "/events", params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


async def test_a_duration_of_zero_cancels_and_the_event_can_still_be_read(pge: Utility) -> None:
    event_id = (await pge.create())["id"]
    zero = an_event(intervalPeriod={"start": "0001-01-01T00:00:00Z", "duration": "PT0S"})

    answer = await pge.ask("PUT", f"/events/{event_id}", json=zero)

    assert answer.headers["x-vpp-state"] == "cancelled"
    assert (await pge.ask("GET", f"/events/{event_id}")).json()["intervalPeriod"]["duration"] == "PT0S"


async def test_events_are_found_by_program_targets_and_whether_they_are_over(pge: Utility) -> None:
    now = await pge.create(targets=["PGE"])
    later = EVENING + timedelta(days=1)
    tomorrow = {"start": later.strftime("%Y-%m-%dT%H:%M:%SZ"), "duration": "PT2H"}
    coming = await pge.create(intervalPeriod=tomorrow, targets=["pge", "a4"])
    await pge.suburb.pass_time(3 * 3600)
    await pge.log_in()

    assert [each["id"] for each in await events_of(pge)] == [now["id"], coming["id"]]
    assert [each["id"] for each in await events_of(pge, active=True)] == [coming["id"]]
    assert [each["id"] for each in await events_of(pge, active=False)] == [now["id"]]
    assert [each["id"] for each in await events_of(pge, targets=["A4", "PGE"])] == [coming["id"]]
    assert [each["id"] for each in await events_of(pge, programID=PROGRAM, limit=1)] == [now["id"]]
    assert [each["id"] for each in await events_of(pge, skip=1)] == [coming["id"]]
    assert await events_of(pge, programID="elsewhere") == []
    assert (await pge.ask("GET", "/events", params={"limit": 51})).status_code == 422
    assert (await pge.ask("GET", "/events", params={"programid": "x"})).status_code == 422


async def test_a_client_knows_nothing_of_anybody_elses_events(pge: Utility) -> None:
    event_id = (await pge.create())["id"]
    added = await sources.add_source(pge.suburb.desk, name="sce", max_mw="1", client=True)
    sce = Utility(pge.suburb, pge.http, str(added["client_secret"]), name="sce")
    await sce.log_in()

    assert await events_of(sce) == []
    for method, more in (("GET", {}), ("PUT", {"json": an_event(power_kw=9)}), ("DELETE", {})):
        assert (await sce.ask(method, f"/events/{event_id}", **more)).status_code == 404
    assert (await sce.ask("GET", f"/reports/{event_id}")).status_code == 404
    assert len(await events_of(pge)) == 1


async def test_power_above_the_sources_limit_waits_for_a_person(pge: Utility) -> None:
    answer = await pge.ask("POST", "/events", json=an_event(power_kw=1_500))
    added = await sources.add_source(pge.suburb.desk, name="new", max_mw="1", client=True)
    new = Utility(pge.suburb, pge.http, str(added["client_secret"]), name="new")
    await new.log_in()
    waits = await new.ask("POST", "/events", json=an_event())

    assert answer.headers["x-vpp-state"] == "active"  # up to its megawatt
    assert added["max_w"] == 0  # an event exists: the limit of a new source needs a second person
    assert waits.headers["x-vpp-state"] == "waiting_for_approval"


async def test_what_a_client_should_know_comes_with_the_event(pge: Utility) -> None:
    late = {"start": (EVENING + timedelta(hours=9)).strftime("%Y-%m-%dT%H:%M:%SZ"), "duration": "PT2H"}

    outside = await pge.ask("POST", "/events", json=an_event(intervalPeriod=late))
    nowhere = await pge.ask("POST", "/events", json=an_event(targets=["Añejo\r\nX-Evil: 1"]))

    assert outside.headers["x-vpp-state"] == "waiting_for_force"
    assert "out_of_window" in outside.headers["x-vpp-reason"]
    assert nowhere.status_code == 201
    assert "A\\u00f1ejo\\r\\n" in nowhere.headers["x-vpp-reason"]
    assert "x-evil" not in nowhere.headers


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"", 400, "not JSON"),
        (b"[]", 400, "not a JSON object"),
        (b'{"programID":"a","programID":"b"}', 400, "twice"),
        (b"{}", 400, "rejected"),
        (b'{"objectType":"PROGRAM"}', 400, "objectType"),
        (b'{"programID":"nowhere"}', 400, "rejected"),
        (b'{"eventName":"' + b"x" * 17_000 + b'"}', 413, "16,384"),
    ],
)
async def test_what_cannot_be_read_or_breaks_a_rule_is_told_and_changes_nothing(
    pge: Utility, body: bytes, status: int, word: str
) -> None:
    answer = await pge.ask("POST", "/events", content=body)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert word in answer.json()["detail"]
    assert await events_of(pge) == []


async def test_a_positive_setpoint_is_refused_by_name(pge: Utility) -> None:
    answer = await pge.ask("POST", "/events", json=an_event(power_kw=-5))

    assert answer.status_code == 400
    assert "CONTROL_SETPOINT is above 0" in answer.json()["detail"]


async def test_only_the_right_secret_opens_and_its_end_ends_every_token(pge: Utility) -> None:
    token = pge.token
    basic = base64.b64encode(f"pge:{pge.secret}".encode()).decode()
    by_basic = await pge.ask(
        "POST", "/auth/token", data={"grant_type": "client_credentials"},
        headers={"Authorization": f"Basic {basic}"},
    )  # fmt: skip
    wrong = await pge.log_in(client_secret="guess")
    unknown = await pge.log_in(client_id="console")
    other = await pge.log_in(grant_type="password")
    none = await pge.ask("POST", "/auth/token", content=b"\xff", headers={"Authorization": ""})

    assert by_basic.json()["expires_in"] == 3600
    assert (wrong.status_code, wrong.json()) == (401, {"error": "invalid_client"})
    assert unknown.status_code == 401
    assert (other.status_code, other.json()) == (400, {"error": "unsupported_grant_type"})
    assert none.json() == {"error": "invalid_request"}

    pge.token = token
    assert (await pge.ask("GET", "/programs")).status_code == 200
    await sources.add_source(pge.suburb.desk, name="pge", max_mw="1", client=True)
    ended = await pge.ask("GET", "/programs")
    assert (ended.status_code, ended.headers["www-authenticate"]) == (401, "Bearer")


async def test_a_token_ends_after_an_hour_and_the_api_token_is_none(pge: Utility) -> None:
    await pge.suburb.pass_time(3_599)
    held = await pge.ask("GET", "/events")
    await pge.suburb.pass_time(2)

    assert held.status_code == 200
    assert (await pge.ask("GET", "/events")).status_code == 401
    pge.token = "a-token"
    assert (await pge.ask("GET", "/events")).status_code == 401
    pge.token = ""
    assert (await pge.ask("POST", "/events", json=an_event())).status_code == 401


async def test_a_source_with_a_secret_and_no_key_speaks_over_http_only(pge: Utility) -> None:
    at = EVENING
    body = encode_notification(
        Operation.CREATE, event_id="ev-1", program_id=PROGRAM, name="", created_at=at, modified_at=at,
        asks=(Ask(7_200, power_w=5_000),), starts_at=at,
    )  # fmt: skip
    heard = asyncio.create_task(pge.suburb.controller.take_signal(event_topic("pge"), body, within_s=10.0))
    while not heard.done():
        await asyncio.sleep(0)
        await pge.suburb.controller.turn()
    posted = await pge.ask("POST", "/sources/pge/signals", base="/api/v1", content=body)

    assert heard.result() == "source_without_key"
    assert posted.status_code == 403
    with pytest.raises(OperationRefused, match="ev-1 is not known"):
        await events.show_event(pge.suburb.desk, event_id="ev-1")


async def test_programs_are_read_and_lists_of_what_is_not_here_are_empty(pge: Utility) -> None:
    programs = (await pge.ask("GET", "/programs")).json()
    one = (await pge.ask("GET", f"/programs/{PROGRAM}")).json()

    assert one in programs
    assert (one["id"], one["objectType"]) == (PROGRAM, "PROGRAM")
    assert (await pge.ask("GET", "/programs", params={"skip": 1000})).json() == []
    assert (await pge.ask("GET", "/programs/elsewhere")).status_code == 404
    for path in ("/vens", "/resources", "/subscriptions"):
        assert (await pge.ask("GET", path)).json() == []
    assert (await pge.ask("GET", "/notifiers")).json() == {"WEBHOOK": False}
    assert (await pge.ask("POST", "/programs", json={"programName": "x"})).status_code == 405


async def test_what_an_event_delivered_is_a_report_once_it_is_settled(pge: Utility) -> None:
    event_id = (await pge.create())["id"]
    await pge.suburb.pass_time(60)
    before = await pge.ask("GET", f"/reports/{event_id}")
    await events.cancel_event(pge.suburb.desk, event_id=event_id, actor="staff:ana")
    await pge.suburb.pass_time(60)
    await money.settle_event(pge.suburb.desk, event_id=event_id)

    (report,) = (await pge.ask("GET", "/reports", params={"eventID": event_id})).json()

    assert before.status_code == 404
    assert (report["id"], report["eventID"], report["programID"]) == (event_id, event_id, PROGRAM)
    assert (await pge.ask("GET", f"/reports/{event_id}")).json() == report
    assert (await pge.ask("GET", "/reports", params={"programID": "elsewhere"})).json() == []


async def test_the_token_address_is_that_by_which_the_client_came(pge: Utility) -> None:
    plain = await pge.ask("GET", "/auth/server")
    proxied = await pge.ask(
        "GET", "/auth/server",
        headers={"X-Forwarded-Proto": "https", "X-Forwarded-Host": "vpp.example.org"},
    )  # fmt: skip

    assert plain.json() == {"tokenURL": f"http://127.0.0.1{BASE}/auth/token"}
    assert proxied.json() == {"tokenURL": f"https://vpp.example.org{BASE}/auth/token"}
