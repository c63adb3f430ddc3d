"""Payouts in the database: what of the ledger sends owners money, without a look at all the rest of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from vpp.adapters.sql.books import ENTRY_COLUMNS, ENTRY_ORDER, entries_of
from vpp.adapters.sql.bulk import Asked
from vpp.adapters.sql.engine import Database, from_us, to_us
from vpp.adapters.sql.money_tables import ENDS_A_PAYOUT, PayoutRunRow
from vpp.domain.ledger import Account, EntryState, JournalEntry
from vpp.domain.payout import PayoutRun, PayoutState, run_of
from vpp.domain.quantities import MicroDollars
from vpp.money_ports import AlteredBooks

_PAID_OUT = f"account = '{Account.PAID_OUT}'"
"""Written out and no parameter: only so a database finds the index that holds nothing but these."""
_SENT = f"SELECT s.entry_id FROM (SELECT party, entry_id FROM posting WHERE {_PAID_OUT}) s"
_OWED = f"""
    SELECT p.party, -SUM(p.amount_micro_dollars)
    FROM posting p JOIN journal_entry e ON e.entry_id = p.entry_id
    WHERE p.account = '{Account.OWNER_PAYABLE}' AND e.state = '{EntryState.POSTED}'
    GROUP BY p.party"""
_NO_SUM = "GROUP BY entry_id HAVING SUM(amount_micro_dollars) <> 0 LIMIT 1"


class SqlPayouts:
    """The payouts' part of the books."""

    def __init__(self, database: Database) -> None:
        self._payout_database = database

    async def payout_entries(
        self, *, owner_ids: Sequence[str] | None = None, ended_since: datetime | None = None
    ) -> Sequence[JournalEntry]:
        """Return, in order, the entries that send owners money, confirm that, or call it back.

        With owners, those of these; with an instant, those that confirm or call back since then.
        """
        asked: dict[str, dict[str, Sequence[object]]] = {"asked": {"one": [1]}}
        parts = []
        if owner_ids is not None:
            asked["wanted"] = {"owner_id": list(owner_ids)}
            parts.append(f"{_SENT} JOIN wanted ON wanted.owner_id = s.party")
        if ended_since is not None:
            ends = f"d.at_us >= {to_us(ended_since):d} AND {ENDS_A_PAYOUT.format('d.')}"
            parts.append(f"SELECT d.entry_id FROM journal_entry d WHERE {ends}")
        which = " AND ".join(f"e.entry_id IN ({part})" for part in parts or (_SENT,))
        async with self._payout_database.read() as session:
            rows = await Asked(session, asked).rows(f"{ENTRY_COLUMNS} WHERE {which} {ENTRY_ORDER}")
        return await entries_of(rows)

    async def payout_runs(self) -> Sequence[PayoutRun]:
        """Return what every payout run comes to, in the order begun, as the database added it up."""
        async with self._payout_database.read() as session:
            rows = await session.exec(select(PayoutRunRow).order_by(col(PayoutRunRow.first_number)))
            return [_run(each) for each in rows.all()]

    async def paid_owners(self, *, after: str = "", limit: int | None = None) -> Sequence[str]:
        """Return owners to whom money was ever sent, each once, in the database's order."""
        # One owner after the other by the index: DISTINCT would sort every payout there ever was.
        wanted = f"""
            WITH RECURSIVE owner (party, place) AS (
              SELECT MIN(party), 1 FROM posting WHERE {_PAID_OUT} AND party > :after
              UNION ALL
              SELECT
                (SELECT MIN(p.party) FROM posting p WHERE p.{_PAID_OUT} AND p.party > owner.party),
                place + 1
              FROM owner WHERE owner.party IS NOT NULL AND place < :most
            ) SELECT party FROM owner WHERE party IS NOT NULL ORDER BY place"""
        most = _EVERYBODY if limit is None else limit
        async with self._payout_database.read() as session:
            rows = await (await session.connection()).execute(text(wanted), {"after": after, "most": most})
            return [party for (party,) in rows.all()]

    async def owed_to_owners(self) -> Mapping[str, MicroDollars]:
        """Return each owner's posted balance, by owner: what is on its way to them included.

        Raises:
            AlteredBooks: An entry does not sum to zero, or is none.
        """
        async with self._payout_database.read() as session:
            await _refuse_altered(session)
            rows = (await (await session.connection()).execute(text(_OWED))).all()
        return {party: MicroDollars(int(amount)) for party, amount in sorted(rows)}


_EVERYBODY = 2**31 - 1


def _run(row: PayoutRunRow) -> PayoutRun:
    state = PayoutState.PAID if row.paid else PayoutState.CALLED_BACK
    if row.paid + row.called_back < row.owners:
        state = PayoutState.ON_ITS_WAY
    amount = MicroDollars(row.amount_micro_dollars)
    return PayoutRun(run_of(row.memo), row.owners, amount, state, from_us(row.begun_at_us))


async def _refuse_altered(session: AsyncSession) -> None:
    """Raise AlteredBooks where an entry was changed in the database so that it is none any more."""
    connection = await session.connection()
    accounts = ", ".join(f"'{each}'" for each in Account)
    states = ", ".join(f"'{each}'" for each in EntryState)
    for asked, why in (
        (f"SELECT entry_id FROM posting {_NO_SUM}", "it does not sum to zero"),
        (
            f"SELECT entry_id FROM posting WHERE account NOT IN ({accounts}) LIMIT 1",
            "an account is none",
        ),
        (
            f"SELECT entry_id FROM journal_entry WHERE state NOT IN ({states}) LIMIT 1",
            "its state is none",
        ),
    ):
        found = (await connection.execute(text(asked))).first()
        if found is not None:
            raise AlteredBooks(f"entry {found[0]} was changed in the database: {why}")
