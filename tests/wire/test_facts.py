"""One written form of every fact: equal facts are equal bytes, and every fact comes back as it was."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.adapters.store_world import (
    EVENT,
    a_basis,
    a_revision,
    a_settlement,
    a_tick,
    a_version,
    an_entry,
    an_order,
)
from vpp.domain.command import DispatchTick, PlanRevision
from vpp.domain.grid_event import GridEvent
from vpp.domain.ledger import JournalEntry
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import IntColumn, column
from vpp.domain.settlement import Settlement
from vpp.domain.tick_basis import TickBasis
from vpp.wire import facts

INT64 = st.integers(min_value=-(2**63), max_value=2**63 - 1)


@pytest.mark.parametrize("fact", [a_version(), an_entry("e-1"), a_settlement()])
def test_fact_without_columns_comes_back_equal(fact: GridEvent | JournalEntry | Settlement) -> None:
    assert facts.decode(type(fact), facts.encode(fact)) == fact


@pytest.mark.parametrize("fact", [a_tick(7, 3, an_order([]), an_order([4, 9])), a_revision()])
def test_fact_with_columns_comes_back_the_same(fact: DispatchTick | PlanRevision) -> None:
    assert facts.same(facts.decode(type(fact), facts.encode(fact)), fact)


def test_written_form_of_a_tick_is_stable() -> None:
    # These bytes are under the hash chain: whoever changes them breaks every chain already published.
    assert facts.encode(a_tick(7, 3, an_order([4, 9, 300]))).decode() == (
        '{"at":"2026-09-09T12:00:00+00:00","epoch":3,"number":7,"orders":[{"action":"discharge",'
        f'"event_ends_at":"2026-09-10T03:00:00+00:00","event_id":"{EVENT}",'
        '"expires_at":"2026-09-10T01:15:00+00:00","ramp_s":30,"revision":1,"site_no":"4:i2:BQAjAQ==",'
        '"spread_s":60,"starts_at":"2026-09-10T01:00:00+00:00","test":false}]}'
    )


@given(st.lists(INT64))
def test_every_column_comes_back_whatever_its_numbers(values: list[int]) -> None:
    assert facts.text_column(facts.column_text(column(values))).tolist() == values


@given(
    st.lists(st.integers(min_value=0, max_value=10_000)), st.lists(st.integers(min_value=0, max_value=10_000))
)
def test_two_columns_have_one_text_only_when_they_are_equal(one: list[int], other: list[int]) -> None:
    assert (facts.column_text(column(one)) == facts.column_text(column(other))) == (one == other)


def test_neighbouring_site_numbers_take_a_byte_and_a_third_each() -> None:
    assert len(facts.column_text(column(range(100_000, 400_000)))) < 400_020


def test_column_that_was_read_back_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        facts.text_column("4:i1:AQ==")[0] = 5


def test_facts_that_differ_by_one_number_are_not_the_same() -> None:
    assert facts.same(a_revision(), a_revision())
    assert not facts.same(a_revision(), replace(a_revision(), setpoint_w=column([4_201, 0])))


def test_link_depends_on_the_head_the_kind_the_fact_and_the_person() -> None:
    links = {
        facts.next_link(facts.GENESIS, "grid_event", a_version()),
        facts.next_link("1" * 64, "grid_event", a_version()),
        facts.next_link(facts.GENESIS, "dispatch_tick", a_version()),
        facts.next_link(facts.GENESIS, "grid_event", a_version(2)),
        facts.next_link(facts.GENESIS, "grid_event", a_version(), actor="op-lin"),
    }

    assert len(links) == 5


@dataclass(frozen=True, slots=True)
class Odd:
    """A fact of every kind of value."""

    day: date
    at: datetime
    share: Decimal
    part: Fraction
    key: bytes
    meter: MeterOfRecord
    pairs: tuple[tuple[str, int | None], ...]
    numbers: IntColumn
    yes: bool
    added_later: int = 5


def test_every_kind_of_value_has_a_written_form() -> None:
    odd = Odd(
        date(2026, 9, 9),
        datetime(2026, 9, 9, 1, 2, 3, 4, tzinfo=UTC),
        Decimal("1.00"),
        Fraction(-1, 3),
        b"\x00\xff",
        MeterOfRecord.SITE,
        (("a", 1), ("b", None)),
        column([]),
        yes=True,
    )

    assert facts.same(facts.decode(Odd, facts.encode(odd)), odd)
    assert facts.decode(Odd, facts.encode(odd)).share == Decimal("1.00")


def test_number_that_numpy_counted_is_written_like_any_other() -> None:
    assert facts.encode([np.int64(7), True]) == b"[7,true]"


def test_float_has_no_written_form() -> None:
    with pytest.raises(TypeError, match="float"):
        facts.encode([0.5])


def test_fact_written_before_a_field_existed_takes_its_default() -> None:
    written = facts.encode({"state": "posted"} | {"entry_id": "e-1", "at": "2026-09-09T12:00:00+00:00"})
    postings = facts.encode(an_entry("e-1").postings).decode()
    body = written.decode()[:-1] + f',"memo":"","postings":{postings}}}'

    assert facts.decode(JournalEntry, body).corrects is None


def test_what_was_known_at_a_tick_before_its_orders_were_explained_is_still_read() -> None:
    basis = a_basis(1, sites=[4, 7])
    stored = json.loads(facts.encode(basis))
    del stored["telling"]

    assert facts.same(facts.decode(TickBasis, json.dumps(stored)), replace(basis, telling=None))
