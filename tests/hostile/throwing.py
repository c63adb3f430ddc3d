"""Throws spoiled inputs at parsers and counts what becomes of them."""

import resource
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.hostile.parsers import Parser, unstorable
from tests.hostile.spoiling import spoil

WARM_SHARE = 4  # after a quarter of the inputs every cache is full that will be


@dataclass(slots=True)
class Outcome:
    """What became of the inputs that one parser got."""

    name: str
    taken: int = 0
    refused: int = 0
    slowest_ms: float = 0.0
    uncaught: list[str] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        """Return how many there were."""
        return self.taken + self.refused + len(self.uncaught)


@dataclass(frozen=True, slots=True)
class Thrown:
    """What became of all inputs, and by how much the process grew after its caches were full, in MB."""

    outcomes: tuple[Outcome, ...]
    grown_mb: float

    @property
    def inputs(self) -> int:
        """Return how many there were."""
        return sum(each.inputs for each in self.outcomes)

    @property
    def uncaught(self) -> list[str]:
        """Return every input that was answered otherwise than by its refusals, with what happened."""
        return [f"{outcome.name}: {said}" for outcome in self.outcomes for said in outcome.uncaught]


def throw(parsers: Sequence[Parser], inputs: int, *, seed: int) -> Thrown:
    """Throw at least so many inputs, dealt out by the parsers' shares."""
    outcomes = {parser.name: Outcome(parser.name) for parser in parsers}
    random = Random(seed)
    warm_kb = 0
    for number, parser in enumerate(_turns(parsers, inputs)):
        _throw_one(parser, spoil(random, parser.samples), outcomes[parser.name])
        if number == inputs // WARM_SHARE:
            warm_kb = _peak_kb()
    return Thrown(tuple(outcomes.values()), (_peak_kb() - warm_kb) / 1024)


def _turns(parsers: Sequence[Parser], inputs: int) -> Iterator[Parser]:
    """Yield parsers by turns: in each turn every one as often as its share."""
    turn = [parser for parser in parsers for _ in range(parser.share)]
    for _ in range(-(-inputs // len(turn))):
        yield from turn


def _throw_one(parser: Parser, content: bytes, outcome: Outcome) -> None:
    began = time.perf_counter()
    try:
        read = parser.read(content)
    except parser.refusals:
        outcome.refused += 1
    except Exception as failure:  # noqa: BLE001  # whatever else comes out is what is looked for
        where = traceback.extract_tb(failure.__traceback__)[-1]
        outcome.uncaught.append(f"{failure!r} at {where.name}:{where.lineno} for {content!r}")
    else:
        outcome.taken += 1
        odd = unstorable(read) if parser.stored else None
        if odd is not None:
            outcome.uncaught.append(f"took {odd}, which no database stores, for {content!r}")
    outcome.slowest_ms = max(outcome.slowest_ms, (time.perf_counter() - began) * 1_000)


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
