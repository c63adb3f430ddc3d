"""Keeping the database: a backup of one moment while everything runs, and a restore into an empty one."""

from http import HTTPStatus
from pathlib import Path

from vpp.adapters.sql.backup import BackupRefused, back_up, restore
from vpp.adapters.sql.engine import UnknownDatabase
from vpp.entrypoints.operations.desk import Json, OperationRefused
from vpp.ports import StoreUnavailable


async def back_up_database(url: str, file: Path) -> Json:
    """Write the whole database into one file, of one moment, while ``vpp serve`` goes on.

    The file is a SQLite database, from PostgreSQL too. It holds personal data and is readable by its user
    only. The signing key is not in it: keep the state directory's key files beside it.

    Returns:
        ``file, rows`` (in all)``, tables`` (rows by table)``, note``.
    """
    try:
        counts = await back_up(url, file)
    except (BackupRefused, UnknownDatabase) as failure:
        raise OperationRefused(str(failure), HTTPStatus.CONFLICT) from failure
    except StoreUnavailable as failure:
        raise OperationRefused(f"{failure}; vpp doctor says what to do") from failure
    note = "the signing key is not in it; keep the key files of the state directory beside it"
    return {"file": str(file), "rows": sum(counts.values()), "tables": dict(counts), "note": note}


async def restore_database(file: Path, url: str) -> Json:
    """Fill an empty database from a backup, all or nothing; SQLite and PostgreSQL alike.

    Homes obey the restored controller at once, in the middle of an event too: its epoch is above every
    one they know, and a home with a command from after the backup is told anew, or released, as soon as it
    speaks. What people and the grid said after the backup is not known any more.

    Returns:
        ``file, rows`` (in all)``, tables`` (rows by table)``, note``.
    """
    try:
        counts = await restore(file, url)
    except (BackupRefused, UnknownDatabase) as failure:
        raise OperationRefused(str(failure), HTTPStatus.CONFLICT) from failure
    except StoreUnavailable as failure:
        raise OperationRefused(f"{failure}; vpp doctor says what to do") from failure
    note = (
        "opt-outs, reserves, approvals, cancels and grid signals from after the backup are not in it: let "
        "grid operators send theirs again and ask owners before vpp serve starts. Homes that obey a command "
        "from after the backup are told at their next sample what stands here"
    )
    return {"file": str(file), "rows": sum(counts.values()), "tables": dict(counts), "note": note}
