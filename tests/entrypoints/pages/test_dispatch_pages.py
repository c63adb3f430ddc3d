"""Before and after a dispatch: firm figures, errors beside fields, change, replay, test events."""

import re
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import httpx
import pytest

from tests.entrypoints.pages.test_operator import WISH, start
from tests.entrypoints.pages.world import PROGRAM, Suburb, logged_in, send
from vpp.domain.access import Role
from vpp.domain.program import Tariff, TariffRule
from vpp.domain.quantities import Price


@pytest.fixture
async def ana(suburb: Suburb) -> httpx.AsyncClient:
    await suburb.add("ana", Role.OPERATOR)
    return await logged_in(suburb, "ana")


CHANGE = "/operator/events/console-1/change"


async def test_a_preview_says_what_is_sure_likely_and_at_best_by_utility_county_and_feeder(
    ana: httpx.AsyncClient,
) -> None:
    page = await send(ana, "/operator/new-event", **WISH)

    sure, likely, best = (float(kw) for kw in re.findall(r"\d+ of 100[^<]*</dt><dd>([\d.]+) kW", page.text))
    assert 0 < sure < likely <= best
    for title, name in (("By utility", "PGE"), ("By county", "Alameda"), ("By feeder", "f-1")):
        assert re.search(rf'<h2>{title}</h2>.*?<td class="head">{name}</td>', page.text, re.DOTALL)
    assert re.search(r"Costs likely</dt><dd>\$\d+\.\d\d", page.text)
    assert re.search(r'data-label="Planned, cost"><span>[\d.]+ kW<br><small>\$\d+\.\d\d<', page.text)
    assert "this event adds 1.0 h" in page.text


async def test_a_preview_names_what_is_already_scheduled_in_its_window(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    begins = (suburb.clock.now() + timedelta(hours=1)).astimezone(suburb.desk.programs[PROGRAM].zone)
    later = WISH | {"starts_at": begins.strftime("%Y-%m-%dT%H:%M")}
    alone = await send(ana, "/operator/new-event", **later)
    await start(ana, starts_at=later["starts_at"])

    beside = await send(ana, "/operator/new-event", **(later | {"event_id": "console-2"}))

    assert "already scheduled" not in alone.text
    told = re.search(r"<p[^>]*>.*?Beside events that are on now.*</p>", beside.text)
    assert told is not None
    assert re.search(r"[1-9][\d.]* kW of the same homes is already scheduled", told[0])
    assert 'href="/operator/events/console-1"' in told[0]


async def test_a_preview_warns_of_what_it_takes_from_an_event_that_is_on(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    alone = await send(ana, "/operator/new-event", **WISH)
    await start(ana, power_mw="0.04", name="Real emergency")
    await suburb.pass_time(60)

    beside = await send(ana, "/operator/new-event", **(WISH | {"event_id": "console-2", "power_mw": "0.04"}))

    assert "It takes" not in alone.text
    assert re.search(
        r"It takes \d+ homes and [1-9][\d.]* kW from "
        r'<a href="/operator/events/console-1">Real emergency</a>, which is on\.',
        beside.text,
    )


async def test_a_preview_of_a_program_that_pays_for_the_season_says_so_and_names_no_cost(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    assert isinstance(suburb.desk.programs, dict)
    program = suburb.desk.programs[PROGRAM]
    tariff = Tariff(TariffRule.PER_KW_SEASON_AVERAGE, per_kw_season=Decimal(275))
    editions = tuple(replace(terms, tariff=tariff, rate=Price(Decimal(0))) for terms in program.editions)
    suburb.desk.programs[PROGRAM] = replace(program, editions=editions)

    page = await send(ana, "/operator/new-event", **WISH)

    assert "<dt>Costs</dt><dd>paid by the season</dd>" in page.text
    assert "Costs at most" not in page.text
    assert "Planned, cost" not in page.text
    assert "$" not in page.text


@pytest.mark.parametrize(
    ("field", "typed"),
    [("power_mw", "lots"), ("minutes", "soon"), ("starts_at", "2020-01-01T18:00"), ("targets", "Almeda")],
)
async def test_what_is_wrong_stands_beside_its_field(ana: httpx.AsyncClient, field: str, typed: str) -> None:
    page = await send(ana, "/operator/new-event", **(WISH | {"step": "start", "typed": "0.02", field: typed}))

    assert page.status_code == 422
    near = page.text.partition(f'name="{field}"')[2]
    assert near.index(f'id="{field}-fault"') < near.index("<label")
    assert f'value="{typed}"' in near[:200]
    assert page.text.count('role="alert"') == 1


async def test_a_wrong_confirmation_keeps_what_was_typed(ana: httpx.AsyncClient) -> None:
    page = await start(ana, typed="0.2")

    assert 'id="typed" name="typed" value="0.2"' in page.text
    assert 'id="typed-fault"' in page.text


async def test_a_running_event_is_changed_after_its_id_was_typed(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await start(ana)
    await suburb.pass_time(120)

    shown = await ana.get(CHANGE)
    unsure = await send(ana, CHANGE, power_mw="0.03", minutes="60", targets="", typed="console")
    stands = (await suburb.desk.history("console-1")).latest.version
    done = await send(ana, CHANGE, power_mw="0.03", minutes="90", targets="", typed="console-1")
    await suburb.pass_time(60)

    assert 'name="power_mw" value="0.02"' in shown.text
    assert (unsure.status_code, stands) == (422, 1)
    assert 'value="0.03"' in unsure.text
    assert done.headers["location"] == "/operator/events/console-1"
    assert suburb.plan("console-1").setpoint_w.sum() == 30_000
    assert (await suburb.desk.history("console-1")).latest.version == 2


async def test_a_change_that_cannot_be_made_says_why_beside_its_field(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await start(ana)
    await suburb.pass_time(600)

    short = await send(ana, CHANGE, power_mw="0.02", minutes="5", targets="", typed="console-1")
    nowhere = await send(ana, CHANGE, power_mw="0.02", minutes="60", targets="Almeda", typed="console-1")

    assert re.search(r'id="minutes-fault">The event would have ended', short.text)
    assert re.search(r'id="targets-fault">No utility', nowhere.text)
    assert (await suburb.desk.history("console-1")).latest.version == 1


async def test_a_stale_page_that_cancels_or_changes_a_cancelled_event_is_told_so(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await start(ana)
    await send(ana, "/operator/events/console-1/cancel", typed="console-1")

    again = await send(ana, "/operator/events/console-1/cancel", typed="console-1")
    changed = await send(ana, CHANGE, power_mw="0.03", minutes="60", targets="", typed="console-1")

    assert (again.status_code, changed.status_code) == (409, 409)
    assert "This event is cancelled already; your page was older. Nothing was changed." in again.text
    assert "is cancelled; nothing changed" in changed.text
    assert (await suburb.desk.history("console-1")).latest.version == 2


async def test_a_past_event_is_played_again_from_what_was_stored(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await start(ana)
    await suburb.pass_time(300)
    await send(ana, "/operator/events/console-1/cancel", typed="console-1")
    await suburb.pass_time(30)

    page = await ana.get("/operator/events/console-1/replay", params={"proof": "yes"})

    assert "are the same, to the byte, the home and the watt" in page.text
    assert '"measured_w": 20000' in page.text
    assert 'class="line measured"' in page.text


async def test_an_event_that_was_never_planned_has_nothing_to_replay(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await start(ana, starts_at="2026-09-10T18:00")

    page = await ana.get("/operator/events/console-1/replay")

    assert "nothing to replay" in page.text


@pytest.mark.parametrize("marked", [{"test": "yes"}, {"name": "TEST drill"}])
async def test_every_screen_of_a_test_event_says_so(
    suburb: Suburb, ana: httpx.AsyncClient, marked: dict[str, str]
) -> None:
    banner = "TEST: never paid, never counted"
    preview = await send(ana, "/operator/new-event", **(WISH | marked))
    await start(ana, **marked)
    await suburb.pass_time(60)
    paths = ["", "/events", *(f"/events/console-1{rest}" for rest in ("", "/board", "/change", "/replay"))]

    screens = [preview, *[await ana.get(f"/operator{path}") for path in paths]]

    unmarked = [each for each in screens if banner not in each.text]
    assert [each.url.path for each in unmarked] == ["/operator/events"]
    assert '<strong class="testmark">TEST</strong>' in unmarked[0].text
    assert (await suburb.desk.history("console-1")).latest.test


async def test_every_wrong_field_of_a_new_event_is_named_at_once_and_keeps_what_was_typed(
    suburb: Suburb,
) -> None:
    await suburb.add("ana", Role.OPERATOR)
    ana = await logged_in(suburb, "ana")

    page = await send(
        ana, "/operator/new-event", event_id="ev-1", program_id=PROGRAM, power_mw="lots", minutes="x",
        starts_at="never", targets="atlantis",
    )  # fmt: skip

    assert page.status_code == 422
    for field, typed in (
        ("power_mw", "lots"), ("minutes", "x"), ("starts_at", "never"), ("targets", "atlantis"),
    ):  # fmt: skip
        assert f'id="{field}-fault"' in page.text
        assert f'value="{typed}"' in page.text
