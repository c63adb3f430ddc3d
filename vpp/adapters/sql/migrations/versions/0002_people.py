"""People who log in, their sessions and links, and the trail of what they did and read."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "person",
        _text("name"),
        _text("role"),
        _text("owner_id", optional=True),
        _text("password_hash"),
        _big("added_at_us"),
        sa.PrimaryKeyConstraint("name"),
    )
    _of_person("login_session", "started_at_us")
    _of_person("login_link", "made_at_us")
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "trail_entry",
        sa.Column("number", kind, autoincrement=True, nullable=False),
        _big("at_us"),
        _text("actor"),
        _text("action"),
        _text("subject"),
        _text("reason"),
        _text("request_id"),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_trail_entry_subject", "trail_entry", ["subject"])
    _refuse_edits("trail_entry")


def downgrade() -> None:
    raise NotImplementedError("the trail holds facts; restore a backup instead")


def _text(name: str, *, optional: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.String(), nullable=optional)


def _big(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)


def _of_person(table: str, began: str) -> None:
    op.create_table(
        table,
        _text("key"),
        _text("user_name"),
        _big(began),
        _big("expires_at_us"),
        sa.ForeignKeyConstraint(["user_name"], ["person.name"]),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index(f"ix_{table}_user_name", table, ["user_name"])


def _refuse_edits(table: str) -> None:
    """Make the database itself refuse UPDATE and DELETE."""
    if op.get_bind().dialect.name == "sqlite":
        for edit in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{edit.lower()} BEFORE {edit} ON {table}"
                f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    op.execute(
        f"CREATE TRIGGER {table}_refuses_edits BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_edit()"
    )
