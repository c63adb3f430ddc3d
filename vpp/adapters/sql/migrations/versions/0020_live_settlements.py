"""One live settlement for each owner, site, program and period, kept by the database itself."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0012"
branch_labels = None
depends_on = None

_KEY = ("owner_id", "site_id", "program_id", "period")
_SETTLES = ", ".join(f"NEW.settles_{name}" for name in _KEY)
_COLUMNS = ", ".join(_KEY)


def upgrade() -> None:
    op.create_index("ix_journal_entry_period", "journal_entry", ["settles_program_id", "settles_period"])
    op.create_index("ix_journal_entry_corrects", "journal_entry", ["corrects"])
    op.create_table(
        "live_settlement",
        *(sa.Column(name, sa.String(), nullable=False) for name in _KEY),
        sa.Column("entry_id", sa.String(), sa.ForeignKey("journal_entry.entry_id"), nullable=False),
        sa.PrimaryKeyConstraint(*_KEY),
        sa.UniqueConstraint("entry_id"),
    )
    settles = ", ".join(f"settles_{name}" for name in _KEY)
    op.execute(
        f"INSERT INTO live_settlement ({_COLUMNS}, entry_id)"
        f" SELECT {settles}, e.entry_id FROM journal_entry e"
        " WHERE e.settles_owner_id IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM journal_entry o WHERE o.resolves = e.entry_id)"
        " AND NOT EXISTS (SELECT 1 FROM journal_entry o WHERE o.corrects = e.entry_id)"
    )
    ended = "DELETE FROM live_settlement WHERE entry_id IN (NEW.resolves, NEW.corrects);"
    begun = f"INSERT INTO live_settlement ({_COLUMNS}, entry_id)"
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE TRIGGER journal_entry_keeps_live AFTER INSERT ON journal_entry BEGIN"
            f" {ended} {begun} SELECT {_SETTLES}, NEW.entry_id WHERE NEW.settles_owner_id IS NOT NULL; END"
        )
        return
    op.execute(
        "CREATE FUNCTION keep_live_settlement() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF NEW.resolves IS NOT NULL OR NEW.corrects IS NOT NULL THEN {ended} END IF;"
        f" IF NEW.settles_owner_id IS NOT NULL THEN {begun} VALUES ({_SETTLES}, NEW.entry_id); END IF;"
        " RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER journal_entry_keeps_live AFTER INSERT ON journal_entry"
        " FOR EACH ROW EXECUTE FUNCTION keep_live_settlement()"
    )
