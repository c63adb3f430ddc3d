"""Brings a database to the newest schema. The caller's transaction keeps a second process waiting."""

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def bring_up_to_date(connection: Connection) -> None:
    """Run every migration the database has not seen, inside the connection's transaction."""
    config = Config()
    config.set_main_option("script_location", "vpp.adapters.sql:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
