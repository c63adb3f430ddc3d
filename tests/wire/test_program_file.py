"""Program files: the three that are shipped, and what is said about one that cannot be used."""

from datetime import date, time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from vpp.domain.program import MeterOfRecord, NegativePolicy, Program, TariffRule
from vpp.wire.program_file import ProgramFileError, read_program

PROGRAMS = Path(__file__).parents[2] / "config" / "programs"
UTILITIES = ("pge", "sce", "sdge")
TEXT = (PROGRAMS / "elrp-a4-pge.toml").read_text(encoding="utf-8")


def shipped(utility: str) -> Program:
    """Return one of the programs that come with the product."""
    path = PROGRAMS / f"elrp-a4-{utility}.toml"
    return read_program(path.read_text(encoding="utf-8"), file_name=path.name)


@pytest.mark.parametrize("utility", UTILITIES)
def test_shipped_program_holds_the_terms_of_the_emergency_load_reduction_program(utility: str) -> None:
    program = shipped(utility)

    terms = program.terms_on(date(2026, 9, 9))
    assert terms is not None
    assert (program.program_id, program.utility) == (f"elrp-a4-{utility}", utility)
    assert program.zone == ZoneInfo("America/Los_Angeles")
    assert "a4" in program.groups
    assert (terms.season_first, terms.season_last) == ((5, 1), (10, 31))
    assert (terms.window_opens, terms.window_closes) == (time(16), time(21))
    assert (terms.event_min_s, terms.event_max_s) == (3_600, 3 * 3_600)
    assert (terms.season_cap_s, terms.season_minimum_s) == (60 * 3_600, 20 * 3_600)
    assert terms.rate.dollars_per_kwh == Decimal("2.00")
    assert terms.owner_micro_dollars_per_wh == Fraction(2_000)
    assert terms.meter is MeterOfRecord.DEVICE
    assert terms.baseline_method == "ten_of_ten"
    assert terms.negative_policy is NegativePolicy.NET_EVENT_FLOOR_ZERO
    assert terms.holidays == "NERC"
    assert program.close_after_days == 8


@pytest.mark.parametrize("utility", UTILITIES)
def test_events_of_2022_and_2023_may_last_five_hours_and_later_ones_three(utility: str) -> None:
    program = shipped(utility)

    lengths = {}
    for year in (2021, 2022, 2023, 2024, 2027, 2028):
        terms = program.terms_on(date(year, 9, 6))
        lengths[year] = None if terms is None else terms.event_max_s // 3_600
    assert lengths == {2021: None, 2022: 5, 2023: 5, 2024: 3, 2027: 3, 2028: None}


@pytest.mark.parametrize("utility", UTILITIES)
def test_every_number_of_a_shipped_program_names_its_source(utility: str) -> None:
    text = (PROGRAMS / f"elrp-a4-{utility}.toml").read_text(encoding="utf-8")

    for line in text.splitlines():
        if "value = " in line:
            assert 'source = "https://' in line or 'source = "decided: ' in line, line


@pytest.mark.parametrize(
    ("written", "instead", "complaint"),
    [
        (
            "season_cap_h",
            "seasn_cap_h",
            "seasn_cap_h is not a key of a program file; write season_cap_h",
        ),
        ("program_id", "progam_id", "progam_id is not a key of a program file; write program_id"),
        (
            "utility =",
            "colour = 1\nutility =",
            "colour is not a key of a program file; known here are",
        ),
        (
            "[[edition]]",
            "[[editions]]",
            "editions is not a key of a program file; write edition",
        ),
        ("value = 60", 'value = "x"', "season_cap_h is 'x'; write whole hours, such as 60"),
        ("value = 60", "value = 60.5", "season_cap_h is Decimal('60.5'); write whole hours"),
        ("value = 2.00", "value = -2.00", "rate_usd_per_kwh is Decimal('-2.00'); write dollars"),
        ("value = 2.00", "value = nan", "rate_usd_per_kwh is Decimal('NaN'); write dollars"),
        ("value = 2.00", "value = 1e-400000", "rate_usd_per_kwh is Decimal('1E-400000'); write dollars"),
        ("value = 2.00", "value = 1e9999999999999999999", "holds a number or a nesting beyond all measure"),
        ("value = 2.00", "value = " + "9" * 5_000, "holds a number or a nesting beyond all measure"),
        ("groups = [", "deep = " + "[" * 5_000 + "]" * 5_000 + "\ngroups = [", "or a nesting beyond all"),
        ("value = 1.00", "value = 1.01", "owner_share is Decimal('1.01'); write a share"),
        ("America/", "Amerika/", "time_zone 'Amerika/Los_Angeles' is not in the tz database"),
        ('"America/Los_Angeles"', '"../etc/passwd"', "time_zone '../etc/passwd' is not in"),
        (
            "= 2024-01-01\nseason",
            "= 2025-01-01\nseason",
            "effective_from 2024-01-01 lies inside the edition before",
        ),
        ("effective_to = 2024-01-01\n", "", "effective_from 2024-01-01 lies inside the edition before"),
        (
            "effective_to = 2024-01-01",
            "effective_to = 2022-01-01",
            "effective_to 2022-01-01 is not after",
        ),
        ('"05-01"', '"02-29"', 'season_first "02-29" is not a day of every year'),
        ('"05-01"', '"5-1"', "season_first is '5-1'; write month and day, such as"),
        ("value = 5,", "value = 0,", "event_max_h is 0; write whole hours, such as 3"),
        ("event_min_h = { value = 1,", "event_min_h = { value = 6,", "event_max_h is under event_min_h, 6"),
        ('"ten_of_ten"', '"best"', "baseline_method is not known; write one of"),
        ('"device"', '"roof"', 'meter is \'roof\'; write "device" or "site"'),
        ('"NERC"', '"ISO"', 'holidays is \'ISO\'; write "NERC" or "none"'),
        ("16:00:00", '"16:00"', "window_opens is '16:00'; write a local time, such as 16:00:00"),
        ("event_max_h = {", "event_max_h = 3 # {", "event_max_h needs { value = …, source"),
        ("event_max_h = {", "# {", "event_max_h is missing; write whole hours, such as 3"),
        ('source = "decided: one', 'sauce = "decided: one', "sauce is not a key"),
        ('source = "decided: one', 'source = "" } #', "close_after_days is ''; write where the value is"),
        ("[[edition]]", "[[edition", "not TOML: "),
        ("[[edition]]", "[edition]", "not TOML: "),
    ],
)
def test_program_file_that_cannot_be_used_names_the_line_and_what_to_write(
    written: str, instead: str, complaint: str
) -> None:
    assert written in TEXT
    text = TEXT.replace(written, instead)

    with pytest.raises(ProgramFileError) as refused:
        read_program(text, file_name="pge.toml")

    assert complaint in str(refused.value)


def test_a_whole_number_of_dollars_needs_no_decimals() -> None:
    program = read_program(TEXT.replace("value = 2.00", "value = 2"), file_name="pge.toml")

    assert program.editions[-1].rate.dollars_per_kwh == 2


def test_complaint_names_the_line_where_the_value_stands() -> None:
    for written, instead in (
        ("season_cap_h", "seasn_cap_h"),
        ("value = 60", "value = 0"),
        ("America/Los_Angeles", "America/Nowhere"),
        ("effective_to = 2024-01-01", "effective_to = 2021-01-01"),
        ("[[edition]]", "[[edition"),
    ):
        text = TEXT.replace(written, instead)
        line = text[: text.index(instead)].count("\n") + 1

        with pytest.raises(ProgramFileError, match=rf"^pge\.toml:{line}: "):
            read_program(text, file_name="pge.toml")


def test_second_edition_is_told_from_the_first() -> None:
    before, second = TEXT.rsplit("[[edition]]", 1)
    text = before + "[[edition]]" + second.replace("value = 60", "value = 0")

    with pytest.raises(ProgramFileError) as refused:
        read_program(text, file_name="pge.toml")

    line = text[: text.index("value = 0,")].count("\n") + 1
    assert str(refused.value).startswith(f"pge.toml:{line}: season_cap_h is 0; ")


def test_text_that_is_no_program_at_all_is_refused() -> None:
    for text in ("", "x = 1", "edition = 3", "\x00", "edition = [1]"):
        with pytest.raises(ProgramFileError, match=r"^none\.toml:[0-9]+: "):
            read_program(text, file_name="none.toml")


ALL = sorted(PROGRAMS.glob("*.toml"))


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_every_shipped_program_is_named_like_its_file_and_names_its_sources(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    program = read_program(text, file_name=path.name)

    assert program.program_id == path.stem
    assert program.text == text
    for line in text.splitlines():
        if "{ value" in line:
            assert ", source = " in line
            assert "https://" in line or "http://" in line or "decided: " in line or "(secondary)" in line


@pytest.mark.parametrize(
    ("program_id", "day", "rule", "method"),
    [
        ("elrp-a5-pge", date(2026, 9, 9), TariffRule.PER_KWH_INCREMENTAL, "ten_of_ten"),
        ("elrp-a6-sdge", date(2025, 9, 9), TariffRule.PER_KWH_INCREMENTAL, "five_of_ten"),
        ("dsgs-3", date(2025, 9, 9), TariffRule.PER_KW_MONTH_WEIGHTED, "none"),
        ("dsgs-3", date(2026, 9, 9), TariffRule.PER_KW_SEASON_AVERAGE, "ten_of_ten"),
        ("connectedsolutions-ma", date(2026, 7, 9), TariffRule.PER_KW_SEASON_AVERAGE, "none"),
        ("cbes-pr", date(2026, 7, 9), TariffRule.PER_KWH_DELIVERED, "none"),
        ("tesla-electric-tx", date(2026, 7, 9), TariffRule.FIXED_CREDIT, "none"),
    ],
)
def test_programs_pay_by_their_own_rule(program_id: str, day: date, rule: TariffRule, method: str) -> None:
    path = PROGRAMS / f"{program_id}.toml"

    terms = read_program(path.read_text(encoding="utf-8"), file_name=path.name).terms_on(day)

    assert terms is not None
    assert (terms.tariff.rule, terms.baseline_method) == (rule, method)


def test_the_residential_program_paid_two_dollars_and_then_one() -> None:
    path = PROGRAMS / "elrp-a6-pge.toml"
    program = read_program(path.read_text(encoding="utf-8"), file_name=path.name)

    found = [program.terms_on(date(year, 9, 1)) for year in (2022, 2023, 2024, 2025, 2026)]

    rates = [None if terms is None else terms.rate.dollars_per_kwh for terms in found]
    assert rates == [Decimal(2), Decimal(2), Decimal(1), Decimal(1), None]


@pytest.mark.parametrize(
    ("program_id", "written", "instead", "complaint"),
    [
        (
            "elrp-a4-pge",
            "rate_usd_per_kwh",
            "# ",
            "rate_usd_per_kwh is missing, per_kwh_incremental needs it",
        ),
        (
            "cbes-pr",
            '"none", source = "https',
            '"ten_of_ten", source = "https',
            'baseline_method must be "none"',
        ),
        ("cbes-pr", '"per_kwh_delivered"', '"per_mile"', "tariff is 'per_mile'; write one of"),
        ("tesla-electric-tx", "credit_every = ", "# ", "credit_every is missing, fixed_credit needs it"),
        ("dsgs-3", '"10" = 8.19', '"13" = 8.19', "money by month, such as"),
        (
            "connectedsolutions-ct",
            "owner_share = ",
            'rate_usd_per_kwh = { value = 1.00, source = "decided: a test" }\nowner_share = ',
            "rate_usd_per_kwh is not used by per_kw_season_average",
        ),
    ],
)
def test_a_tariff_that_does_not_fit_its_keys_is_refused(
    program_id: str, written: str, instead: str, complaint: str
) -> None:
    text = (PROGRAMS / f"{program_id}.toml").read_text(encoding="utf-8")
    assert written in text

    with pytest.raises(ProgramFileError) as refused:
        read_program(text.replace(written, instead), file_name="changed.toml")

    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    ("program_id", "rule"),
    [
        ("connectedsolutions-ct", "per_kw_season_average"),
        ("dsgs-3", "per_kw_month_weighted"),
        ("tesla-electric-tx", "fixed_credit"),
    ],
)
def test_a_cap_in_kilowatt_hours_is_refused_where_none_are_paid(program_id: str, rule: str) -> None:
    text = (PROGRAMS / f"{program_id}.toml").read_text(encoding="utf-8")
    cap = 'cap_kwh = { value = 3.0, source = "decided: a test" }\n'
    before, share, after = text.partition("owner_share = ")

    with pytest.raises(ProgramFileError) as refused:
        read_program(before + cap + share + after, file_name="changed.toml")

    assert str(refused.value) == (
        f"changed.toml:{before.count(chr(10)) + 1}: cap_kwh is not used by {rule}, which pays for no kWh; "
        "cap the money with cap_amount"
    )


def test_a_home_in_australia_is_asked_for_fifty_cycles_a_year() -> None:
    text = (PROGRAMS / "tesla-energy-plan-au.toml").read_text(encoding="utf-8")

    assert [terms.cap_cycles for terms in read_program(text, file_name="au.toml").editions] == [50]
    assert (
        read_program(text.replace("cap_cycles", "# cap_cycles"), file_name="au.toml").editions[0].cap_cycles
        is None
    )


def test_a_credit_is_paid_in_parts_of_a_year_only() -> None:
    text = (PROGRAMS / "tesla-energy-plan-au.toml").read_text(encoding="utf-8")
    changed = text.replace('credit_every = { value = "year"', 'credit_every = { value = "month"')

    with pytest.raises(ProgramFileError, match='credit_paid_every is only used where credit_every is "year"'):
        read_program(changed, file_name="au.toml")


@pytest.mark.parametrize("value", ["0", "50.5", '"many"'])
def test_a_cap_on_cycles_is_a_whole_number(value: str) -> None:
    text = (PROGRAMS / "tesla-energy-plan-au.toml").read_text(encoding="utf-8")
    changed = text.replace("cap_cycles = { value = 50", "cap_cycles = { value = " + value)
    line = text[: text.index("cap_cycles")].count(chr(10)) + 1

    with pytest.raises(ProgramFileError) as refused:
        read_program(changed, file_name="au.toml")

    assert str(refused.value).startswith(f"au.toml:{line}: cap_cycles is ")
    assert str(refused.value).endswith(
        "write whole full cycles that a home is asked for in a calendar year, such as 50"
    )
