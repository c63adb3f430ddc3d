"""How figures are taken: interleaved rounds in one process, medians, and ratios rather than seconds."""

import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version

ROUNDS = 5
_most: list[int] = []  # set once, before a benchmark is imported


def measure_at_most(homes: int) -> None:
    """Let no benchmark that is imported from now on measure more homes: a short form of all of them."""
    _most[:] = [homes]


def at_most(homes: int) -> int:
    """Return a number of homes to measure, or the most that may be."""
    return min([homes, *_most])


def often(times: int) -> int:
    """Return how often to measure; twice is enough for the short form."""
    return min(times, 2) if _most else times


def sizes_up_to_most(*sizes: int) -> tuple[int, ...]:
    """Return the sizes to measure; the smallest one always."""
    return tuple(size for size in sizes if size == min(sizes) or size <= at_most(max(sizes)))


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a report: a name, the median, its unit, and what it was measured beside."""

    name: str
    value: float
    unit: str
    beside: str = ""
    ratio: float | None = None

    def line(self) -> str:
        """Return the figure as one line of text."""
        text = f"  {self.name:<58} {self.value:>12,.3f} {self.unit}"
        return text if self.ratio is None else f"{text:<90} {self.ratio:.2f} x {self.beside}"

    def as_json(self) -> dict[str, object]:
        """Return the figure as one JSON object."""
        return {
            "name": self.name,
            "value": round(self.value, 6),
            "unit": self.unit,
            "beside": self.beside,
            "ratio": self.ratio,
        }


def medians(calls: Mapping[str, Callable[[], object]], *, rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median seconds of each call, taken in turns so that a busy minute meets all of them."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for name in calls:
        calls[name]()  # the first run pays for caches and is not counted
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in taken.items()}


async def medians_awaited(
    calls: Mapping[str, Callable[[], Awaitable[object]]], *, rounds: int = ROUNDS
) -> dict[str, float]:
    """Return the median seconds of each awaited call, taken in turns as in ``medians``."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            await call()
            if number:  # the first run pays for caches and is not counted
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in taken.items()}


def machine() -> dict[str, str]:
    """Return what the figures were taken on, without naming the machine."""
    packages = ("numpy", "aiomqtt", "joserfc", "cryptography", "sqlalchemy")
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        **{name: version(name) for name in packages},
    }
