"""Rows that are never edited are not replaced either: SQLite's REPLACE sets off no trigger for DELETE.

PostgreSQL has no such statement, and its ``ON CONFLICT DO UPDATE`` sets off the trigger for UPDATE.
"""

import sqlalchemy as sa
from alembic import op

revision = "0061"
down_revision = "0060"
branch_labels = None
depends_on = None

_KEPT_QUIETLY = ("consent",)
"""Where we insert again what may be there already, and the first row stays without a word."""
_WORDS = {"journal_entry": "an entry is posted once, and a pending one ended once only"}


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        return
    guarded = connection.execute(
        sa.text("SELECT tbl_name FROM sqlite_master WHERE type = 'trigger' AND name LIKE '%_refuses_update'")
    ).scalars()
    for table in guarded.all():
        there = " OR ".join(
            f"EXISTS (SELECT 1 FROM {table} WHERE {' AND '.join(f'{name} = NEW.{name}' for name in key)})"
            for key in _keys(connection, table)
        )
        words = _WORDS.get(table, f"{table} has this key already, and is append-only")
        answer = "IGNORE" if table in _KEPT_QUIETLY else f"ABORT, '{words}'"
        op.execute(
            f"CREATE TRIGGER {table}_refuses_replace BEFORE INSERT ON {table} WHEN {there}"
            f" BEGIN SELECT RAISE({answer}); END"
        )


def _keys(connection: sa.Connection, table: str) -> list[list[str]]:
    found = sa.inspect(connection)
    primary = found.get_pk_constraint(table)["constrained_columns"]
    return [primary, *(list(each["column_names"]) for each in found.get_unique_constraints(table))]
