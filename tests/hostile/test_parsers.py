"""No input makes a parser answer with anything but its refusals, take what cannot be stored, or grow."""

import json
from random import Random

import pytest

from tests.hostile.__main__ import INPUTS
from tests.hostile.parsers import NOW, Parser, parsers, small_bundle, unstorable
from tests.hostile.spoiling import spoil
from tests.hostile.throwing import throw
from tests.wire.test_enrollment_file import a_file, a_row
from vpp.wire.enrollment_file import BadEnrollmentFile, read_enrollments
from vpp.wire.evidence_check import verify_bundle
from vpp.wire.ledger_file import read_payments
from vpp.wire.nacha import read_accounts
from vpp.wire.strict_json import MalformedMessage, parse
from vpp.wire.table import BadFile

GROWN_MB = 64  # of a process whose caches are full; a leak of 1 kB for each input would be 150 MB


@pytest.fixture(scope="module")
def table() -> tuple[Parser, ...]:
    return parsers()


def test_every_sample_is_taken_as_it_is(table: tuple[Parser, ...]) -> None:
    for parser in table:
        for sample in parser.samples:
            parser.read(sample)


def test_spoiled_input_is_refused_by_name_or_taken_and_storable(table: tuple[Parser, ...]) -> None:
    thrown = throw(table, INPUTS, seed=1)

    assert thrown.uncaught == []
    assert thrown.inputs >= INPUTS
    assert thrown.grown_mb < GROWN_MB
    tried = {each.name: (each.taken, each.refused) for each in thrown.outcomes}
    assert all(taken for taken, _ in tried.values()), "some of the spoiled input is still good"
    by_refusal = {parser.name for parser in table if parser.refusals and parser.stored}
    assert all(tried[name][1] > tried[name][0] / 50 for name in by_refusal), "and much of it is not"


def test_a_parser_that_fails_otherwise_is_found() -> None:
    def careless(content: bytes) -> object:
        return parse(content, max_bytes=100_000)["object"]  # which may not be there

    careless_one = Parser("careless", careless, (b'{"object":{"id":"ev-1"}}',), (MalformedMessage,))

    assert any("KeyError" in said for said in throw([careless_one], 2_000, seed=1).uncaught)


def test_a_parser_that_takes_what_no_database_stores_is_found() -> None:
    unguarded = Parser("unguarded", lambda content: content.decode("utf-8", "replace"), (b"a name",))

    assert any("no database stores" in said for said in throw([unguarded], 2_000, seed=1).uncaught)
    assert unstorable({"name": ("fine", "half \ud800")}) == repr("half \ud800")
    assert unstorable(("fine", 7, None, NOW)) is None


def test_a_reference_that_no_database_stores_is_refused_with_its_line() -> None:
    with pytest.raises(BadFile, match=r"p\.csv:2: reference: '\\x07' is not a text of 1 to 128 printable"):
        read_payments(b"program_id,period,reference,paid\nelrp-a4-pge,ev-1,\x07,17.50\n", file_name="p.csv")


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_consent_outside_the_calendar_is_refused_with_its_line(at: str) -> None:
    with pytest.raises(BadEnrollmentFile, match=r"sites\.csv:2: consent_at: .* is no date of the calendar"):
        read_enrollments(a_file(a_row(consent_at=at)), now=NOW, file_name="sites.csv")


def test_a_signed_manifest_with_a_number_that_nobody_signs_is_a_difference() -> None:
    bundle = dict(small_bundle())
    manifest = json.loads(bundle["manifest.json"]) | {"schema": -0.5}

    report = verify_bundle(bundle | {"manifest.json": json.dumps(manifest).encode()})

    assert any(each.startswith("manifest.json: ") for each in report.differences)


def test_a_table_with_nul_is_refused_with_its_line() -> None:
    accounts = b"owner_id,name,routing,account,kind\no-1,Ada\x00Byron,021000021,12345678,checking\n"

    with pytest.raises(BadFile, match=r"a\.csv:2: holds a NUL character"):
        read_accounts(accounts, file_name="a.csv")


def test_the_same_seed_spoils_alike() -> None:
    samples = (b'{"a":[1,2,{"b":"c"}]}', b"x,y\n1,2\n3,4\n")

    one, other = ([spoil(random, samples) for _ in range(500)] for random in (Random(7), Random(7)))

    assert one == other
    assert len(set(one)) > 400
