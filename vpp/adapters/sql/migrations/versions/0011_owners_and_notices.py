"""What owners decided about their data, who is written to and how, and what was written."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _contacts()
    _notices()
    op.create_table(
        "calendar_feed",
        _text("key"),
        _text("owner_id"),
        _big("made_at_us"),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("owner_id"),
    )
    op.create_table(
        "consent_withdrawal",
        _text("site_id"),
        _big("withdrawn_at_us"),
        _text("actor"),
        sa.ForeignKeyConstraint(["site_id"], ["enrollment.site_id"]),
        sa.PrimaryKeyConstraint("site_id"),
    )
    _refuse_edits("consent_withdrawal")


def downgrade() -> None:
    raise NotImplementedError("withdrawals are facts; restore a backup instead")


def _contacts() -> None:
    op.create_table(
        "contact",
        _text("party"),
        _text("language"),
        _text("address"),
        _text("muted"),
        _big("rank"),
        sa.PrimaryKeyConstraint("party"),
    )


def _notices() -> None:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "notice",
        sa.Column("number", kind, autoincrement=True, nullable=False),
        _text("key"),
        _text("party"),
        _text("kind"),
        _text("subject"),
        _big("at_us"),
        _text("facts"),
        _big("tries"),
        _big("next_try_at_us", optional=True),
        _big("sent_at_us", optional=True),
        _text("trouble", optional=True),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("key"),
    )
    op.create_index("ix_notice_party", "notice", ["party"])
    op.create_index("ix_notice_next_try_at_us", "notice", ["next_try_at_us"])
    op.create_table(
        "alarm",
        _text("key"),
        _text("kind"),
        _text("subject"),
        _big("raised_at_us"),
        _text("facts"),
        _big("told_rank"),
        _big("told_at_us", optional=True),
        _text("answered_by", optional=True),
        _big("answered_at_us", optional=True),
        _big("cleared_at_us", optional=True),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ix_alarm_raised_at_us", "alarm", ["raised_at_us"])


def _text(name: str, *, optional: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.String(), nullable=optional)


def _big(name: str, *, optional: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=optional)


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
