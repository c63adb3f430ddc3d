"""Program files: TOML text in, a ``Program`` out, or the line that is wrong and what to write there.

Knows the shape of the file and that each number stands beside its source. Refuses to know where files
lie; settings do.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import date, time
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from vpp.domain.baseline import METHODS
from vpp.domain.program import (
    MeterOfRecord,
    NegativePolicy,
    Period,
    Program,
    Tariff,
    TariffRule,
    Terms,
)
from vpp.domain.quantities import Price

_HEADER = re.compile(r"\s*\[\[?\s*([A-Za-z0-9_.\- ]+?)\s*\]\]?")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")
_TOML_LINE = re.compile(r"\(at line ([0-9]+)")

ValueT = TypeVar("ValueT")


class ProgramFileError(ValueError):
    """A program file cannot be used; the text names file, line and what to write instead."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Sourced(_Strict, Generic[ValueT]):
    """A value of the terms and where it is written, or why it was decided."""

    value: ValueT
    source: str = Field(min_length=8, description="where the value is written, such as a URL")


_ObjectId = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
_MonthDay = Annotated[str, Field(pattern=r"^(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$")]
_Hours = Annotated[int, Field(ge=1, le=8784)]


def _exactly(value: object) -> object:
    """Return a whole number as the decimal it is: 2 is 2.00."""
    return Decimal(value) if type(value) is int else value


_Decimal = Annotated[Decimal, Field(decimal_places=40), BeforeValidator(_exactly)]
_Rate = Annotated[_Decimal, Field(gt=0, le=10_000)]
_Month = Annotated[str, Field(pattern=r"^(0[1-9]|1[0-2])$")]


class _Edition(_Strict):
    effective_from: date = Field(description="the first event date, such as 2024-01-01")
    effective_to: date | None = Field(
        default=None, description="the first event date no longer covered, such as 2028-01-01"
    )
    season_first: _Sourced[_MonthDay] = Field(description='month and day, such as "05-01"')
    season_last: _Sourced[_MonthDay] = Field(description='month and day, such as "10-31"')
    window_opens: _Sourced[time] = Field(description="a local time, such as 16:00:00")
    window_closes: _Sourced[time] = Field(description="a local time, such as 21:00:00")
    event_min_h: _Sourced[_Hours] = Field(description="whole hours, such as 1")
    event_max_h: _Sourced[_Hours] = Field(description="whole hours, such as 3")
    season_cap_h: _Sourced[_Hours] = Field(description="whole hours, such as 60")
    season_minimum_h: _Sourced[Annotated[int, Field(ge=0, le=8784)]] = Field(
        description="whole hours, such as 20"
    )
    tariff: _Sourced[Annotated[TariffRule, Field(strict=False)]] | None = Field(
        default=None, description=f"one of {', '.join(TariffRule)}"
    )
    rate_usd_per_kwh: _Sourced[_Rate] | None = Field(
        default=None, description="dollars with decimals, such as 2.00"
    )
    rate_per_kw_season: _Sourced[_Rate] | None = Field(
        default=None, description="money with decimals, such as 225.00"
    )
    rate_per_kw_month: _Sourced[dict[_Month, _Rate]] | None = Field(
        default=None, description='money by month, such as { "07" = 13.10, "08" = 14.04 }'
    )
    credit_per_powerwall: _Sourced[_Rate] | None = Field(
        default=None, description="money with decimals, such as 10.00"
    )
    credit_every: _Sourced[Literal["month", "year"]] | None = Field(
        default=None, description='"month" or "year"'
    )
    credit_paid_every: _Sourced[Literal["month"]] | None = Field(
        default=None, description='"month", where the credit of a year is paid in twelve parts'
    )
    bonus_multiplier: _Sourced[Annotated[_Decimal, Field(ge=1, le=10)]] | None = Field(
        default=None, description="a factor with decimals from 1.00 to 10.00"
    )
    cap_kwh: _Sourced[_Rate] | None = Field(
        default=None, description="kWh of one site and event, with decimals, where kWh are paid"
    )
    cap_amount: _Sourced[_Rate] | None = Field(
        default=None, description="money of one owner's site and period, with decimals"
    )
    cap_cycles: _Sourced[Annotated[int, Field(ge=1, le=8784)]] | None = Field(
        default=None, description="whole full cycles that a home is asked for in a calendar year, such as 50"
    )
    minimum_amount: _Sourced[_Rate] | None = Field(
        default=None, description="money of one owner's site and period, with decimals"
    )
    owner_share: _Sourced[Annotated[_Decimal, Field(gt=0, le=1)]] = Field(
        description="a share with decimals above 0 and up to 1.00"
    )
    meter: _Sourced[Annotated[MeterOfRecord, Field(strict=False)]] = Field(description='"device" or "site"')
    baseline_method: _Sourced[str] = Field(description=f"one of {', '.join(sorted(METHODS))}")
    negative_policy: _Sourced[Annotated[NegativePolicy, Field(strict=False)]] = Field(
        description=f"one of {', '.join(NegativePolicy)}"
    )
    holidays: _Sourced[Literal["NERC", "none"]] = Field(description='"NERC" or "none"')
    also_enrolled: _Sourced[list[_ObjectId]] | None = Field(
        default=None, description='programs that a home may be in as well, such as ["ac-saver"]'
    )
    also_enrolled_sub_metered: _Sourced[list[_ObjectId]] | None = Field(
        default=None,
        description='programs that a home may be in as well where meter is "device", such as ["sdp"]',
    )
    ends_others: _Sourced[list[_ObjectId]] | None = Field(
        default=None, description='programs that a home leaves by joining this one, such as ["psr"]'
    )


class _ProgramFile(_Strict):
    program_id: _ObjectId = Field(description="1 to 128 of a-z, A-Z, 0-9, _ and -")
    name: str = Field(min_length=1, max_length=128, description="the program's name in 1 to 128 characters")
    utility: _ObjectId = Field(description='the utility as sites name it, such as "pge"')
    groups: list[_ObjectId] = Field(description='words a signal may target, such as ["a4"]')
    currency: Literal["USD", "AUD"] = Field(default="USD", description='"USD" or "AUD"')
    time_zone: str = Field(description='a zone of the tz database, such as "America/Los_Angeles"')
    close_after_days: _Sourced[Annotated[int, Field(ge=1, le=366)]] = Field(
        description="whole days, such as 8"
    )
    edition: list[_Edition] = Field(min_length=1, description="at least one [[edition]] table")


def read_program(text: str, *, file_name: str) -> Program:
    """Return the program that a file's text describes, its editions in order of time.

    Raises:
        ProgramFileError: Not TOML, an unknown or missing key, a value that cannot be used, or editions
            that overlap. The first such line is named as ``file:line``.
    """
    try:
        # A float of TOML becomes a decimal at once: no rate passes through binary.
        members = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        found = _TOML_LINE.search(str(error))
        raise ProgramFileError(f"{file_name}:{found[1] if found else 1}: not TOML: {error}") from error
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise ProgramFileError(f"{file_name}:1: holds a number or a nesting beyond all measure") from error
    try:
        file = _ProgramFile.model_validate(members)
    except ValidationError as error:
        # A misspelt key is also a missing one; the misspelling is what its author can find.
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        raise ProgramFileError(_explain(first, text, file_name)) from error
    for number, (earlier, later) in enumerate(pairwise(file.edition), start=1):
        if earlier.effective_to is None or later.effective_from < earlier.effective_to:
            line = _line_of(("edition", number, "effective_from"), text)
            raise ProgramFileError(
                f"{file_name}:{line}: effective_from {later.effective_from} lies inside the edition before; "
                f"end that one with effective_to = {later.effective_from} or earlier"
            )
    return Program(
        program_id=file.program_id,
        name=file.name,
        utility=file.utility,
        groups=tuple(group.lower() for group in file.groups),
        zone=_zone(file.time_zone, text, file_name),
        close_after_days=file.close_after_days.value,
        editions=tuple(
            _terms(edition, number, text, file_name) for number, edition in enumerate(file.edition)
        ),
        currency=file.currency,
        text=text,
    )


def _terms(edition: _Edition, number: int, text: str, file_name: str) -> Terms:
    def refuse(key: str, problem: str) -> ProgramFileError:
        return ProgramFileError(f"{file_name}:{_line_of(('edition', number, key), text)}: {key} {problem}")

    if edition.effective_to is not None and edition.effective_to <= edition.effective_from:
        raise refuse("effective_to", f"{edition.effective_to} is not after {edition.effective_from}")
    if edition.event_max_h.value < edition.event_min_h.value:
        raise refuse("event_max_h", f"is under event_min_h, {edition.event_min_h.value}")
    if edition.baseline_method.value not in METHODS:
        raise refuse("baseline_method", f"is not known; write one of {', '.join(sorted(METHODS))}")
    tariff = _tariff(edition, refuse)
    days = {}
    for key, value in (("season_first", edition.season_first), ("season_last", edition.season_last)):
        month, day = (int(part) for part in value.value.split("-"))
        try:
            date(2023, month, day)  # a season's edge must exist in every year, so 29 February is none
        except ValueError as error:
            raise refuse(key, f'"{value.value}" is not a day of every year') from error
        days[key] = (month, day)
    return Terms(
        effective_from=edition.effective_from,
        effective_to=edition.effective_to,
        season_first=days["season_first"],
        season_last=days["season_last"],
        window_opens=edition.window_opens.value,
        window_closes=edition.window_closes.value,
        event_min_s=edition.event_min_h.value * 3600,
        event_max_s=edition.event_max_h.value * 3600,
        season_cap_s=edition.season_cap_h.value * 3600,
        season_minimum_s=edition.season_minimum_h.value * 3600,
        rate=Price(edition.rate_usd_per_kwh.value if edition.rate_usd_per_kwh else Decimal(0)),
        owner_share=edition.owner_share.value,
        meter=edition.meter.value,
        baseline_method=edition.baseline_method.value,
        negative_policy=edition.negative_policy.value,
        holidays=edition.holidays.value,
        tariff=tariff,
        cap_cycles=edition.cap_cycles.value if edition.cap_cycles else None,
        also_enrolled=_also_enrolled(edition),
        ends_others=tuple(word.lower() for word in _or(edition.ends_others, [])),
    )


def _also_enrolled(edition: _Edition) -> tuple[str, ...]:
    """Return what may stand beside a program; some of it only where sub-meters measure what is paid."""
    sub_metered = edition.meter.value is MeterOfRecord.DEVICE
    words = [
        *_or(edition.also_enrolled, []),
        *(_or(edition.also_enrolled_sub_metered, []) if sub_metered else ()),
    ]
    return tuple(word.lower() for word in words)


_RATE_OF: Mapping[TariffRule, tuple[str, ...]] = {
    TariffRule.PER_KWH_INCREMENTAL: ("rate_usd_per_kwh",),
    TariffRule.PER_KWH_DELIVERED: ("rate_usd_per_kwh",),
    TariffRule.PER_KW_SEASON_AVERAGE: ("rate_per_kw_season",),
    TariffRule.PER_KW_MONTH_WEIGHTED: ("rate_per_kw_month",),
    TariffRule.FIXED_CREDIT: ("credit_per_powerwall", "credit_every"),
}
"""The keys that each rule needs; those of other rules must be absent."""


def _tariff(edition: _Edition, refuse: Callable[[str, str], ProgramFileError]) -> Tariff:
    rule = edition.tariff.value if edition.tariff else TariffRule.PER_KWH_INCREMENTAL
    for key in sorted({key for keys in _RATE_OF.values() for key in keys}):
        if key in _RATE_OF[rule] and getattr(edition, key) is None:
            description = _Edition.model_fields[key].description
            raise refuse(key, f"is missing, {rule} needs it; write {description}")
        if key not in _RATE_OF[rule] and getattr(edition, key) is not None:
            raise refuse(key, f"is not used by {rule}; write {', '.join(_RATE_OF[rule])} alone")
    if rule is TariffRule.PER_KWH_DELIVERED and edition.baseline_method.value != "none":
        raise refuse("baseline_method", f'must be "none": {rule} pays all that is delivered')
    if edition.credit_paid_every is not None and (
        edition.credit_every is None or edition.credit_every.value != "year"
    ):
        raise refuse("credit_paid_every", 'is only used where credit_every is "year"; leave it out')
    if edition.cap_kwh is not None and "rate_usd_per_kwh" not in _RATE_OF[rule]:
        raise refuse(
            "cap_kwh", f"is not used by {rule}, which pays for no kWh; cap the money with cap_amount"
        )
    by_month = edition.rate_per_kw_month.value if edition.rate_per_kw_month else {}
    return Tariff(
        rule=rule,
        per_kw_season=_or(edition.rate_per_kw_season, Decimal(0)),
        per_kw_month=tuple((int(month), rate) for month, rate in sorted(by_month.items())),
        credit=_or(edition.credit_per_powerwall, Decimal(0)),
        credit_every=Period(_or(edition.credit_every, "month")),
        credit_paid_every=Period.MONTH if edition.credit_paid_every else None,
        bonus=_or(edition.bonus_multiplier, Decimal(1)),
        cap_kwh=edition.cap_kwh.value if edition.cap_kwh else None,
        cap_amount=edition.cap_amount.value if edition.cap_amount else None,
        minimum_amount=_or(edition.minimum_amount, Decimal(0)),
    )


def _or(sourced: _Sourced[ValueT] | None, otherwise: ValueT) -> ValueT:
    return otherwise if sourced is None else sourced.value


def _zone(name: str, text: str, file_name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        line = _line_of(("time_zone",), text)
        raise ProgramFileError(
            f"{file_name}:{line}: time_zone {name!r} is not in the tz database; "
            'write one such as "America/Los_Angeles"'
        ) from error


def _explain(error: ErrorDetails, text: str, file_name: str) -> str:
    """Return one error of pydantic in our words: file, line, what stands there, what to write."""
    where = error["loc"]
    line = _line_of(where, text)
    key = next((str(part) for part in reversed(where) if isinstance(part, str)), "")
    fields = _fields_at(where[:-1])
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(key, fields, n=1)
        instead = f"write {close[0]}" if close else f"known here are {', '.join(fields)}"
        return f"{file_name}:{line}: {key} is not a key of a program file; {instead}"
    description = _description(where)
    if error["type"] == "missing":
        return f"{file_name}:{line}: {key} is missing; write {description}"
    if where[-1] not in ("value", "source") and _is_sourced(where):
        return f'{file_name}:{line}: {key} needs {{ value = …, source = "…" }}; value is {description}'
    name = str(where[-2]) if where[-1] in ("value", "source") else key
    return f"{file_name}:{line}: {name} is {error['input']!r}; write {description}"


def _named(where: tuple[int | str, ...]) -> tuple[type[BaseModel], list[str]]:
    names = [part for part in where if isinstance(part, str)]
    if names[:1] == ["edition"] and len(names) > 1:
        return _Edition, names[1:]
    return _ProgramFile, names


def _description(where: tuple[int | str, ...]) -> str:
    model, names = _named(where)
    if names[-1] == "source":
        return 'where the value is written, such as "https://…"'
    field = model.model_fields.get(names[0])
    return (field.description if field is not None else None) or "another value"


def _is_sourced(where: tuple[int | str, ...]) -> bool:
    model, names = _named(where)
    field = model.model_fields.get(names[0])
    annotation: Any = field.annotation if field is not None else None
    kinds = get_args(annotation) or (annotation,)
    return any(isinstance(kind, type) and issubclass(kind, _Sourced) for kind in kinds)


def _fields_at(where: tuple[int | str, ...]) -> list[str]:
    if not where:
        return list(_ProgramFile.model_fields)
    return list(_Edition.model_fields) if isinstance(where[-1], int) else ["value", "source"]


def _line_of(where: tuple[int | str, ...], text: str) -> int:
    """Return the line, from 1, of the innermost key of a path that stands in the text."""
    wanted_table = f"{where[0]} {where[1]}" if len(where) > 1 and isinstance(where[1], int) else ""
    wanted_key = where[2] if wanted_table and len(where) > 2 else where[0] if not wanted_table else None
    table, editions, best = "", -1, 1
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header:
            editions += line.lstrip().startswith("[[")
            table = f"{header[1]} {editions}"
            if table == wanted_table:
                best = number
            continue
        key = _KEY.match(line)
        if key and table == wanted_table and key[1] == wanted_key:
            return number
    return best
