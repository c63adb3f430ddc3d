"""An owner is forgotten: what names a person is destroyed, the books stay, and a certificate says so."""

import httpx
import pytest

from tests.entrypoints.pages.world import PROGRAM, Suburb, logged_in, send
from vpp.domain.access import Role
from vpp.domain.ledger import Account, EntryState, JournalEntry, Posting
from vpp.domain.quantities import MicroDollars
from vpp.entrypoints.operations import contacts, own_data
from vpp.entrypoints.operations.desk import OperationRefused
from vpp.entrypoints.operations.forgetting import forget_owner

SITE = "s-001"
OWNER = f"o-{SITE}"


@pytest.fixture
async def rosa(suburb: Suburb) -> httpx.AsyncClient:
    await suburb.add("rosa", Role.OWNER, OWNER)
    await contacts.keep_contact(suburb.desk, owner_id=OWNER, address="rosa@example.org")
    return await logged_in(suburb, "rosa")


async def test_an_owner_who_left_deletes_what_names_a_person_and_gets_a_certificate(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await send(rosa, f"/owner/sites/{SITE}/leaving", typed="LEAVE")
    cookies = dict(rosa.cookies)

    unsure = await send(rosa, "/owner/forgetting", typed="yes")
    done = await send(rosa, "/owner/forgetting", typed="delete")
    rosa.cookies.update(cookies)

    assert unsure.status_code == 422
    assert 'value="yes"' in unsure.text
    assert "addresses: 1" in done.text
    assert "logins: 1" in done.text
    assert (await rosa.get("/owner")).status_code == 303  # the login is gone
    assert await suburb.desk.store.contact(OWNER) is None
    assert await suburb.desk.store.users() == []
    everything = repr(await suburb.desk.store.trail()) + repr(await suburb.desk.store.enrollments())
    assert "rosa" not in everything
    assert OWNER in everything  # the books go on under a number


async def test_whoever_still_takes_part_is_told_to_leave_first(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    page = await send(rosa, "/owner/forgetting", typed="DELETE")

    assert "is still in the program. Leave it first" in page.text
    assert await suburb.desk.store.contact(OWNER) is not None
    with pytest.raises(OperationRefused, match="nothing was destroyed"):
        await forget_owner(suburb.desk, owner_id=OWNER, actor="operator:ada")


async def test_whoever_was_paid_too_much_reads_what_comes_first(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await own_data.leave_program(suburb.desk, owner_id=OWNER, site_id=SITE, actor=f"owner:{OWNER}")
    taken_back = JournalEntry(
        entry_id="taken-back",
        at=suburb.clock.now(),
        state=EntryState.POSTED,
        memo="a correction after the payout",
        postings=(
            Posting(Account.OWNER_PAYABLE, OWNER, MicroDollars(20_000)),
            Posting(Account.AGGREGATOR_MARGIN, PROGRAM, MicroDollars(-20_000)),
        ),
    )
    await suburb.desk.store.post([taken_back])

    page = await rosa.get("/owner/forgetting")

    assert "After a correction, $0.02 too much was paid to you." in page.text
    assert "is not paid out yet" not in page.text


async def test_an_owner_reads_in_spanish_what_stays_and_why(suburb: Suburb, rosa: httpx.AsyncClient) -> None:
    await contacts.speak(suburb.desk, owner_id=OWNER, language="es")
    await own_data.leave_program(suburb.desk, owner_id=OWNER, site_id=SITE, actor=f"owner:{OWNER}")

    page = await rosa.get("/owner/forgetting")
    done = await send(rosa, "/owner/forgetting", typed="borrar")

    assert "Los libros, durante siete años" in page.text
    assert "accesos: 1" in done.text
    assert "Saltar al contenido" in done.text
