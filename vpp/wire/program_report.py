"""Reports of an event for the program: hours and sites as CSV, and an OpenADR 3.1 report object.

``hours.csv``: ``program_id, event_id, hour_starts_at`` (RFC 3339, UTC), ``hour_ending`` (1 to 24, local),
``nominated_wh`` (the month's nominated power over the event's part of that hour; empty where nothing was
nominated), ``asked_wh`` (what the grid asked in that hour; empty where it asked for all there is), ``sites,
counted`` (those with energy and a baseline, which alone are summed), ``metered_wh, baseline_wh,
incremental_wh`` (of the part of the hour that counts; exact, as a decimal, or where that has no end as a
fraction such as ``37/3``), ``paid_wh`` (what of it has a price, after the rule for hours below the baseline
and any cap in kWh; exact), ``receivable_usd`` (what the program owes for it, in ``currency``, to the
micro-dollar), ``currency``, ``quality``. Each column of energy and money sums over the event's rows: that of
``receivable_usd`` is the event's ``program_receivable`` in the books. Each home's debt was rounded once, to
the micro-dollar, after bonus, cap and minimum, and lies on its hours by what they add to it. Where a month, a
season or a year is paid, an event owes nothing by itself.

The OpenADR object speaks of consumption in kWh, so that a battery's baseline and what it delivered beyond
it are negative: ``BASELINE``, ``DELTA_USAGE``, ``DATA_QUALITY`` for each hour, over all sites; and where the
controller knew it, what the batteries held as the hour began: ``STORAGE_USABLE_CAPACITY`` (kWh when full),
``STORAGE_CHARGE_LEVEL`` (a part of it, 0 to 1), ``STORAGE_MAX_DISCHARGE_POWER`` (kW). Energies are not
rounded, so that they sum to what ``hours.csv`` does.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from vpp.domain.program import MeterOfRecord
from vpp.domain.program_report import HourTotal, StorageTotal
from vpp.wire.strict_json import time_text
from vpp.wire.table import harmless, write_table

HOURS = (
    "program_id", "event_id", "hour_starts_at", "hour_ending", "nominated_wh", "asked_wh", "sites", "counted",
    "metered_wh", "baseline_wh", "incremental_wh", "paid_wh", "receivable_usd", "currency", "quality",
)  # fmt: skip
CLIENT_NAME = "vpp"
PLACES = 12

Json = dict[str, object]


def write_hours_csv(
    program_id: str,
    event_id: str,
    totals: Iterable[HourTotal],
    zone: ZoneInfo,
    *,
    currency: str,
    nominated_wh: Mapping[datetime, Fraction],
    asked_wh: Mapping[datetime, Fraction | None],
) -> bytes:
    """Return ``hours.csv``. Nominated and asked energy is by the start of the hour, None without a bound."""
    return write_table(
        HOURS,
        (
            (
                harmless(program_id),
                harmless(event_id),
                time_text(each.hour.starts_at),
                str(each.hour.starts_at.astimezone(zone).hour + 1),
                _or_empty(nominated_wh.get(each.hour.starts_at)),
                _or_empty(asked_wh.get(each.hour.starts_at)),
                str(each.sites),
                str(each.counted),
                str(each.metered_wh),
                _exact(each.baseline_wh),
                _exact(each.incremental_wh),
                _exact(each.paid_wh),
                f"{Decimal(each.receivable) / 1_000_000:.6f}",
                currency,
                each.quality.value,
            )
            for each in totals
        ),
    )


def _or_empty(energy_wh: Fraction | None) -> str:
    return "" if energy_wh is None else _exact(energy_wh)


def _exact(energy_wh: Fraction) -> str:
    """Return a decimal with all its digits, or a fraction where they do not end within twelve."""
    scaled = energy_wh * 10**PLACES
    if scaled.denominator != 1:
        return str(energy_wh)
    return f"{Decimal(scaled.numerator).scaleb(-PLACES).normalize():f}"


def openadr_report(
    program_id: str,
    event_id: str,
    totals: Sequence[HourTotal],
    meter: MeterOfRecord,
    *,
    storage: Sequence[StorageTotal | None],
    created_at: datetime,
) -> Json:
    """Return the report object that a VEN posts to ``/reports``, energies in kWh.

    ``storage`` is what the batteries held as each of the hours began, None where that is not known.
    """
    described, energies = {"objectType": "REPORT_PAYLOAD_DESCRIPTOR"}, ("BASELINE", "DELTA_USAGE")
    return {
        "objectType": "REPORT",
        "programID": program_id,
        "eventID": event_id,
        "clientName": CLIENT_NAME,
        "reportName": f"settlement {event_id} {time_text(created_at)}",
        "payloadDescriptors": [
            *(
                {**described, "payloadType": name, "units": "KWH", "readingType": "SUMMED"}
                for name in energies
            ),
            {**described, "payloadType": "DATA_QUALITY"},
            *({**described, **each} for each in (_STORAGE if any(storage) else ())),
        ],
        "resources": [
            {
                "resourceName": "AGGREGATED_REPORT",
                "intervals": [
                    _interval(number, each, meter, held)
                    for number, (each, held) in enumerate(zip(totals, storage, strict=True))
                ],
            }
        ],
    }


_STORAGE: Sequence[Json] = (
    {"payloadType": "STORAGE_USABLE_CAPACITY", "units": "KWH", "readingType": "SUMMED"},
    {"payloadType": "STORAGE_CHARGE_LEVEL", "units": "PERCENT", "readingType": "MEAN"},
    {"payloadType": "STORAGE_MAX_DISCHARGE_POWER", "units": "KW", "readingType": "SUMMED"},
)


def _interval(number: int, total: HourTotal, meter: MeterOfRecord, held: StorageTotal | None) -> Json:
    # A grid meter's baseline is consumption already; a battery's is discharge.
    baseline_wh = total.baseline_wh if meter is MeterOfRecord.SITE else -total.baseline_wh
    return {
        "id": number,
        "intervalPeriod": {"start": time_text(total.hour.starts_at), "duration": "PT1H"},
        "payloads": [
            {"type": "BASELINE", "values": [_kilowatt_hours(baseline_wh)]},
            {"type": "DELTA_USAGE", "values": [_kilowatt_hours(-total.incremental_wh)]},
            {"type": "DATA_QUALITY", "values": [total.quality.value]},
            *(_held(held) if held else ()),
        ],
    }


def _held(storage: StorageTotal) -> tuple[Json, ...]:
    """Return the payloads of storage; PERCENT is a part of one in OpenADR 3.1."""
    level = Decimal(storage.stored_wh * 1000 // storage.usable_wh) / 1000
    return (
        {"type": "STORAGE_USABLE_CAPACITY", "values": [_kilowatt_hours(Fraction(storage.usable_wh))]},
        {"type": "STORAGE_CHARGE_LEVEL", "values": [float(level)]},
        {"type": "STORAGE_MAX_DISCHARGE_POWER", "values": [float(Decimal(storage.max_discharge_w) / 1000)]},
    )


def _kilowatt_hours(energy_wh: Fraction) -> float:
    """Return kWh for a wire that carries JSON numbers; money never comes from it."""
    return float(energy_wh / 1000)
