"""Rows of the whole fleet in one statement: columns in, columns out, no object for each site.

PostgreSQL takes each column as one array, so its limit of 32,767 parameters is never near; large batches
it takes by COPY, and numbers it gives back as binary COPY, which numpy reads in place. SQLite takes rows
one after another inside its own loop, and lists as one JSON value.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from sqlalchemy import BigInteger, LargeBinary, Table
from sqlmodel.ext.asyncio.session import AsyncSession

from vpp.domain.quantities import IntColumn

Column = Sequence[Any]

_KEEP_FIRST = "ON CONFLICT DO NOTHING"
_ROWS_WORTH_A_COPY = 1_000
_TRIGGERING = ("chain_link", "consent", "journal_entry", "posting")
"""Where an insert sets off a trigger: SQLite takes a savepoint for each statement, as dear as a row."""
_ROWS_A_STATEMENT = 1_000  # of eleven columns, where SQLite takes 32,766 values at most
_COPY_HEADER_BYTES = 19
_COPY_TRAILER_BYTES = 2


def _is_sqlite(session: AsyncSession) -> bool:
    return session.get_bind().dialect.name == "sqlite"


async def insert_new(session: AsyncSession, table: Table, columns: Mapping[str, Column]) -> int:
    """Insert the rows whose key is not there yet; return how many were new."""
    return await _insert(session, table, columns, _KEEP_FIRST)


async def insert_or_replace(
    session: AsyncSession, table: Table, columns: Mapping[str, Column], replaced: Sequence[str]
) -> None:
    """Insert rows; where the primary key is there, give the ``replaced`` columns their new values."""
    key = ", ".join(each.name for each in table.primary_key)
    values = ", ".join(f"{name} = excluded.{name}" for name in replaced)
    await _insert(session, table, columns, f"ON CONFLICT ({key}) DO UPDATE SET {values}")


async def insert_or_add(
    session: AsyncSession, table: Table, columns: Mapping[str, Column], added: str
) -> None:
    """Insert rows; where the primary key is there, add to the ``added`` column what it would have been."""
    key = ", ".join(each.name for each in table.primary_key)
    total = f"{added} = {table.name}.{added} + excluded.{added}"
    await _insert(session, table, columns, f"ON CONFLICT ({key}) DO UPDATE SET {total}")


async def _insert(session: AsyncSession, table: Table, columns: Mapping[str, Column], clause: str) -> int:
    if not len(next(iter(columns.values()))):
        return 0
    names = ", ".join(columns)
    connection = await session.connection()
    if _is_sqlite(session):
        marks = f"({', '.join('?' for _ in columns)})"
        insert = f"INSERT INTO {table.name} ({names}) VALUES"
        rows = list(zip(*columns.values(), strict=True))
        if table.name not in _TRIGGERING or len(rows) == 1:
            return (await connection.exec_driver_sql(f"{insert} {marks} {clause}", rows)).rowcount
        inserted = 0
        for first in range(0, len(rows), _ROWS_A_STATEMENT):
            some = rows[first : first + _ROWS_A_STATEMENT]
            values = tuple(chain.from_iterable(some))
            statement = f"{insert} {', '.join([marks] * len(some))} {clause}"
            inserted += (await connection.exec_driver_sql(statement, values)).rowcount
        return inserted
    if clause == _KEEP_FIRST and len(next(iter(columns.values()))) >= _ROWS_WORTH_A_COPY:
        return await _copy_new(session, table, columns)
    arrays = ", ".join(f"${place}::{_array_type(table, name)}" for place, name in enumerate(columns, start=1))
    statement = f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays}) {clause}"
    return (
        await connection.exec_driver_sql(statement, tuple(list(each) for each in columns.values()))
    ).rowcount


async def _copy_new(session: AsyncSession, table: Table, columns: Mapping[str, Column]) -> int:
    """Insert new rows by way of a table of this connection's own, because COPY cannot skip known keys."""
    connection = await session.connection()
    names = ", ".join(columns)
    incoming = f"incoming_{table.name}"
    await connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {incoming} (LIKE {table.name}) ON COMMIT DELETE ROWS"
    )
    driver: Any = (await connection.get_raw_connection()).driver_connection
    rows = zip(*columns.values(), strict=True)
    await driver.copy_records_to_table(incoming, records=rows, columns=list(columns))
    inserted = await connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {incoming} {_KEEP_FIRST}"
    )
    await connection.exec_driver_sql(f"DELETE FROM {incoming}")
    return inserted.rowcount


def _array_type(table: Table, name: str) -> str:
    kind = table.c[name].type
    if isinstance(kind, BigInteger):
        return "bigint[]"
    return "bytea[]" if isinstance(kind, LargeBinary) else "text[]"


class Asked:
    """Lists handed to a statement as common table expressions, whatever their length.

    ``Asked({"site": {"site_id": ["a", "b"], "place": [0, 1]}})`` can be joined as ``site``. A column
    is text when its name ends in ``_id``, else BIGINT.
    """

    def __init__(self, session: AsyncSession, lists: Mapping[str, Mapping[str, Column]]) -> None:
        self._session = session
        self._lists = lists

    async def rows(self, statement: str) -> Sequence[Any]:
        """Return the rows of ``WITH <lists> <statement>``."""
        connection = await self._session.connection()
        found = await connection.exec_driver_sql(f"{self._expressions()} {statement}", self._parameters())
        return found.fetchall()

    async def columns(self, statement: str, count: int) -> list[IntColumn]:
        """Return the result as ``count`` integer columns; the statement gives BIGINT, never NULL."""
        connection = await self._session.connection()
        driver: Any = (await connection.get_raw_connection()).driver_connection
        query = f"{self._expressions()} {statement}"
        if _is_sqlite(self._session):
            table = await _joined(driver, self._expressions(), statement, self._parameters(), count)
        else:
            table = await _copied(driver, query, self._parameters(), count)
        return [np.ascontiguousarray(table[:, place]) for place in range(count)]

    def _expressions(self) -> str:
        place = 0
        expressions = []
        for name, columns in self._lists.items():
            place += 1
            if _is_sqlite(self._session):
                values = ", ".join(f"json_extract(value, '$[{at}]')" for at in range(len(columns)))
                source = f"SELECT {values} FROM json_each(?{place})"
            else:
                arrays = ", ".join(
                    f"${place + at}::{'text[]' if column.endswith('_id') else 'bigint[]'}"
                    for at, column in enumerate(columns)
                )
                place += len(columns) - 1
                source = f"SELECT * FROM unnest({arrays})"
            # SQLite would otherwise read the JSON again for every row that a list is joined with.
            kept = "AS MATERIALIZED" if _is_sqlite(self._session) else "AS"
            expressions.append(f"{name} ({', '.join(columns)}) {kept} ({source})")
        return f"WITH {', '.join(expressions)}"

    def _parameters(self) -> tuple[Any, ...]:
        if _is_sqlite(self._session):
            return tuple(
                json.dumps(list(zip(*columns.values(), strict=True))) for columns in self._lists.values()
            )
        return tuple(list(values) for columns in self._lists.values() for values in columns.values())


async def _joined(
    driver: Any, lists: str, statement: str, parameters: tuple[Any, ...], count: int
) -> IntColumn:
    """Return a result of ``count`` integer columns from SQLite as one text of numbers for each.

    Half the time of a tuple and an object for every number; putting a row's numbers into one text first
    takes half as much again.
    """
    names = [f"c{place}" for place in range(count)]
    answer = f"answer ({', '.join(names)}) AS ({statement})"
    texts = ", ".join(f"group_concat({name})" for name in names)
    query = f"{lists}, {answer} SELECT COUNT(*), {texts} FROM answer"
    ((rows, *columns),) = await driver.execute_fetchall(query, parameters)
    if not rows:
        return np.zeros((0, count), dtype=np.int64)
    table: IntColumn = np.empty((count, rows), dtype=np.int64)
    for place, numbers in enumerate(columns):
        read = np.fromstring(numbers, dtype=np.int64, sep=",")
        assert len(read) == rows, "a column is NULL or not BIGINT"
        table[place] = read
    return table.T


async def _copied(driver: Any, query: str, parameters: tuple[Any, ...], count: int) -> IntColumn:
    """Return a result of ``count`` BIGINT columns from PostgreSQL's binary COPY, read in place."""
    received = bytearray()

    async def keep(block: bytes) -> None:
        received.extend(block)

    await driver.copy_from_query(query, *parameters, output=keep, format="binary")
    row = np.dtype([("fields", ">i2"), ("values", [("bytes", ">i4"), ("value", ">i8")], (count,))])
    body = memoryview(received)[_COPY_HEADER_BYTES:-_COPY_TRAILER_BYTES]
    table = np.frombuffer(body, dtype=row)
    assert not len(table) or bool((table["values"]["bytes"] == 8).all()), "a column is NULL or not BIGINT"
    values: IntColumn = table["values"]["value"].astype(np.int64)
    return values
