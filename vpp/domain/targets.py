"""Whom a grid operator names: its words, sorted by what they are the name of.

Knows no site: ``demands.py`` says which homes match.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Targets:
    """Whom an event names, by kind, in lower case. A site must match one word of every kind named.

    Interpretation: a word of no kind selects nobody, whatever stands beside it: a misspelt county must
    not become a dispatch of the whole utility.
    """

    utilities: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    counties: tuple[str, ...] = ()
    feeders: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def selects(self, *, utility: str, groups: Iterable[str], county: str, feeder: str) -> bool:
        """Return whether a site of that utility, program, county and feeder is meant."""
        return not self.unknown and all(
            not named or any(word.lower() in named for word in has)
            for named, has in (
                (self.utilities, (utility,)),
                (self.groups, groups),
                (self.counties, (county,)),
                (self.feeders, (feeder,)),
            )
        )


EVERYBODY = Targets(utilities=(), groups=(), counties=(), feeders=(), unknown=())
"""Whom an event names that names nobody in particular."""


def resolve_targets(
    targets: Sequence[str],
    *,
    utilities: Iterable[str],
    groups: Iterable[str],
    counties: Iterable[str],
    feeders: Iterable[str],
) -> Targets:
    """Return each target under the first kind that knows it, without regard to case.

    ``unknown`` keeps the words as they came, for the receipt.
    """
    if not targets:
        return EVERYBODY
    kinds = [{word.lower() for word in kind} for kind in (utilities, groups, counties, feeders)]
    found: list[list[str]] = [[], [], [], []]
    unknown = []
    for target in targets:
        word = target.lower()
        kind = next((number for number, words in enumerate(kinds) if word in words), None)
        if kind is None:
            unknown.append(target)
        elif word not in found[kind]:
            found[kind].append(word)
    return Targets(
        utilities=tuple(found[0]),
        groups=tuple(found[1]),
        counties=tuple(found[2]),
        feeders=tuple(found[3]),
        unknown=tuple(unknown),
    )
