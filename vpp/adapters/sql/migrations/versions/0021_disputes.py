"""What owners ask about their money and what staff answer; the database refuses to edit it."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_TABLE = "dispute_word"


def upgrade() -> None:
    counted = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        _TABLE,
        sa.Column("number", counted, autoincrement=True, nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("owner_id", "period", "kind")),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("actor", "body")),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_dispute_word_owner_id", _TABLE, ["owner_id"])
    if op.get_bind().dialect.name == "sqlite":
        for edit in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {_TABLE}_refuses_{edit.lower()} BEFORE {edit} ON {_TABLE}"
                f" BEGIN SELECT RAISE(ABORT, '{_TABLE} is append-only'); END"
            )
        return
    op.execute(
        f"CREATE TRIGGER {_TABLE}_refuses_edits BEFORE UPDATE OR DELETE OR TRUNCATE ON {_TABLE}"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_edit()"
    )
