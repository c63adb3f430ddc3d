"""A source's limit is raised by two people: one asks, another approves; lowering it takes one."""

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.entrypoints.pages.world import PASSWORD, PROGRAM, Suburb, a_suburb
from vpp.domain.access import Role
from vpp.entrypoints.operations.desk import OperationRefused
from vpp.entrypoints.operations.people import make_login_link
from vpp.entrypoints.operations.sources import add_source, approve_source, list_sources
from vpp.entrypoints.operations.starting import start_event

ANA, BEN = "operator:ana", "operator:ben"
KEY = base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
OTHER_KEY = base64.urlsafe_b64encode(bytes(range(1, 33))).decode().rstrip("=")


@pytest.fixture
async def suburb(tmp_path: Path) -> Suburb:
    """Return homes with an event above the limit of the console, 8 kW."""
    suburb = await a_suburb(tmp_path)
    await add_source(suburb.desk, name="console", max_mw="0.008", actor=ANA)
    await suburb.add("cora", Role.APPROVER)
    await suburb.pass_time(15)
    await start_event(
        suburb.desk, event_id="ev-1", program_id=PROGRAM, power_mw="0.02", minutes=60, actor=ANA
    )
    await suburb.pass_time(30)
    return suburb


async def asked_w(suburb: Suburb) -> int:
    await suburb.pass_time(30)
    return int(suburb.plan("ev-1").setpoint_w.sum())


async def shown(suburb: Suburb, name: str) -> dict[str, Any]:
    found: Any = await list_sources(suburb.desk)
    return next(each for each in found["sources"] if each["name"] == name)


async def test_one_person_does_not_lift_the_limit_of_an_own_event(suburb: Suburb) -> None:
    asked = await add_source(suburb.desk, name="console", max_mw="1", actor=ANA)

    assert (asked["max_w"], asked["raise_to_w"], asked["raise_asked_by"]) == (8_000, 1_000_000, ANA)
    assert await asked_w(suburb) == 8_000
    with pytest.raises(OperationRefused, match="somebody else has to approve it"):
        await approve_source(suburb.desk, name="console", actor="staff:ana")
    assert await asked_w(suburb) == 8_000


async def test_higher_limit_holds_when_another_person_approves(suburb: Suburb) -> None:
    await add_source(suburb.desk, name="console", max_mw="1", actor=ANA)

    approved = await approve_source(suburb.desk, name="console", actor=BEN)

    assert (approved["max_w"], approved["raise_to_w"], approved["approved_by"]) == (1_000_000, None, BEN)
    assert await asked_w(suburb) == 20_000
    trail = await suburb.desk.store.trail(subject="source:console")
    assert [(each.actor, each.action) for each in trail][:2] == [(BEN, "approve source"), (ANA, "add source")]
    with pytest.raises(OperationRefused, match="no higher limit of source console waits"):
        await approve_source(suburb.desk, name="console", actor=BEN)


async def test_same_wish_of_a_second_person_is_no_approval_and_leaves_the_first_the_first(
    suburb: Suburb,
) -> None:
    await add_source(suburb.desk, name="console", max_mw="1", actor=ANA)
    again = await add_source(suburb.desk, name="console", max_mw="1", actor=BEN)

    assert (again["max_w"], again["raise_asked_by"]) == (8_000, ANA)
    with pytest.raises(OperationRefused, match="somebody else"):
        await approve_source(suburb.desk, name="console", actor=ANA)


async def test_lower_limit_holds_at_once_and_takes_back_what_was_asked(suburb: Suburb) -> None:
    await add_source(suburb.desk, name="console", max_mw="1", actor=ANA)

    lowered = await add_source(suburb.desk, name="console", max_mw="0.004", actor=ANA)

    assert (lowered["max_w"], lowered["raise_to_w"]) == (4_000, None)
    assert await asked_w(suburb) == 4_000


async def test_new_source_is_no_way_around_the_limit(suburb: Suburb) -> None:
    mine = await add_source(suburb.desk, name="mine", key=KEY, max_mw="5", actor=ANA)

    assert (mine["max_w"], mine["raise_to_w"]) == (0, 5_000_000)
    await approve_source(suburb.desk, name="mine", actor=BEN)
    assert (await shown(suburb, "mine"))["max_w"] == 5_000_000


async def test_another_key_keeps_no_limit_that_was_granted_to_the_one_before(suburb: Suburb) -> None:
    await add_source(suburb.desk, name="mine", key=KEY, max_mw="5", actor=ANA)
    await approve_source(suburb.desk, name="mine", actor=BEN)

    taken_over = await add_source(suburb.desk, name="mine", key=OTHER_KEY, max_mw="5", actor=ANA)

    assert (taken_over["max_w"], taken_over["raise_to_w"]) == (0, 5_000_000)


async def test_first_limits_are_set_alone_until_the_first_event(tmp_path: Path) -> None:
    desk = (await a_suburb(tmp_path, console_mw=0)).desk

    caiso = await add_source(desk, name="caiso", key=KEY, max_mw="20", actor=ANA)
    console = await add_source(desk, name="console", max_mw="1", actor=ANA)
    raised = await add_source(desk, name="console", max_mw="2", actor=ANA)

    assert (caiso["max_w"], console["max_w"]) == (20_000_000, 1_000_000)
    assert (raised["max_w"], raised["raise_to_w"]) == (1_000_000, 2_000_000)


async def test_name_in_a_header_is_no_second_person_of_a_limit_and_an_older_login_is(suburb: Suburb) -> None:
    await add_source(suburb.desk, name="console", max_mw="1", actor=ANA)
    transport = httpx.ASGITransport(app=suburb.app)
    headers = {"Authorization": "Bearer a-token", "X-VPP-Actor": "operator:ada"}
    path = "/api/v1/sources/console/approve"
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as asking:
        claimed = await asking.post(path)
        proven = await asking.post(path, json={"login": "cora", "password": PASSWORD})

    assert claimed.status_code == 409
    assert "vpp source approve console --as NAME" in claimed.text
    assert (proven.status_code, proven.json()["approved_by"]) == (200, "staff:cora")


async def test_login_that_was_given_after_the_limit_was_asked_for_approves_nothing(suburb: Suburb) -> None:
    await add_source(suburb.desk, name="console", max_mw="1", actor=ANA)
    await suburb.pass_time(15)
    await make_login_link(suburb.desk, name="cora", actor=ANA)

    with pytest.raises(OperationRefused, match="proves no second person"):
        await approve_source(
            suburb.desk, name="console", actor=ANA, login="cora", password=PASSWORD, claimed=True
        )


@pytest.mark.parametrize(
    ("before", "after", "stands"),
    [
        ({"client": True}, {}, True),
        ({"client": True}, {"client": True}, False),  # a new secret is somebody new
        ({"client": True}, {"client": False}, False),  # so is whoever the broker lets in
        ({"client": True}, {"key": KEY}, False),
        ({"key": KEY}, {"key": KEY, "client": True}, False),
        ({"key": KEY, "client": True}, {"key": KEY, "client": False}, True),
        ({"key": KEY, "client": True}, {}, True),  # the secret stays
        ({}, {"client": True}, True),  # anybody was let in before
    ],
)
async def test_a_limit_stands_only_for_whoever_could_speak_before(
    suburb: Suburb, before: dict[str, Any], after: dict[str, Any], stands: bool
) -> None:
    await add_source(suburb.desk, name="pge", max_mw="1", actor=ANA, **before)
    await approve_source(suburb.desk, name="pge", actor=BEN)

    found = await add_source(suburb.desk, name="pge", max_mw="1", actor=ANA, **after)

    assert (found["max_w"], found["raise_to_w"]) == ((1_000_000, None) if stands else (0, 1_000_000))


async def test_approving_a_limit_keeps_the_secret_it_is_for(suburb: Suburb) -> None:
    await add_source(suburb.desk, name="pge", max_mw="1", client=True, actor=ANA)

    approved = await approve_source(suburb.desk, name="pge", actor=BEN)

    assert approved["openadr_path"] == "/openadr/3.1"
    assert "client_secret" not in approved


async def test_the_console_has_no_secret(suburb: Suburb) -> None:
    with pytest.raises(OperationRefused, match="leave --key and --client away"):
        await add_source(suburb.desk, name="console", max_mw="1", client=True, actor=ANA)
