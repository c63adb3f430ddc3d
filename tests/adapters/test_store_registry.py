"""What every store promises about enrolments, opt-outs and grid sources."""

from dataclasses import replace

import pytest

from tests.adapters.store_world import BOOT, EVENT, NOON, a_message, a_request, after
from vpp.domain.enrollment import OptOut, ReserveChange
from vpp.domain.grid_event import GridSource, LimitRaise
from vpp.domain.quantities import Permille, Watts
from vpp.ports import ConflictingFact, NotEnrolled, Store


async def test_site_numbers_continue_from_the_highest(store: Store) -> None:
    first = await store.enroll([a_request("s-ada"), a_request("s-ben")], at=NOON)
    second = await store.enroll([a_request("s-cyd")], at=after(1))

    assert [each.site_no for each in (*first, *second)] == [0, 1, 2]
    assert await store.enrollments() == [*first, *second]
    assert await store.enrollments(from_site_no=2) == second
    assert [each.site_no for each in await store.enrollments(from_site_no=1, limit=1)] == [1]


async def test_an_owner_is_given_the_own_homes_and_no_others(store: Store) -> None:
    await store.enroll(
        [a_request("s-1", owner_id="o-ada"), a_request("s-2", owner_id="o-ben"), a_request("s-3")], at=NOON
    )

    assert [each.site_id for each in await store.enrollments(owner_ids=["o-ada"])] == ["s-1", "s-3"]
    assert await store.enrollments(owner_ids=["o-nobody"]) == []


async def test_enrolment_keeps_everything_that_was_asked_and_when(store: Store) -> None:
    request = a_request("s-ada")

    await store.enroll([request], at=NOON)

    (kept,) = await store.enrollments()
    assert {name: getattr(kept, name) for name in request.__dataclass_fields__} == {
        name: getattr(request, name) for name in request.__dataclass_fields__
    }
    assert (kept.enrolled_at, kept.withdrawn_at) == (NOON, None)


async def test_one_known_site_keeps_a_whole_batch_out(store: Store) -> None:
    await store.enroll([a_request("s-ada")], at=NOON)

    with pytest.raises(ConflictingFact, match="s-ada"):
        await store.enroll([a_request("s-ben"), a_request("s-ada")], at=after(1))

    assert [each.site_id for each in await store.enrollments()] == ["s-ada"]


async def test_a_batch_that_names_a_site_twice_is_kept_out(store: Store) -> None:
    with pytest.raises(ConflictingFact, match="s-ben"):
        await store.enroll([a_request("s-ben"), a_request("s-ben")], at=NOON)

    assert await store.enrollments() == []


async def test_thousands_of_homes_enrol_at_once(store: Store) -> None:
    await store.enroll([a_request(f"s-{number}") for number in range(40_000)], at=NOON)

    assert [each.site_no for each in await store.enrollments(from_site_no=39_998)] == [39_998, 39_999]


async def test_the_class_of_a_homes_meter_is_kept_where_somebody_said_it(store: Store) -> None:
    told = replace(a_request("s-ada"), meter_accuracy_permille=Permille(5))
    enrolled = await store.enroll([told, a_request("s-ben")], at=NOON)

    assert [each.meter_accuracy_permille for each in enrolled] == [5, None]
    assert await store.enrollments() == enrolled


async def test_newest_reserve_change_binds_and_leaves_other_sites_alone(store: Store) -> None:
    await store.enroll([a_request("s-ada"), a_request("s-ben")], at=NOON)

    for permille in (500, 350):
        await store.change_reserve(ReserveChange("s-ada", Permille(permille), after(1), "o-ada"))

    enrolled = await store.enrollments()
    assert [each.reserve_permille for each in enrolled] == [350, 200]
    assert [await store.enrollment("s-ada"), await store.enrollment("s-ben")] == enrolled


async def test_a_reserve_of_an_earlier_instant_is_told_too(store: Store) -> None:
    await store.enroll([a_request("s-ada")], at=NOON)
    for seconds, permille in ((10, 500), (20, 350)):
        await store.change_reserve(ReserveChange("s-ada", Permille(permille), after(seconds), "o-ada"))

    found = [await store.enrollment("s-ada", at=after(seconds)) for seconds in (0, 10, 19, 20, 99)]

    assert [each.reserve_permille for each in found if each is not None] == [200, 500, 500, 350, 350]


async def test_site_that_never_enrolled_has_no_enrolment(store: Store) -> None:
    assert await store.enrollment("s-eve") is None


async def test_owners_no_is_kept_once_and_stands_in_the_order_it_came(store: Store) -> None:
    await store.enroll([a_request("s-ada"), a_request("s-ben")], at=NOON)
    first = OptOut("s-ben", EVENT, after(1), "portal")
    other = OptOut("s-ada", EVENT, after(2), "home")

    for each in (first, other, OptOut("s-ben", EVENT, after(3), "operator")):
        await store.opt_out(each)

    assert await store.opt_outs([EVENT]) == [first, other]
    assert await store.opt_outs(["ev-other"]) == []


async def test_opt_out_that_was_taken_back_no_longer_stands_in_the_way_of_a_new_one(store: Store) -> None:
    await store.enroll([a_request("s-ada")], at=NOON)
    again = OptOut("s-ada", EVENT, after(3), "portal")
    await store.opt_out(OptOut("s-ada", EVENT, after(1), "portal"))

    assert await store.take_back_opt_out("s-ada", EVENT, at=after(2))
    await store.opt_out(again)

    assert await store.opt_outs([EVENT]) == [
        OptOut("s-ada", EVENT, after(1), "portal", taken_back_at=after(2)),
        again,
    ]


async def test_nobody_takes_back_an_opt_out_that_does_not_stand(store: Store) -> None:
    assert not await store.take_back_opt_out("s-ada", EVENT, at=NOON)


async def test_no_said_at_the_home_is_not_ours_to_take_back(store: Store) -> None:
    await store.enroll([a_request("s-ada")], at=NOON)
    await store.opt_out(OptOut("s-ada", EVENT, after(1), "home"))

    assert not await store.take_back_opt_out("s-ada", EVENT, at=after(2))

    assert [each.taken_back_at for each in await store.opt_outs([EVENT])] == [None]


async def test_the_home_takes_back_its_own_no_and_nobody_elses(store: Store) -> None:
    await store.enroll([a_request("s-ada"), a_request("s-ben")], at=NOON)
    await store.opt_out(OptOut("s-ada", EVENT, after(1), "home"))
    await store.opt_out(OptOut("s-ben", EVENT, after(1), "portal"))

    assert await store.take_back_opt_out("s-ada", EVENT, at=after(2), heard_at_home=True)
    assert not await store.take_back_opt_out("s-ben", EVENT, at=after(2), heard_at_home=True)

    assert [each.taken_back_at for each in await store.opt_outs([EVENT])] == [after(2), None]


async def test_a_no_at_the_home_and_one_elsewhere_are_taken_back_where_each_was_said(store: Store) -> None:
    await store.enroll([a_request("s-ada")], at=NOON)
    for each in (OptOut("s-ada", EVENT, after(1), "portal"), OptOut("s-ada", EVENT, after(2), "home")):
        await store.opt_out(each)

    assert await store.take_back_opt_out("s-ada", EVENT, at=after(3), heard_at_home=True)
    assert [each.taken_back_at for each in await store.opt_outs([EVENT])] == [None, after(3)]
    assert await store.take_back_opt_out("s-ada", EVENT, at=after(4))
    assert [each.taken_back_at for each in await store.opt_outs([EVENT])] == [after(4), after(3)]


async def test_nothing_about_a_home_without_consent_is_stored(store: Store) -> None:
    await store.enroll([a_request("s-ada")], at=NOON)

    with pytest.raises(NotEnrolled, match="s-eve"):
        await store.opt_out(OptOut("s-eve", EVENT, NOON, "portal"))
    with pytest.raises(NotEnrolled, match="s-eve"):
        await store.change_reserve(ReserveChange("s-eve", Permille(500), NOON, "o-eve"))
    with pytest.raises(NotEnrolled, match="s-eve"):
        await store.append([a_message("s-ada", 1), a_message("s-eve", 1, boot_id=BOOT)], at=NOON)

    assert await store.opt_outs([EVENT]) == []
    assert await store.newest_reading_at(["s-ada", "s-eve"]) == {}


async def test_source_added_again_under_its_name_is_replaced(store: Store) -> None:
    keyed = GridSource("caiso", bytes(range(32)), Watts(25_000_000), after(1), client_sha256=b"s" * 32)
    unsigned = GridSource("Aggregator", None, Watts(0), NOON)

    raised = replace(unsigned, raise_asked=LimitRaise(Watts(400_000), "operator:ada", NOON))
    for source in (GridSource("caiso", None, Watts(0), NOON), keyed, raised):
        await store.add_source(source)

    assert await store.sources() == [raised, keyed]
    await store.add_source(unsigned)
    assert await store.sources() == [unsigned, keyed]
