"""What counts in a program, as its owners read it: by its meter, its rule, and what hours below it do."""

from typing import assert_never

from vpp.domain.program import MeterOfRecord, NegativePolicy, TariffRule, Terms
from vpp.entrypoints.language import Language

Counts = tuple[str, str | None, int | None]
"""The keys of two parts of a sentence: what counts, and what becomes of hours below the baseline; and how
many full cycles a home is asked for in a year at most."""


def what_counts(terms: Terms) -> Counts:
    """Return the keys and the number of the one sentence that says what counts under these terms."""
    return *_parts(terms), terms.cap_cycles


def _parts(terms: Terms) -> tuple[str, str | None]:
    rule, at_grid = terms.tariff.rule, terms.meter is MeterOfRecord.SITE
    match rule:
        case TariffRule.PER_KWH_INCREMENTAL:
            return ("counts.beyond_grid" if at_grid else "counts.beyond_battery"), _below(terms)
        case TariffRule.PER_KWH_DELIVERED:
            return ("counts.delivered_grid" if at_grid else "counts.delivered_battery"), None
        case TariffRule.PER_KW_SEASON_AVERAGE | TariffRule.PER_KW_MONTH_WEIGHTED:
            season = rule is TariffRule.PER_KW_SEASON_AVERAGE
            power = "counts.season_power" if season else "counts.month_power"
            return power, (None if terms.baseline_method == "none" else "counts.beyond_usual")
        case TariffRule.FIXED_CREDIT:
            return "counts.credit", None
        case _ as unreachable:
            assert_never(unreachable)


def _below(terms: Terms) -> str:
    match terms.negative_policy:
        case NegativePolicy.NET_EVENT_FLOOR_ZERO:
            return "counts.below_in_event"
        case NegativePolicy.CLAMP_INTERVAL:
            return "counts.below_is_nothing"
        case NegativePolicy.NET_SEASON_FLOOR_ZERO:
            return "counts.below_in_season"
        case _ as unreachable:
            assert_never(unreachable)


def counting_sentence(t: Language, counts: Counts) -> str:
    """Return the sentence in a language."""
    first, then, cycles = counts
    parts = [
        t(first),
        *([t(then)] if then else []),
        *([t("counts.most_cycles", cycles=cycles)] if cycles else []),
    ]
    return f"{'; '.join(parts)}."
