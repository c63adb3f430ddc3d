"""The whole store on one database, opened by its URL."""

from sqlalchemy import text

from vpp.adapters.sql.accounts import SqlAccounts
from vpp.adapters.sql.books import SqlBooks
from vpp.adapters.sql.courses import SqlCourses
from vpp.adapters.sql.dispatch import SqlDispatch
from vpp.adapters.sql.disputes import SqlDisputes
from vpp.adapters.sql.engine import STATEMENT_S, Database, driver_url, make_engine
from vpp.adapters.sql.meter import SqlMeter
from vpp.adapters.sql.migrate import bring_up_to_date
from vpp.adapters.sql.nominations import SqlNominations
from vpp.adapters.sql.notices import SqlNotices
from vpp.adapters.sql.payouts import SqlPayouts
from vpp.adapters.sql.prices import SqlPrices
from vpp.adapters.sql.signals import SqlSignals


class SqlStore(
    SqlMeter,
    SqlSignals,
    SqlDispatch,
    SqlCourses,
    SqlBooks,
    SqlPayouts,
    SqlDisputes,
    SqlNominations,
    SqlPrices,
    SqlAccounts,
    SqlNotices,
):
    """``ports.Store`` on SQLite or PostgreSQL. Make one with ``open``."""

    def __init__(self, database: Database) -> None:
        self._whole_database = database
        SqlMeter.__init__(self, database)
        SqlSignals.__init__(self, database)
        SqlDispatch.__init__(self, database)
        SqlCourses.__init__(self, database)
        SqlBooks.__init__(self, database)
        SqlPayouts.__init__(self, database)
        SqlDisputes.__init__(self, database)
        SqlNominations.__init__(self, database)
        SqlPrices.__init__(self, database)
        SqlAccounts.__init__(self, database)
        SqlNotices.__init__(self, database)

    @classmethod
    async def open(cls, url: str, *, durable: bool = True, statement_s: float = STATEMENT_S) -> "SqlStore":
        """Return the store at ``sqlite:///path`` or ``postgresql://…``, its tables up to date.

        A SQLite file that is thrown away with its process may be opened not ``durable``: its commits do
        not wait for the disk. A statement that PostgreSQL does not answer in ``statement_s`` is given up.

        Raises:
            UnknownDatabase: The URL names neither.
            StoreUnavailable: The server does not answer, or the file's directory is not there.
        """
        engine_url = driver_url(url)
        migrating = Database(make_engine(engine_url, durable=durable))
        try:
            await migrating.probe()
            async with migrating.write() as session:
                await (await session.connection()).run_sync(bring_up_to_date)
        finally:
            await migrating.close()
        return cls(Database(make_engine(engine_url, durable=durable, statement_s=statement_s)))

    async def ready(self) -> None:
        """Return when the database answers. Raises StoreUnavailable."""
        async with self._whole_database.read() as session:
            await (await session.connection()).execute(text("SELECT 1"))

    async def close(self) -> None:
        """Let go of every connection."""
        await self._whole_database.close()
