"""A PostgreSQL that vanishes without a word: its connections stay open, and nothing answers on them."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.adapters.store_world import NOON, a_revision, a_tick, after
from tests.postgres import Postgres
from vpp.adapters.sql.store import SqlStore
from vpp.ports import StoreUnavailable

STATEMENT_S = 0.5


class Wire:
    """The network between a controller and its database. While ``cut`` it takes all bytes and gives none."""

    def __init__(self, server: Path) -> None:
        self.cut = False
        self._server = server
        self._ends: list[asyncio.StreamWriter] = []

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either side ends it."""
        self._ends.append(writer)
        answers, asks = await asyncio.open_unix_connection(self._server)
        await asyncio.gather(self._carry(reader, asks), self._carry(answers, writer), return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            while data := await reader.read(65_536):
                if not self.cut:
                    writer.write(data)
                    await writer.drain()


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="vpp-wire-") as folder:
        yield Path(folder)


@pytest.fixture
async def wire(postgres: Postgres, socket_folder: Path) -> AsyncIterator[tuple[Wire, str]]:
    """A network before a new database, and the URL that leads through it."""
    url = make_url(await postgres.database())
    name = f".s.PGSQL.{url.port or 5432}"
    between = Wire(Path(str(url.query["host"])) / name)
    serving = await asyncio.start_unix_server(between.connect, socket_folder / name)
    through = url.update_query_dict({"host": str(socket_folder)})
    yield between, through.render_as_string(hide_password=False)
    serving.close()


async def test_statement_that_nobody_answers_is_given_up_and_the_next_server_is_used(
    wire: tuple[Wire, str],
) -> None:
    between, url = wire
    store = await SqlStore.open(url, statement_s=STATEMENT_S)
    epoch = await store.take_epoch(at=NOON)

    between.cut = True
    async with asyncio.timeout(30):  # without a limit it waits for ever
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="cannot be used now"):
                await store.commit(a_tick(1, epoch), [a_revision()])
    between.cut = False  # the old connections lead nowhere still

    await store.commit(a_tick(1, epoch), [a_revision()])
    assert (await store.last_tick()).sequence == 1
    assert await store.take_epoch(at=after(60)) > epoch
    await store.close()
