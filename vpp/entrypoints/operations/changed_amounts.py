"""What became of an owner's amounts after they were final: corrections, and debts that were written off."""

from collections.abc import Mapping, Sequence

from vpp.domain.ledger import JournalEntry, corrections, owed_by
from vpp.domain.payout import write_offs
from vpp.entrypoints.operations.desk import Json, instant, usd

Settles = tuple[str, str, str, str]
"""Owner, site, program and period of an entry that settles."""


def corrections_of(entries: Sequence[JournalEntry], owner_id: str) -> Mapping[Settles, list[Json]]:
    """Return, by what they are of, each correction: ``at, before_usd, after_usd, why``, the oldest first."""
    found: dict[Settles, list[Json]] = {}
    for each in corrections(entries, owner_id):
        of_period = found.setdefault(each.settles, [])
        of_period.append(
            {
                "at": instant(each.at),
                "before_usd": usd(each.before),
                "after_usd": usd(each.after),
                "why": each.why,
            }
        )
    return found


def write_off_facts(entries: Sequence[JournalEntry], owner_id: str) -> list[Json]:
    """Return what was borne of an owner's debts: ``at, amount_usd, why``, the oldest first."""
    return [
        {"at": instant(each.at), "amount_usd": usd(owed_by(each, owner_id)), "why": each.memo}
        for each in write_offs(entries)
    ]


def with_corrections(rows: Sequence[Json], owner_id: str, found: Mapping[Settles, list[Json]]) -> list[Json]:
    """Return a statement's events or periods with their ``corrections``."""
    return [
        row
        | {
            "corrections": found.get(
                (
                    owner_id,
                    str(row["site_id"]),
                    str(row["program_id"]),
                    str(row.get("event_id") or row["period"]),
                ),
                [],
            )
        }
        for row in rows
    ]
