"""What a program is told of each hour, as a file that a spreadsheet reads."""

import csv
import io
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from vpp.domain.delivery import Quality
from vpp.domain.interval import Interval
from vpp.domain.program_report import HourTotal
from vpp.domain.quantities import MicroDollars
from vpp.wire.program_report import write_hours_csv

AT = datetime(2026, 9, 10, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("energy_wh", "written"),
    [
        (Fraction(126_022, 5), "25204.4"),
        (Fraction(37, 3), "37/3"),
        (Fraction(500_000), "500000"),
        (Fraction(-7, 40), "-0.175"),
        (Fraction(0), "0"),
    ],
)
def test_energy_is_written_with_all_its_digits_and_as_a_fraction_only_where_they_do_not_end(
    energy_wh: Fraction, written: str
) -> None:
    total = HourTotal(
        Interval(AT, AT + timedelta(hours=1)), 1, 1, 10, energy_wh, energy_wh, energy_wh,
        MicroDollars(1_500_001), Quality.OK,
    )  # fmt: skip

    file = write_hours_csv(
        "p", "e", [total], ZoneInfo("UTC"), currency="AUD", nominated_wh={AT: energy_wh}, asked_wh={}
    )

    (row,) = csv.DictReader(io.StringIO(file.decode()))
    assert {row[f"{name}_wh"] for name in ("baseline", "incremental", "paid", "nominated")} == {written}
    assert (row["receivable_usd"], row["currency"]) == ("1.500001", "AUD")
