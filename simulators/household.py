"""Homes from a seed: who lives where, with which battery, and what load and sun each has at any minute.

A ``Neighbourhood`` is columns over its homes. The same seed gives the same homes, and the first hundred
of two hundred homes are those of a neighbourhood of one hundred. Load and sun never leave the house: the
product sees only the battery.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from vpp.domain.quantities import BoolColumn, IntColumn, column, flags
from vpp.settings import Settings, load_programs

SLOT_S = 300  # load and sun are constant for five minutes
SLOTS_PER_DAY = 86_400 // SLOT_S
NO_EXPORT_LIMIT = 1_000_000
CALIFORNIA = ZoneInfo("America/Los_Angeles")

_LATITUDE = np.radians(37.0)
_COUNTIES = {
    "pge": (
        "alameda",
        "contra-costa",
        "fresno",
        "marin",
        "san-joaquin",
        "san-mateo",
        "santa-clara",
        "sonoma",
    ),
    "sce": ("los-angeles", "orange", "riverside", "san-bernardino", "ventura"),
    "sdge": ("san-diego", "orange-south"),
}
_FEEDERS_PER_COUNTY = 6
_DRAWN = ("model", "age", "reserve", "export", "share", "sun", "base", "evening", "air")


@dataclass(frozen=True, slots=True)
class Model:
    """A kind of installation: energy of the new packs, what the inverters give and take, how common.

    ``meter_accuracy_permille`` is its meter's class.
    """

    full_energy_wh: int
    max_discharge_w: int
    max_charge_w: int
    weight: float
    meter_accuracy_permille: int
    sold_from: int = 2016  # year


MODELS = (
    Model(13_500, 5_000, 5_000, 0.36, 20),  # one Powerwall 2
    Model(27_000, 10_000, 10_000, 0.26, 20),  # two
    Model(40_500, 15_000, 15_000, 0.06, 20),  # three
    Model(13_500, 11_500, 5_000, 0.22, 5, sold_from=2024),  # one Powerwall 3
    Model(27_000, 11_500, 5_000, 0.10, 5, sold_from=2024),  # one Powerwall 3 with an expansion pack
)


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return a random generator of its own for a named purpose, the same for the same seed and names."""
    words = [zlib.crc32(name.encode()) if isinstance(name, str) else name for name in names]
    return np.random.default_rng([seed, *words])


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Homes as columns of equal length: what an enrolment file says of them, and how they live."""

    seed: int
    site_id: tuple[str, ...]
    owner_id: tuple[str, ...]
    program_id: tuple[str, ...]
    utility: tuple[str, ...]
    county: tuple[str, ...]
    feeder: tuple[str, ...]
    full_energy_wh: IntColumn
    max_discharge_w: IntColumn
    max_charge_w: IntColumn
    meter_accuracy_permille: IntColumn
    vpp_reserve_permille: IntColumn
    home_reserve_permille: IntColumn
    export_limit_w: IntColumn  # zero never exports
    share_pct: IntColumn  # of the evening load that the battery serves of its own accord
    sun_peak_w: IntColumn
    base_load_w: IntColumn
    evening_load_w: IntColumn
    reachable: BoolColumn  # False: the gateway is off the air for the whole story

    def __len__(self) -> int:
        return len(self.site_id)


def neighbourhood(count: int, seed: int, *, programs: Sequence[str], year: int) -> Neighbourhood:
    """Return homes of the given programs, in turn; a home's utility is its program's.

    Args:
        count: How many homes.
        seed: The same seed gives the same homes.
        programs: Program ids such as ``elrp-a4-pge``.
        year: Nothing is installed that was not yet sold then.
    """
    program_id = tuple(programs[row % len(programs)] for row in range(count))
    utility = tuple(_utility(program) for program in program_id)
    county = tuple(_county(seed, row, utility[row]) for row in range(count))
    draw = {name: generator(seed, name).random(count) for name in _DRAWN}
    sold = [model for model in MODELS if model.sold_from <= year]
    edges = np.cumsum([model.weight for model in sold]) / sum(model.weight for model in sold)
    kind = np.minimum(np.searchsorted(edges, draw["model"], side="right"), len(sold) - 1)
    new_wh = np.array([model.full_energy_wh for model in sold])[kind]
    full_energy_wh = (new_wh * (0.93 + 0.06 * draw["age"])).astype(np.int64)
    packs = np.maximum(1, new_wh // 13_500)
    reserve = np.select(
        [draw["reserve"] < 0.72, draw["reserve"] < 0.84, draw["reserve"] < 0.94], [200, 100, 300], 500
    )
    return Neighbourhood(
        seed=seed,
        site_id=tuple(_name(seed, "s", row) for row in range(count)),
        # Every fortieth owner has a second home, so that an owner is not the same thing as a site.
        owner_id=tuple(_name(seed, "o", row - 1 if row % 40 == 39 else row) for row in range(count)),
        program_id=program_id,
        utility=utility,
        county=county,
        feeder=tuple(_feeder(seed, row, county[row]) for row in range(count)),
        full_energy_wh=column(full_energy_wh),
        max_discharge_w=column(np.array([model.max_discharge_w for model in sold])[kind]),
        max_charge_w=column(np.array([model.max_charge_w for model in sold])[kind]),
        meter_accuracy_permille=column(np.array([model.meter_accuracy_permille for model in sold])[kind]),
        vpp_reserve_permille=column(np.where(reserve == 100, 200, reserve)),
        home_reserve_permille=column(reserve),
        export_limit_w=column(
            np.select([draw["export"] < 0.02, draw["export"] < 0.12], [0, 5_000], NO_EXPORT_LIMIT)
        ),
        share_pct=column(np.select([draw["share"] < 0.08, draw["share"] < 0.55], [0, 35], 80)),
        sun_peak_w=column(1_300 + packs * (450 + 2_300 * draw["sun"])),
        base_load_w=column(180 + 420 * draw["base"]),
        evening_load_w=column(500 + 2_200 * draw["evening"]),
        reachable=flags(draw["air"] >= 0.02),
    )


def _name(seed: int, prefix: str, row: int) -> str:
    return f"{prefix}-{generator(seed, prefix, row).bytes(5).hex()}"


@cache
def _utility(program_id: str) -> str:
    """Return the utility that the shipped program file names, else the last word of the id."""
    shipped = load_programs(Settings()).get(program_id)
    return shipped.utility if shipped is not None else program_id.rsplit("-", 1)[-1]


def _county(seed: int, row: int, utility: str) -> str:
    known = _COUNTIES.get(utility, _COUNTIES["pge"])
    return known[int(generator(seed, "county", row).integers(len(known)))]


def _feeder(seed: int, row: int, county: str) -> str:
    return f"{county}-{int(generator(seed, 'feeder', row).integers(_FEEDERS_PER_COUNTY)) + 1:02d}"


class Surroundings:
    """Load and sun of every home of a neighbourhood, day by day, from its seed."""

    def __init__(self, homes: Neighbourhood) -> None:
        self._homes = homes
        self._net_load_of = lru_cache(maxsize=3)(self._make_day)

    def net_load_w(self, day: date) -> IntColumn:
        """Return load minus sun in watts, one row per home, one column per five minutes of the UTC day."""
        return self._net_load_of(day)

    def net_load_at(self, row: int, at_s: int) -> int:
        """Return one home's load minus sun at an instant."""
        day, second = divmod(at_s, 86_400)
        return int(self._net_load_of(_utc_day(day))[row, second // SLOT_S])

    def _make_day(self, day: date) -> IntColumn:
        homes, hour, offset = self._homes, _local_hours(day), _homes_apart(self._homes)
        flickers = generator(homes.seed, "flicker", day.toordinal())
        clouds = generator(homes.seed, "clouds", day.toordinal())
        weather = generator(homes.seed, "weather", day.toordinal())
        heat = float(weather.uniform(0.75, 1.35))
        clear = float(weather.choice([1.0, 0.93, 0.7, 0.35], p=[0.6, 0.25, 0.1, 0.05]))
        shape = (len(homes), SLOTS_PER_DAY)
        flicker = 0.75 + 0.5 * flickers.random(shape, dtype=np.float32)
        cloud = clear * (0.85 + 0.15 * clouds.random(shape, dtype=np.float32))
        weekend = _local_day(day).weekday() >= 5
        sun = homes.sun_peak_w[:, None] * _sun_height(day, hour)[None, :] * cloud
        load = homes.base_load_w[:, None] + homes.evening_load_w[:, None] * _habit(
            hour, offset, weekend, heat
        )
        net: IntColumn = np.rint(load * flicker - sun).astype(np.int64)
        net.flags.writeable = False
        return net


@lru_cache(maxsize=64)
def _utc_day(days_since_1970: int) -> date:
    return date(1970, 1, 1) + timedelta(days=days_since_1970)


def _local_day(day: date) -> date:
    """Return the Californian day on whose afternoon most of a UTC day falls."""
    return datetime(day.year, day.month, day.day, 20, tzinfo=UTC).astimezone(CALIFORNIA).date()


def _local_hours(day: date) -> NDArray[np.float64]:
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    local = [
        (midnight + timedelta(seconds=SLOT_S * slot)).astimezone(CALIFORNIA) for slot in range(SLOTS_PER_DAY)
    ]
    return np.array([at.hour + at.minute / 60 for at in local])


def _homes_apart(homes: Neighbourhood) -> NDArray[np.float64]:
    """Return by how many hours each home's day is shifted: not everyone cooks at seven."""
    return generator(homes.seed, "habit").normal(0.0, 0.8, len(homes))


def _habit(
    hour: NDArray[np.float64], offset: NDArray[np.float64], weekend: bool, heat: float
) -> NDArray[np.float64]:
    """Return what part of its evening load each home uses at each hour."""
    local = hour[None, :] - offset[:, None]
    morning = 0.45 * np.exp(-(((local - 7.5) / 1.2) ** 2))
    midday = (0.35 if weekend else 0.12) * np.exp(-(((local - 13.0) / 3.0) ** 2))
    cooling = 0.5 * heat * np.exp(-(((local - 17.0) / 2.5) ** 2))
    evening = np.exp(-(((local - 19.6) / 1.9) ** 2)) * (0.9 if weekend else 1.0)
    return np.asarray(morning + midday + cooling + evening)


def _sun_height(day: date, hour: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sine of the sun's height, zero at night; clocks stand an hour ahead of the sun."""
    tilt = np.radians(-23.44) * np.cos(2 * np.pi * (day.timetuple().tm_yday + 10) / 365.25)
    angle = np.radians(15 * (hour - 13.1))
    return np.asarray(
        np.maximum(0.0, np.sin(_LATITUDE) * np.sin(tilt) + np.cos(_LATITUDE) * np.cos(tilt) * np.cos(angle))
    )
