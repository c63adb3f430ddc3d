"""Whatever staff read of an owner's data, by command or API, the owner sees who, what and why."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.entrypoints.pages.world import PROGRAM, Suburb, a_browser, a_suburb
from vpp.entrypoints.language import Language
from vpp.entrypoints.operations import disputes, events, money, own_data, sites, starting
from vpp.entrypoints.operations import staff_reads as reads
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused

SITE = "s-001"
OWNER = f"o-{SITE}"
EVENT = "hot-1"
STAFF = "operator:ada"

READS: dict[str, Callable[[Desk, str], Awaitable[Json]]] = {
    "read statement": lambda desk, why: reads.read_statement(desk, owner_id=OWNER, actor=STAFF, reason=why),
    "read history": lambda desk, why: reads.read_history(desk, owner_id=OWNER, actor=STAFF, reason=why),
    "read contact": lambda desk, why: reads.read_contact(desk, owner_id=OWNER, actor=STAFF, reason=why),
    f"read home {SITE}": lambda desk, why: reads.read_site(desk, site_id=SITE, actor=STAFF, reason=why),
    f"read season of {SITE}": lambda desk, why: reads.read_site_history(
        desk, site_id=SITE, actor=STAFF, reason=why
    ),
    "read disputes": lambda desk, why: reads.read_disputes(desk, actor=STAFF, reason=why),
    "export everything": lambda desk, why: own_data.export_owner(
        desk, owner_id=OWNER, actor=STAFF, reason=why
    ),
}


@pytest.fixture
async def suburb(tmp_path: Path) -> Suburb:
    """Homes whose first two owners took part in an event and asked about it."""
    suburb = await a_suburb(tmp_path, homes=3)
    await starting.start_event(
        suburb.desk, event_id=EVENT, program_id=PROGRAM, power_mw="0.01", minutes=60, actor=STAFF
    )
    await suburb.pass_time(60)
    await events.cancel_event(suburb.desk, event_id=EVENT, actor=STAFF)
    await money.settle_event(suburb.desk, event_id=EVENT)
    for owner_id in (OWNER, "o-s-000"):
        await disputes.ask_dispute(
            suburb.desk, owner_id=owner_id, period=EVENT, text="Why so little?", actor=f"owner:{owner_id}"
        )
    return suburb


async def seen_by(suburb: Suburb, owner_id: str) -> list[tuple[str, str, str]]:
    found = (await own_data.show_own_data(suburb.desk, owner_id=owner_id))["reads"]
    assert isinstance(found, list)
    return [(read["actor"], read["action"], read["reason"]) for read in found]


@pytest.mark.parametrize("action", READS)
async def test_an_owner_sees_who_of_the_staff_read_what_and_why(suburb: Suburb, action: str) -> None:
    await READS[action](suburb.desk, "asked by phone")

    assert (STAFF, action, "asked by phone") in await seen_by(suburb, OWNER)


@pytest.mark.parametrize("action", READS)
async def test_staff_that_give_no_reason_read_nothing(suburb: Suburb, action: str) -> None:
    with pytest.raises(OperationRefused, match="say why"):
        await READS[action](suburb.desk, " x ")

    assert action not in [what for _, what, _ in await seen_by(suburb, OWNER)]


async def test_reading_one_owners_disputes_is_told_to_that_owner_only(suburb: Suburb) -> None:
    await reads.read_disputes(suburb.desk, actor=STAFF, owner=OWNER, reason="asked by phone")

    assert "read disputes" not in [what for _, what, _ in await seen_by(suburb, "o-s-000")]


@pytest.mark.parametrize(
    ("path", "action"),
    [
        (f"owners/{OWNER}/statement", "read statement"),
        (f"sites/{SITE}", f"read home {SITE}"),
        (f"sites/{SITE}/history", f"read season of {SITE}"),
        ("disputes", "read disputes"),
    ],
)
async def test_a_program_that_asks_the_api_is_named_to_the_owner(
    suburb: Suburb, path: str, action: str
) -> None:
    headers = {"Authorization": "Bearer a-token", "X-VPP-Actor": STAFF}
    async with a_browser(suburb) as program:
        answer = await program.get(f"/api/v1/{path}", headers=headers, params={"reason": "asked by phone"})

    assert answer.status_code == 200
    assert (STAFF, action, "asked by phone") in await seen_by(suburb, OWNER)


@pytest.mark.parametrize(
    ("method", "path", "body", "action"),
    [
        ("PUT", f"sites/{SITE}/reserve", {"reserve": "30"}, f"change reserve of {SITE}"),
        ("PUT", f"events/hot-2/opt-outs/{SITE}", None, "opt out of hot-2"),
        ("DELETE", f"events/hot-2/opt-outs/{SITE}", None, "opt in to hot-2"),
        ("POST", f"owners/{OWNER}/sites/{SITE}/withdrawal", None, f"leave the program with {SITE}"),
        ("PUT", f"owners/{OWNER}/contact", {"address": "json://elsewhere"}, "change contact"),
        ("PUT", f"owners/{OWNER}/sites/{SITE}/name", {"name": "beach"}, f"name home {SITE}"),
        ("POST", f"owners/{OWNER}/calendar", None, "open calendar"),
        ("DELETE", f"owners/{OWNER}/calendar", None, "close calendar"),
    ],
)
async def test_an_owner_sees_what_others_did_in_the_owners_name_and_why(
    suburb: Suburb, method: str, path: str, body: Json | None, action: str
) -> None:
    headers = {"Authorization": "Bearer a-token", "X-VPP-Actor": STAFF, "X-VPP-Reason": "asked by phone"}
    await starting.start_event(
        suburb.desk, event_id="hot-2", program_id=PROGRAM, power_mw="0.01", minutes=60, actor=STAFF
    )
    await sites.opt_out_site(suburb.desk, event_id="hot-2", site_id=SITE, actor=STAFF)
    async with a_browser(suburb) as program:
        answer = await program.request(method, f"/api/v1/{path}", headers=headers, json=body)
        await program.post(f"/api/v1/owners/{OWNER}/disputes/{EVENT}", headers=headers, json={"text": "So?"})

    assert answer.status_code == 200, answer.text
    assert (STAFF, action, "asked by phone") in await seen_by(suburb, OWNER)
    assert action not in [what for _, what, _ in await seen_by(suburb, "o-s-000")]
    assert Language("es").done(action) != action, "an owner reads it in words"
    trail = await suburb.desk.store.trail(limit=50)
    assert not [each for each in trail if each.subject == "fleet"], "each act says what it was about"
