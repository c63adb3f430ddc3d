"""Books that somebody changed in the database: no amount is shown, and everything else goes on."""

import csv
import io
import sqlite3
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.adapters.store_world import an_entry
from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb, logged_in, send
from vpp.adapters.sql.store import SqlStore
from vpp.domain.access import Role, Session
from vpp.entrypoints.operations import contacts, events, starting

OWNER = "o-s-001"
SENTENCE = "Somebody changed the books from outside"


@pytest.fixture
async def altered(tmp_path: Path) -> Suburb:
    """An owner with a past event, a running one, and one cent that nobody booked."""
    store = await SqlStore.open(f"sqlite:///{tmp_path / 'vpp.db'}")
    suburb = await a_suburb(tmp_path, store=store)
    await suburb.add("rosa", Role.OWNER, OWNER)
    await suburb.add("ana", Role.OPERATOR)
    for event_id in ("past", "now"):
        await starting.start_event(
            suburb.desk, event_id=event_id, program_id=PROGRAM, power_mw="0.05", actor="staff:ana"
        )
        await suburb.pass_time(60)
        if event_id == "past":
            await events.cancel_event(suburb.desk, event_id=event_id, actor="staff:ana")
            await suburb.pass_time(60)
    await store.post([an_entry("e-1", owner_id=OWNER)])
    with sqlite3.connect(tmp_path / "vpp.db") as database:
        database.execute("DROP TRIGGER posting_refuses_update")
        database.execute(
            "UPDATE posting SET amount_micro_dollars = amount_micro_dollars + 10000 WHERE line_number = 0"
        )
    database.close()
    return suburb


@pytest.fixture
async def rosa(altered: Suburb) -> httpx.AsyncClient:
    return await logged_in(altered, "rosa")


async def test_an_owner_whose_books_were_changed_sees_the_battery_and_opts_out_all_the_same(
    altered: Suburb, rosa: httpx.AsyncClient
) -> None:
    home = await rosa.get("/owner")
    out = await send(rosa, "/owner/sites/s-001/opt-outs/now")
    await altered.pass_time(15)

    assert home.status_code == 200
    assert SENTENCE in home.text
    assert "<dt>Giving</dt>" in home.text
    assert "$" not in home.text.partition('aria-label="Earned this year"')[2]
    assert out.headers["location"] == "/owner?saved=out"
    assert not altered.live.busy(altered.clock.now())[1]


async def test_the_history_stays_and_no_sum_is_shown(rosa: httpx.AsyncClient) -> None:
    page = await rosa.get("/owner/events")

    assert page.status_code == 200
    assert SENTENCE in page.text
    assert "/owner/events/past" in page.text
    assert "Paid out" not in page.text


@pytest.mark.parametrize("path", ["/owner/events/past", "/owner/events/past/hours.csv"])
async def test_what_is_made_of_amounts_says_why_there_are_none(
    altered: Suburb, rosa: httpx.AsyncClient, path: str
) -> None:
    await contacts.speak(altered.desk, owner_id=OWNER, language="es")

    page = await rosa.get(path)

    assert page.status_code == 409
    assert "Alguien cambió los libros desde fuera" in page.text


async def test_whoever_was_let_in_is_not_looked_up_again_to_be_told_why(
    altered: Suburb, rosa: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    session = SqlStore.session

    async def counted(store: SqlStore, key: str) -> Session | None:
        asked.append(key)
        return await session(store, key)

    monkeypatch.setattr(SqlStore, "session", counted)

    page = await rosa.get("/owner/events/past")

    assert page.status_code == 409
    assert len(asked) == 1


async def test_an_owner_takes_everything_along_but_the_statement_and_reads_in_it_why(
    altered: Suburb, rosa: httpx.AsyncClient
) -> None:
    await contacts.speak(altered.desk, owner_id=OWNER, language="es")
    left_out = "Alguien cambió los libros desde fuera"

    taken = (await rosa.get("/owner/export.json")).json()
    with zipfile.ZipFile(io.BytesIO((await rosa.get("/owner/export.zip")).content)) as archive:
        tables = {name: archive.read(name).decode() for name in archive.namelist()}

    assert (taken["statement"], taken["payouts"]) == (None, None)
    assert taken["differs"].startswith(left_out)
    assert [each["event_id"] for each in taken["events"]] == ["past"]
    assert taken["data"]["homes"][0]["site_id"] == "s-001"
    assert {"homes.csv", "consents.csv", "events.csv"} <= set(tables)
    why = list(csv.DictReader(io.StringIO(tables["left-out.csv"])))
    assert [each["table"] for each in why] == ["hours", "periods", "powers", "ledger", "payouts"]
    assert why[0]["why"].startswith(left_out)
    assert not {"hours.csv", "ledger.csv", "payouts.csv"} & set(tables)


async def test_nothing_is_paid_from_them_and_the_api_says_which_entry_it_is(altered: Suburb) -> None:
    browser = await logged_in(altered, "ana")

    answer = await browser.put("/api/v1/payouts/october", headers={"Authorization": "Bearer a-token"})

    assert answer.status_code == 409
    assert "entry e-1 was changed in the database" in answer.json()["detail"]
