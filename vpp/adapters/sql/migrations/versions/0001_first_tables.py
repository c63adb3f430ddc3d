"""The first tables, and the triggers that keep facts from being edited."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = (
    "consent",
    "reserve_change",
    "grid_event",
    "event_grant",
    "plan_revision",
    "dispatch_tick",
    "tick_event",
    "journal_entry",
    "posting",
    "chain_link",
)


def upgrade() -> None:
    _registry()
    _words_of_owners_and_operators()
    _signals()
    _events()
    _dispatch()
    _meter()
    _books()
    _refuse_edits()


def downgrade() -> None:
    raise NotImplementedError("the first tables hold facts; restore a backup instead")


def _text(name: str, *, optional: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.String(), nullable=optional)


def _big(name: str, *, optional: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=optional)


def _bytes(name: str, *, optional: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.LargeBinary(), nullable=optional)


def _counted() -> sa.Column[Any]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("number", kind, autoincrement=True, nullable=False)


def _registry() -> None:
    op.create_table(
        "consent",
        _text("site_id"),
        _text("version"),
        _big("given_at_us"),
        sa.PrimaryKeyConstraint("site_id", "version"),
    )
    op.create_table(
        "enrollment",
        _text("site_id"),
        _big("site_no"),
        _text("owner_id"),
        _text("program_id"),
        _text("utility"),
        _text("county"),
        _text("feeder"),
        _big("full_energy_wh"),
        _big("max_discharge_w"),
        _big("reserve_permille"),
        _bytes("gateway_public_key"),
        _text("consent_version"),
        _big("enrolled_at_us"),
        _big("withdrawn_at_us", optional=True),
        sa.ForeignKeyConstraint(
            ["site_id", "consent_version"],
            ["consent.site_id", "consent.version"],
        ),
        sa.PrimaryKeyConstraint("site_id"),
        sa.UniqueConstraint("site_no"),
    )
    op.create_index("ix_enrollment_owner_id", "enrollment", ["owner_id"])
    op.create_table(
        "reserve_change",
        _counted(),
        _text("site_id"),
        _big("reserve_permille"),
        _big("changed_at_us"),
        _text("actor"),
        sa.ForeignKeyConstraint(
            ["site_id"],
            ["enrollment.site_id"],
        ),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_reserve_change_site_id", "reserve_change", ["site_id"])


def _words_of_owners_and_operators() -> None:
    op.create_table(
        "opt_out",
        _counted(),
        _text("site_id"),
        _text("event_id"),
        _big("opted_out_at_us"),
        _text("origin"),
        _big("taken_back_at_us", optional=True),
        sa.ForeignKeyConstraint(
            ["site_id"],
            ["enrollment.site_id"],
        ),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_opt_out_event_id", "opt_out", ["event_id"])
    op.create_index(
        "uq_opt_out_standing",
        "opt_out",
        ["site_id", "event_id"],
        unique=True,
        sqlite_where=sa.text("taken_back_at_us IS NULL"),
        postgresql_where=sa.text("taken_back_at_us IS NULL"),
    )
    op.create_table(
        "grid_source",
        _text("name"),
        _bytes("public_key", optional=True),
        _big("max_power_w"),
        _big("added_at_us"),
        sa.PrimaryKeyConstraint("name"),
    )


def _signals() -> None:
    op.create_table(
        "raw_signal",
        _counted(),
        _text("key"),
        _text("source"),
        _text("topic"),
        _bytes("payload"),
        _big("received_at_us"),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("key"),
    )
    op.create_table(
        "signal_receipt",
        _counted(),
        _text("raw_key"),
        _text("source"),
        _text("event_id"),
        _text("operation"),
        _big("modified_at_us"),
        _text("state"),
        _text("reason", optional=True),
        _big("at_us"),
        sa.ForeignKeyConstraint(
            ["raw_key"],
            ["raw_signal.key"],
        ),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("raw_key"),
    )
    op.create_index("ix_signal_receipt_event_id", "signal_receipt", ["event_id"])
    op.create_table(
        "judged_signal",
        _text("source"),
        _text("event_id"),
        _text("operation"),
        _big("modified_at_us"),
        _text("content_sha256"),
        sa.PrimaryKeyConstraint("source", "event_id", "operation", "modified_at_us", "content_sha256"),
    )


def _events() -> None:
    op.create_table(
        "grid_event",
        _text("event_id"),
        _big("version"),
        _text("source"),
        _text("operation"),
        _big("modified_at_us"),
        _text("content_sha256"),
        _text("program_id"),
        _text("name"),
        _big("priority", optional=True),
        _text("targets"),
        _text("steps"),
        _text("status"),
        _text("out_of_program"),
        sa.Column("test", sa.Boolean(), nullable=False),
        _big("committed_at_us"),
        _big("ends_at_us", optional=True),
        _text("actor", optional=True),
        sa.PrimaryKeyConstraint("event_id", "version"),
    )
    op.create_index("ix_grid_event_ends_at_us", "grid_event", ["ends_at_us"])
    op.create_table(
        "event_grant",
        _text("event_id"),
        _big("version"),
        _text("kind"),
        _text("actor"),
        _big("granted_at_us"),
        sa.PrimaryKeyConstraint("event_id", "version", "kind"),
    )


def _dispatch() -> None:
    op.create_table("leader", _text("role"), _big("epoch"), sa.PrimaryKeyConstraint("role"))
    op.create_table(
        "plan_revision",
        _text("event_id"),
        _big("revision"),
        _big("at_us"),
        _bytes("body"),
        sa.PrimaryKeyConstraint("event_id", "revision"),
    )
    op.create_table(
        "dispatch_tick",
        _big("number"),
        _big("epoch"),
        _big("at_us"),
        _bytes("orders"),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_dispatch_tick_at_us", "dispatch_tick", ["at_us"])
    op.create_table(
        "tick_event", _text("event_id"), _big("number"), sa.PrimaryKeyConstraint("event_id", "number")
    )
    op.create_table(
        "acknowledgement",
        _big("site_no"),
        _big("epoch"),
        _big("sequence"),
        _big("at_s"),
        _text("event_id"),
        _text("refusal", optional=True),
        sa.PrimaryKeyConstraint("site_no", "epoch", "sequence"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_acknowledgement_command", "acknowledgement", ["epoch", "sequence"])


def _meter() -> None:
    op.create_table(
        "meter_boot",
        _text("site_id"),
        _text("boot_id"),
        _big("run_from"),
        _big("run_through"),
        _big("highest_index"),
        sa.ForeignKeyConstraint(
            ["site_id"],
            ["enrollment.site_id"],
        ),
        sa.PrimaryKeyConstraint("site_id", "boot_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "meter_reading",
        _text("site_id"),
        _text("boot_id"),
        _big("reading_index"),
        _big("at_s"),
        _big("discharged_wh"),
        _big("charged_wh"),
        _big("soc_permille", optional=True),
        _big("imported_wh", optional=True),
        _big("exported_wh", optional=True),
        _big("quality"),
        _text("reason", optional=True),
        _big("received_at_us"),
        sa.ForeignKeyConstraint(
            ["site_id"],
            ["enrollment.site_id"],
        ),
        sa.PrimaryKeyConstraint("site_id", "boot_id", "reading_index"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_meter_reading_time", "meter_reading", ["site_id", "at_s"])
    op.create_table(
        "doubted_reading",
        _text("site_id"),
        _text("boot_id"),
        _big("reading_index"),
        _text("value_sha256"),
        _big("at_s"),
        _big("discharged_wh"),
        _big("charged_wh"),
        _big("soc_permille", optional=True),
        _big("imported_wh", optional=True),
        _big("exported_wh", optional=True),
        _big("quality"),
        _text("reason", optional=True),
        _big("received_at_us"),
        sa.ForeignKeyConstraint(
            ["site_id"],
            ["enrollment.site_id"],
        ),
        sa.PrimaryKeyConstraint("site_id", "boot_id", "reading_index", "value_sha256"),
    )
    op.create_index("ix_doubted_reading_time", "doubted_reading", ["site_id", "at_s"])
    op.create_table(
        "excluded_day",
        _text("site_id"),
        _text("day"),
        _text("reason"),
        sa.PrimaryKeyConstraint("site_id", "day"),
    )


def _books() -> None:
    op.create_table(
        "settlement_run",
        _counted(),
        _text("event_id"),
        _text("program_id"),
        _text("state"),
        _big("settled_at_us"),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_settlement_run_event_id", "settlement_run", ["event_id"])
    op.create_table(
        "settlement_line",
        _text("site_id"),
        _big("run_number"),
        _big("place"),
        _text("owner_id"),
        _big("amount_micro_dollars"),
        _text("body"),
        sa.ForeignKeyConstraint(
            ["run_number"],
            ["settlement_run.number"],
        ),
        sa.PrimaryKeyConstraint("site_id", "run_number"),
    )
    op.create_index("ix_settlement_line_owner_id", "settlement_line", ["owner_id"])
    op.create_index("ix_settlement_line_run_number", "settlement_line", ["run_number"])
    op.create_table(
        "journal_entry",
        _big("number"),
        _text("entry_id"),
        _big("at_us"),
        _text("state"),
        _text("memo"),
        _text("settles_owner_id", optional=True),
        _text("settles_site_id", optional=True),
        _text("settles_program_id", optional=True),
        _text("settles_period", optional=True),
        _text("resolves", optional=True),
        _text("corrects", optional=True),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("entry_id"),
        sa.UniqueConstraint("resolves", name="uq_journal_entry_resolves"),
    )
    op.create_index("ix_journal_entry_settles_owner_id", "journal_entry", ["settles_owner_id"])
    op.create_table(
        "posting",
        _text("entry_id"),
        _big("line_number"),
        _text("account"),
        _text("party"),
        _big("amount_micro_dollars"),
        sa.ForeignKeyConstraint(
            ["entry_id"],
            ["journal_entry.entry_id"],
        ),
        sa.PrimaryKeyConstraint("entry_id", "line_number"),
    )
    op.create_index("ix_posting_party", "posting", ["party"])
    op.create_table(
        "chain_link",
        _big("position"),
        _text("kind"),
        _text("fact_id"),
        _big("fact_number"),
        _text("head"),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("kind", "fact_id", "fact_number", name="uq_chain_link_fact"),
    )


def _refuse_edits() -> None:
    """Make the database itself refuse UPDATE and DELETE on tables of facts."""
    if op.get_bind().dialect.name == "sqlite":
        for table in APPEND_ONLY:
            for edit in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_refuses_{edit.lower()} BEFORE {edit} ON {table}"
                    f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                )
        return
    op.execute(
        "CREATE FUNCTION refuse_edit() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_refuses_edits BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_edit()"
        )
