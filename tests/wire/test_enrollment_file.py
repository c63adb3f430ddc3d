"""The enrolment file is taken as a whole or refused with every line that is wrong."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp.domain.enrollment import Consent, EnrollmentRequest
from vpp.domain.quantities import Permille, WattHours, Watts
from vpp.wire.enrollment_file import HEADER, METER_ACCURACY, BadEnrollmentFile, read_enrollments, read_percent

NOW = datetime(2026, 9, 9, 12, tzinfo=UTC)
KEY = bytes(range(32))
KEY_TEXT = base64.urlsafe_b64encode(KEY).rstrip(b"=").decode()


def a_row(**cells: str) -> dict[str, str]:
    usual = {
        "site_id": "s-1",
        "owner_id": "o-1",
        "program_id": "elrp-a4-pge",
        "utility": "PGE",
        "county": "Alameda",
        "feeder": "f-1",
        "full_energy_wh": "13305",
        "max_discharge_w": "5000",
        "reserve_pct": "20",
        "gateway_public_key": KEY_TEXT,
        "consent_version": "2026-1",
        "consent_at": "2026-05-01T09:00:00Z",
    }
    return usual | cells


def a_file(*rows: dict[str, str], header: tuple[str, ...] = HEADER, newline: str = "\n") -> bytes:
    lines = [",".join(header), *(",".join(row[name] for name in header) for row in rows)]
    return (newline.join(lines) + newline).encode()


def read(content: bytes) -> tuple[EnrollmentRequest, ...]:
    return read_enrollments(content, now=NOW, file_name="sites.csv")


def refusal(content: bytes) -> list[str]:
    with pytest.raises(BadEnrollmentFile) as refused:
        read(content)
    return str(refused.value).splitlines()


def test_a_row_becomes_a_request_with_units_of_the_domain() -> None:
    (request,) = read(a_file(a_row(reserve_pct="20.5", consent_at="2026-05-01T02:00:00-07:00")))

    assert request == EnrollmentRequest(
        site_id="s-1",
        owner_id="o-1",
        program_id="elrp-a4-pge",
        utility="PGE",
        county="Alameda",
        feeder="f-1",
        full_energy_wh=WattHours(13305),
        max_discharge_w=Watts(5000),
        reserve_permille=Permille(205),
        gateway_public_key=KEY,
        consent=Consent("2026-1", datetime(2026, 5, 1, 9, tzinfo=UTC)),
    )


@pytest.mark.parametrize(("typed", "permille"), [("0.5", 5), ("2", 20), ("2.0", 20), ("10", 100), ("", None)])
def test_a_row_may_say_how_far_its_meter_can_be_off(typed: str, permille: int | None) -> None:
    (request,) = read(a_file(a_row(meter_accuracy_pct=typed), header=(*HEADER, METER_ACCURACY)))

    assert request.meter_accuracy_permille == permille


@pytest.mark.parametrize("typed", ["0", "0.0", "10.1", "0.05", "-1", "class 1", "2 %"])
def test_an_accuracy_that_no_meter_has_is_refused(typed: str) -> None:
    (fault,) = refusal(a_file(a_row(meter_accuracy_pct=typed), header=(*HEADER, METER_ACCURACY)))

    assert fault.startswith(f"sites.csv:2: {METER_ACCURACY}: '{typed}' is not 0.1 to 10")


@pytest.mark.parametrize(
    "content",
    [
        a_file(a_row(), newline="\r\n"),
        b"\xef\xbb\xbf" + a_file(a_row()),
        a_file(a_row(), header=tuple(reversed(HEADER))),
        a_file(a_row(county='"Contra Costa, west"')),
        a_file(a_row(gateway_public_key=KEY_TEXT + "=")),
        a_file(a_row()) + b"\n",
    ],
    ids=["CRLF", "byte order mark", "columns in another order", "quoted comma", "padded key", "blank line"],
)
def test_what_spreadsheets_write_is_taken(content: bytes) -> None:
    assert len(read(content)) == 1


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"site_id": "S 1"}, "site_id: site id 'S 1' is not 1-36"),
        ({"owner_id": ""}, "owner_id: '' is not 1-80 printable"),
        ({"full_energy_wh": "0"}, "full_energy_wh: '0' is not a whole number of Wh from 1000 to 999999999"),
        ({"full_energy_wh": "13"}, "full_energy_wh: '13' is not a whole number of Wh from 1000 to 999999999"),
        ({"max_discharge_w": "5"}, "max_discharge_w: '5' is not a whole number of W from 100 to 999999999"),
        ({"full_energy_wh": "13.5"}, "full_energy_wh: '13.5' is not a whole number"),
        ({"max_discharge_w": "-5"}, "max_discharge_w: '-5' is not a whole number"),
        ({"reserve_pct": "20.55"}, "reserve_pct: '20.55' is not 0 to 100 with at most one decimal"),
        ({"reserve_pct": "100.1"}, "reserve_pct: '100.1' is not 0 to 100"),
        ({"reserve_pct": "nan"}, "reserve_pct: 'nan' is not"),
        ({"gateway_public_key": "+/" + KEY_TEXT[2:]}, "gateway_public_key: is not base64url"),
        ({"gateway_public_key": KEY_TEXT[:-4]}, "gateway_public_key: has 29 bytes, an Ed25519"),
        ({"consent_at": "2026-05-01T09:00:00"}, "consent_at: '2026-05-01T09:00:00' is not RFC 3339"),
        ({"consent_at": "2026-02-30T09:00:00Z"}, "is no date of the calendar"),
        ({"consent_at": "2026-09-09T12:00:01Z"}, "consent_at: 2026-09-09T12:00:01Z is in the future"),
        ({"consent_version": ""}, "consent_version: '' is not"),
    ],
)
def test_a_bad_cell_is_refused_with_its_line_and_reason(cells: dict[str, str], reason: str) -> None:
    (sentence,) = refusal(a_file(a_row(site_id="s-0"), a_row(**cells)))

    assert sentence.startswith("sites.csv:3: ")
    assert reason in sentence


def test_a_line_of_commas_is_refused_and_not_passed_over() -> None:
    (sentence,) = refusal(a_file(a_row()) + b"," * (len(HEADER) - 1) + b"\n")

    assert sentence == "sites.csv:3: holds nothing but commas; delete it or fill it in"


def test_every_fault_of_a_file_is_told_at_once() -> None:
    sentences = refusal(
        a_file(a_row(reserve_pct="x", full_energy_wh="y"), a_row(site_id="s-2"), a_row(site_id="s-2"))
    )

    assert [":".join(sentence.split(":")[:2]) for sentence in sentences] == [
        "sites.csv:2",
        "sites.csv:2",
        "sites.csv:4",
    ]
    assert sentences[2].endswith("site s-2 stands on line 3 already")


def test_line_numbers_hold_after_a_quoted_line_break() -> None:
    broken = a_row(county='"Contra\nCosta"')
    sentences = refusal(a_file(broken, a_row(site_id="s-2", reserve_pct="x")))

    assert sentences[0].startswith("sites.csv:2: county")
    assert sentences[1].startswith("sites.csv:4: reserve_pct")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", ":1: is empty"),
        (a_file(), ":1: has a header and no homes"),
        (a_file(a_row(), header=HEADER[1:]), ":1: lacks column 'site_id'"),
        (a_file(a_row(price="1"), header=(*HEADER, "price")), ":1: has unknown column 'price'"),
        (a_file(a_row(), header=(*HEADER, "county")), ":1: has twice 'county'"),
        (a_file(a_row()) + b"s-2,o-2\n", ":3: has 2 cells, the header 12"),
        (a_file(a_row(county="\xff")).replace("\xff".encode(), b"\xff"), ":2: is not UTF-8"),
        (a_file(a_row(county='"Alameda')), "is not CSV"),
    ],
)
def test_a_file_of_another_shape_is_refused(content: bytes, reason: str) -> None:
    assert any(reason in sentence for sentence in refusal(content))


def test_an_unknown_program_and_a_home_that_has_a_place_are_refused() -> None:
    content = a_file(a_row(program_id="elrp-a9"), a_row(site_id="s-2"))

    with pytest.raises(BadEnrollmentFile) as refused:
        read_enrollments(
            content, now=NOW, file_name="sites.csv", program_ids={"elrp-a4-pge"}, enrolled={"s-2"}
        )

    assert str(refused.value).splitlines() == [
        "sites.csv:2: program_id: there is no program 'elrp-a9'; known: elrp-a4-pge",
        "sites.csv:3: site s-2 is enrolled already",
    ]


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ({"reserve_pct": "٣"}, "reserve_pct: '٣' is not 0 to 100 with at most one decimal"),
        ({"reserve_pct": "20.٥"}, "reserve_pct: '20.٥' is not 0 to 100 with at most one decimal"),
        ({"consent_at": "٢026-05-01T09:00:00Z"}, "consent_at: '٢026-05-01T09:00:00Z' is not RFC 3339"),
    ],
)
def test_digits_of_another_script_are_no_number(cells: dict[str, str], sentence: str) -> None:
    (told,) = refusal(a_file(a_row(**cells)))

    assert told.startswith(f"sites.csv:2: {sentence}")


def test_a_home_of_another_utility_than_its_programs_is_refused() -> None:
    content = a_file(a_row(), a_row(site_id="s-2", utility="sce"), a_row(site_id="s-3", program_id="dsgs-3"))

    with pytest.raises(BadEnrollmentFile) as refused:
        read_enrollments(content, now=NOW, file_name="sites.csv", utilities={"elrp-a4-pge": "pge"})

    assert str(refused.value).splitlines() == [
        "sites.csv:3: utility: 'sce' is not pge, whose homes alone elrp-a4-pge takes"
    ]


@given(st.integers(min_value=0, max_value=1000))
def test_every_permille_of_charge_can_be_written_as_percent(permille: int) -> None:
    assert read_percent(f"{permille // 10}.{permille % 10}") == permille


@given(st.binary(max_size=400))
def test_no_bytes_bring_the_reader_down(content: bytes) -> None:
    with pytest.raises(BadEnrollmentFile):
        read(a_file()[:-1] + content)
