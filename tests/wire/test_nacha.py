"""The ACH file of a payout run, read back field by field as a bank does."""

from datetime import UTC, datetime

import pytest

from vpp.wire.nacha import (
    BankAccount,
    Credit,
    NotARoutingNumber,
    NotNacha,
    read_accounts,
    require_originator,
    require_routing,
    write_nacha,
)
from vpp.wire.table import BadFile

FRIDAY = datetime(2026, 9, 18, 15, 30, tzinfo=UTC)
US = require_originator("021000021", "1234567890", "Vpp Aggregation")
ROSA = BankAccount("Rosa Díaz", "121000358", "000123456789", "checking")
SAM = BankAccount("Sam O'Neil with a name that is far too long", "026009593", "77-A", "savings")
HOLDERS = {"o-rosa": ROSA, "o-sam": SAM}
PAID = [
    Credit("o-rosa", 2_596, "payout-0123456789abcdef0123456789abcdef"),
    Credit("o-sam", 1, "payout-ffffffffffffffffffffffffffffffff"),
]
HEADER = b"owner_id,name,routing,account,kind\n"


def lines_of(content: bytes) -> list[str]:
    return content.decode("ascii").splitlines()


def test_a_file_is_ten_lines_a_block_of_94_characters_each_with_sums_that_a_bank_checks():
    lines = lines_of(write_nacha(PAID, HOLDERS, US, begun_at=FRIDAY))

    assert [line[0] for line in lines] == list("1566899999")
    assert {len(line) for line in lines} == {94}
    batch, file = lines[4], lines[5]
    assert (int(batch[4:10]), int(batch[20:32]), int(batch[32:44])) == (2, 0, 2_597)
    assert int(batch[10:20]) == 12_100_035 + 2_600_959
    assert (int(file[1:7]), int(file[7:13]), int(file[13:21])) == (1, 1, 2)
    assert (file[21:31], int(file[43:55])) == (batch[10:20], 2_597)


def test_each_owner_is_one_credit_that_names_its_payout():
    _, batch, rosa, sam, *_ = lines_of(write_nacha(PAID, HOLDERS, US, begun_at=FRIDAY))

    assert (batch[1:4], batch[50:53], batch[63:75]) == ("220", "PPD", "260918260921")  # paid on Monday
    assert (rosa[1:3], rosa[3:12], rosa[12:29].strip()) == ("22", "121000358", "000123456789")
    assert (int(rosa[29:39]), rosa[39:54], rosa[54:76]) == (2_596, "123456789abcdef", "ROSA DIAZ".ljust(22))
    assert (sam[1:3], sam[54:76], sam[78]) == ("32", "SAM O'NEIL WITH A NAME", "0")
    assert [line[79:] for line in (rosa, sam)] == ["021000020000001", "021000020000002"]


def test_an_eleventh_line_begins_another_block():
    many = [Credit("o-rosa", 100, f"payout-{number:032x}") for number in range(7)]

    lines = lines_of(write_nacha(many, HOLDERS, US, begun_at=FRIDAY))

    assert len(lines) == 20
    assert lines[10][7:13] == "000002"


def test_an_owner_without_an_account_stops_the_whole_file():
    with pytest.raises(BadFile, match="owner o-sam has no account in the file"):
        write_nacha(PAID, {"o-rosa": ROSA}, US, begun_at=FRIDAY)
    with pytest.raises(NotNacha, match="nobody is paid"):
        write_nacha([], HOLDERS, US, begun_at=FRIDAY)
    with pytest.raises(NotNacha, match="0 cents are not an amount"):
        write_nacha([Credit("o-rosa", 0, "payout-0")], HOLDERS, US, begun_at=FRIDAY)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("o-1,Rosa,121000359,1,checking", "2: routing: '121000359' is not a routing number: its last digit"),
        ("o-1,Rosa,12100035,1,checking", "2: routing: '12100035' is not a routing number of nine digits"),
        ("o-1,Rosa,121000358,,checking", "2: account: is not 1 to 17 of"),
        ("o-1,Rosa,121000358,1,current", "2: kind: 'current' is not checking or savings"),
        ("o-1, ,121000358,1,checking", "2: name: is empty"),
        (",Rosa,121000358,1,checking", "2: owner_id: '' is empty or stands twice"),
    ],
)
def test_an_account_that_no_bank_has_is_refused_with_its_line_and_not_shown(row: str, fault: str):
    with pytest.raises(BadFile) as refused:
        read_accounts(HEADER + row.encode(), file_name="accounts.csv")

    assert f"accounts.csv:{fault}" in refused.value.faults[0]


def test_accounts_are_read_by_owner():
    rows = b"o-rosa,Rosa D\xc3\xadaz,121000358,000123456789,checking\n"

    assert read_accounts(HEADER + rows, file_name="accounts.csv") == {"o-rosa": ROSA}


@pytest.mark.parametrize("text", ["", "12100035", "1210003588", "000000000", "12100035x"])
def test_nine_digits_that_check_themselves_are_a_routing_number(text: str):
    assert require_routing("121000358") == "121000358"
    with pytest.raises(NotARoutingNumber):
        require_routing(text)


def test_a_company_is_known_by_ten_characters_and_a_name():
    with pytest.raises(NotNacha, match="company id '12' is not ten"):
        require_originator("021000021", "12", "Vpp")
    with pytest.raises(NotNacha, match="name is empty"):
        require_originator("021000021", "1234567890", "  ")
