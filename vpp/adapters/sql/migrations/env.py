"""Where alembic finds the connection that ``migrate.py`` handed over."""

from alembic import context

from vpp.adapters.sql.tables import Row

context.configure(connection=context.config.attributes["connection"], target_metadata=Row.metadata)
with context.begin_transaction():
    context.run_migrations()
