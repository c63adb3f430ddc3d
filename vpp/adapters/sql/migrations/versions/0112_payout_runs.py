"""What each payout run comes to, added up by the database as its entries are booked."""

import sqlalchemy as sa
from alembic import op

revision = "0112"
down_revision = "0111"
branch_labels = None
depends_on = None

_NUMBERS = ("first_number", "begun_at_us", "owners", "amount_micro_dollars", "paid", "called_back")
_COLUMNS = ", ".join(("memo", *_NUMBERS))
_SUMS = """
    SELECT b.memo, MIN(b.number), MIN(b.at_us),
      COALESCE(SUM(CASE WHEN e.resolves IS NULL THEN 1 END), 0),
      COALESCE(SUM(CASE WHEN e.resolves IS NULL THEN -p.amount_micro_dollars END), 0),
      COALESCE(SUM(CASE WHEN e.resolves IS NOT NULL AND e.state = 'posted' THEN 1 END), 0),
      COALESCE(SUM(CASE WHEN e.resolves IS NOT NULL AND e.state = 'voided' THEN 1 END), 0)
    FROM {added} p JOIN journal_entry e ON e.entry_id = p.entry_id
      JOIN journal_entry b ON b.entry_id = COALESCE(e.resolves, e.entry_id)
    WHERE p.account = 'paid_out' {of} GROUP BY b.memo"""
_ADD = """
    ON CONFLICT (memo) DO UPDATE SET
      first_number = CASE WHEN excluded.first_number < payout_run.first_number
        THEN excluded.first_number ELSE payout_run.first_number END,
      begun_at_us = CASE WHEN excluded.begun_at_us < payout_run.begun_at_us
        THEN excluded.begun_at_us ELSE payout_run.begun_at_us END,
      owners = payout_run.owners + excluded.owners,
      amount_micro_dollars = payout_run.amount_micro_dollars + excluded.amount_micro_dollars,
      paid = payout_run.paid + excluded.paid,
      called_back = payout_run.called_back + excluded.called_back"""


def upgrade() -> None:
    op.create_table(
        "payout_run",
        sa.Column("memo", sa.String(), primary_key=True),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _NUMBERS),
    )
    begin = f"INSERT INTO payout_run ({_COLUMNS})"
    op.execute(f"{begin} {_SUMS.format(added='posting', of='')}")
    if op.get_bind().dialect.name == "sqlite":
        one = _SUMS.format(added="posting", of="AND p.entry_id = NEW.entry_id AND p.party = NEW.party")
        op.execute(
            "CREATE TRIGGER posting_keeps_runs AFTER INSERT ON posting WHEN NEW.account = 'paid_out' BEGIN"
            f" {begin} {one} {_ADD}; END"
        )
        return
    # Once for a statement: a row that is changed for each of a hundred thousand payouts would be kept as
    # often until the transaction ends, and passed over each time.
    op.execute(
        "CREATE FUNCTION keep_payout_runs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" {begin} {_SUMS.format(added='added', of='')} {_ADD}; RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER posting_keeps_runs AFTER INSERT ON posting REFERENCING NEW TABLE AS added"
        " FOR EACH STATEMENT EXECUTE FUNCTION keep_payout_runs()"
    )
