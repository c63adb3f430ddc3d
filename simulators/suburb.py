"""The homes of simulated histories, made once: who they are, their weeks before, and their past evenings.

Making three weeks of twenty-odd homes costs as much as simulating an hour, so a few suburbs are shared
by all seeds; what the batteries hold at the beginning is drawn anew in each.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np

from simulators.history import History, live_through
from simulators.household import Neighbourhood, Surroundings, neighbourhood
from vpp.domain.delivery import MeterMessage, MeterReading, Quality
from vpp.domain.enrollment import Consent, EnrollmentRequest
from vpp.domain.interval import from_epoch
from vpp.domain.quantities import Permille, WattHours, Watts
from vpp.wire.signed import SigningKey

BEGINS = datetime(2026, 9, 10, 0, 50, tzinfo=UTC)  # 17:50 in California on 9 September
PROGRAMS = ("elrp-a4-pge", "elrp-a4-sce")
SUBURBS = 3
DAYS_BEFORE = 18
_EVENING_HOURS = range(6)  # of the UTC day: 17:00 to 22:00 in California


@dataclass(frozen=True, slots=True)
class Suburb:
    """Homes with their past. ``messages`` holds the readings of the evenings before, for baselines."""

    homes: Neighbourhood
    surroundings: Surroundings
    history: History
    keys: tuple[SigningKey, ...]
    requests: tuple[EnrollmentRequest, ...]
    messages: tuple[MeterMessage, ...]


@lru_cache(maxsize=SUBURBS)
def suburb(number: int, sites: int) -> Suburb:
    """Return one of the suburbs: half of its homes in one program, half in the other."""
    homes = neighbourhood(sites, 7_000 + number, programs=PROGRAMS, year=2026)
    surroundings = Surroundings(homes)
    history = live_through(
        homes, surroundings, starts_at=BEGINS - timedelta(days=DAYS_BEFORE), ends_at=BEGINS
    )
    keys = tuple(SigningKey(bytes([number]) + row.to_bytes(2, "big") + bytes(29)) for row in range(sites))
    requests = tuple(_request(homes, row, keys[row]) for row in range(sites))
    messages = tuple(_evenings(homes, history, row) for row in range(sites))
    return Suburb(homes, surroundings, history, keys, requests, messages)


def _request(homes: Neighbourhood, row: int, key: SigningKey) -> EnrollmentRequest:
    return EnrollmentRequest(
        site_id=homes.site_id[row],
        owner_id=homes.owner_id[row],
        program_id=homes.program_id[row],
        utility=homes.utility[row],
        county=homes.county[row],
        feeder=homes.feeder[row],
        full_energy_wh=WattHours(int(homes.full_energy_wh[row])),
        max_discharge_w=Watts(int(homes.max_discharge_w[row])),
        reserve_permille=Permille(int(homes.vpp_reserve_permille[row])),
        gateway_public_key=key.verifying_key.raw,
        consent=Consent("2026-05", BEGINS - timedelta(days=DAYS_BEFORE + 30)),
        meter_accuracy_permille=Permille(int(homes.meter_accuracy_permille[row])),
    )


def _evenings(homes: Neighbourhood, history: History, row: int) -> MeterMessage:
    boot_id = f"{row:032x}"
    evening = [
        place for place, at_s in enumerate(history.read_at_s.tolist()) if at_s // 3600 % 24 in _EVENING_HOURS
    ]
    readings = tuple(
        MeterReading(
            site_id=homes.site_id[row],
            boot_id=boot_id,
            index=index,
            at=from_epoch(int(history.read_at_s[place])),
            discharged_wh=WattHours(int(history.discharged_wh[place, row])),
            charged_wh=WattHours(int(history.charged_wh[place, row])),
            soc_permille=None,
            quality=Quality.OK,
        )
        for index, place in enumerate(np.array(evening).tolist(), start=1)
    )
    return MeterMessage(homes.site_id[row], boot_id, 1, readings)
