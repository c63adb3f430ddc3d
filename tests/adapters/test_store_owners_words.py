"""What every store promises about owners who speak while a tick is being decided."""

import pytest

from tests.adapters.store_world import EVENT, NOON, a_request, a_revision, a_tick, after, an_order
from vpp.domain.command import Action
from vpp.domain.enrollment import OptOut, ReserveChange
from vpp.domain.quantities import Permille
from vpp.ports import OwnerSpoke, Store


async def enrolled(store: Store) -> int:
    await store.enroll([a_request("s-calm"), a_request("s-speaks")], at=NOON)
    return await store.take_epoch(at=NOON)


async def test_no_discharge_commits_against_an_opt_out_that_came_meanwhile(store: Store) -> None:
    epoch = await enrolled(store)
    words = await store.last_words()
    await store.opt_out(OptOut("s-speaks", EVENT, after(1), "portal"))

    with pytest.raises(OwnerSpoke) as spoke:
        await store.commit(a_tick(1, epoch, an_order([0, 1])), [a_revision()], words=words)

    assert spoke.value.site_nos == {1}
    assert (await store.last_tick()).sequence == 0
    assert await store.revisions(EVENT) == []


async def test_no_discharge_commits_on_a_reserve_that_was_changed_meanwhile(store: Store) -> None:
    epoch = await enrolled(store)
    words = await store.last_words()
    await store.change_reserve(ReserveChange("s-speaks", Permille(500), after(1), "ada"))

    with pytest.raises(OwnerSpoke):
        await store.commit(a_tick(1, epoch, an_order([1])), [], words=words)


async def test_words_that_were_heard_or_do_not_matter_hold_nobody_up(store: Store) -> None:
    epoch = await enrolled(store)
    await store.opt_out(OptOut("s-speaks", EVENT, after(1), "portal"))
    words = await store.last_words()
    await store.opt_out(OptOut("s-speaks", "ev-other", after(2), "portal"))
    await store.opt_out(OptOut("s-calm", EVENT, after(2), "portal"))
    await store.take_back_opt_out("s-calm", EVENT, at=after(3))
    await store.change_reserve(ReserveChange("s-calm", Permille(500), after(3), "ada"))
    release = an_order([0], action=Action.RELEASE)

    await store.commit(a_tick(1, epoch, release, an_order([1])), [], words=words)

    assert (await store.last_tick()).sequence == 1
