"""The loopback API: the same operations, a token, problem documents, limits."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.entrypoints.builders import a_desk, an_enrollment_file, an_event, take_event
from vpp.entrypoints.http.api import BODY_LIMIT, create_api
from vpp.entrypoints.operations import sites
from vpp.entrypoints.operations.desk import Desk
from vpp.entrypoints.routes import ROUTES

TOKEN = "a-token-of-the-state-directory"


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    desk = a_desk(tmp_path)
    await sites.enroll_sites(desk, content=an_enrollment_file("s-1", "s-2"), file_name="sites.csv")
    await take_event(desk, an_event("ev-1"))
    return desk


@pytest.fixture
async def api(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    async def readiness() -> dict[str, object]:
        return {"database": True, "broker": False}

    app = create_api(lambda: desk, token=TOKEN, readiness=readiness)
    transport = httpx.ASGITransport(app=app)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://vpp", headers=headers) as client:
        yield client


async def test_every_operation_of_the_command_line_has_its_place_in_the_api(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]

    others = {
        ("/api/v1/events/{event_id}/board/stream", "get"),  # what vpp event watch reads
        ("/api/v1/sources/{name}/signals", "post"),  # of servers that sign, never of a person
    }
    assert {(path, method) for path in paths for method in paths[path] if path.startswith("/api")} == {
        (route.path, route.method.lower()) for route in ROUTES.values()
    } | others


async def test_whoever_knows_only_the_description_finds_what_it_refers_to(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    said = {f"{method.upper()} {path}": each for path, of in paths.items() for method, each in of.items()}
    told = {operation: each["description"] for operation, each in said.items() if "/api" in operation}

    commands = {name for text in told.values() for name in re.findall(r"``(vpp [^`]+)``", text)}
    of_ours = {name for text in told.values() for name in re.findall(r"``(\w+\.show_\w+|show_\w+)``", text)}
    routes = {name for text in told.values() for name in re.findall(r"``((?:GET|PUT|POST) /[^`]+)``", text)}
    assert (commands, of_ours) == (set(), set())
    assert routes <= set(told)
    assert "booked_usd" in told["GET /api/v1/owners/{owner_id}/statement"]
    assert "fairness_index" in told["GET /api/v1/sites/{site_id}/history"]
    answers = said["PUT /api/v1/events/{event_id}"]["responses"]
    assert answers["409"]["description"] == "What is stored does not permit it; nothing changed."


async def test_without_the_token_nothing_is_told(api: httpx.AsyncClient) -> None:
    for route in ROUTES.values():
        answer = await api.request(route.method, route.path, headers={"Authorization": "Bearer guessed"})
        assert answer.status_code == 401, route
        assert answer.headers["content-type"] == "application/problem+json"


async def test_health_needs_no_token_and_says_what_is_missing(api: httpx.AsyncClient) -> None:
    live = await api.get("/health/live", headers={"Authorization": ""})
    ready = await api.get("/health/ready", headers={"Authorization": ""})

    assert live.json()["status"] == "live"
    assert (ready.status_code, ready.json()) == (503, {"database": True, "broker": False})


async def test_an_opt_out_over_http_is_the_same_as_on_the_command_line(
    api: httpx.AsyncClient, desk: Desk
) -> None:
    answer = await api.put("/api/v1/events/ev-1/opt-outs/s-1")

    assert answer.status_code == 200
    assert answer.json() == await sites.opt_out_site(desk, site_id="s-1", event_id="ev-1", actor="api")


async def test_a_refusal_is_a_problem_document_with_every_fault(api: httpx.AsyncClient) -> None:
    answer = await api.post(
        "/api/v1/sites", params={"file_name": "more.csv"}, content=an_enrollment_file("s-2", "S 3")
    )

    document = answer.json()
    assert (answer.status_code, document["status"], document["type"]) == (422, 422, "about:blank")
    assert document["faults"] == [
        "more.csv:2: site s-2 is enrolled already",
        "more.csv:3: site_id: site id 'S 3' is not 1-36 of a-z, 0-9 and '-'",
    ]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/events/ev-none", 404),
        ("GET", "/api/v1/sites/s-none", 404),
        ("GET", "/api/v1/nothing", 404),
        ("DELETE", "/api/v1/keys", 405),
        ("POST", "/api/v1/events/ev-1/force", 409),
    ],
)
async def test_what_is_not_there_or_not_now_is_a_problem_document(
    api: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await api.request(method, path)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["detail"]


async def test_an_unknown_field_is_refused(api: httpx.AsyncClient) -> None:
    answer = await api.put("/api/v1/sites/s-1/reserve", json={"reserve": "20", "color": "blue"})

    assert answer.status_code == 422
    assert answer.json()["faults"] == ["body.color: Extra inputs are not permitted"]


async def test_a_body_above_the_limit_is_refused_whether_declared_or_not(api: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * BODY_LIMIT

    declared = await api.put("/api/v1/sites/s-1/reserve", content=b"x" * (BODY_LIMIT + 1))
    undeclared = await api.put("/api/v1/sites/s-1/reserve", content=endless())

    assert (declared.status_code, undeclared.status_code) == (413, 413)
    assert undeclared.json()["detail"] == "a body here has at most 65536 bytes"


async def test_an_enrolment_file_may_be_larger_than_other_bodies(api: httpx.AsyncClient) -> None:
    content = an_enrollment_file(*(f"home-{number}" for number in range(1000)))
    assert len(content) > BODY_LIMIT

    answer = await api.post("/api/v1/sites", content=content)

    assert len(answer.json()["sites"]) == 1000
