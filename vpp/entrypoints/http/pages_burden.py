"""The operator's page about fairness: how a program's season was shared by its homes."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from vpp.entrypoints.http.pages_operator import csv_file
from vpp.entrypoints.http.showing import show
from vpp.entrypoints.http.visitor import AtDesk, Watcher
from vpp.entrypoints.operations import fairness

PAGE_HOMES = 50
COLUMNS = ("site_id", "events", "hours", "energy_wh", "cycles", "resting")

router = APIRouter(prefix="/operator/programs")


@router.get("/{program_id}/fairness")
async def fairness_page(
    request: Request, visitor: Watcher, desk: AtDesk, program_id: str, cursor: str = ""
) -> Response:
    """Show what every home of a program did this season, and the index that is published."""
    found = await fairness.show_fairness(desk, program_id=program_id, cursor=cursor, limit=PAGE_HOMES)
    return show(request, "operator_fairness.html", visitor=visitor, found=found, cursor=cursor)


@router.get("/{program_id}/fairness.csv")
async def fairness_file(_visitor: Watcher, desk: AtDesk, program_id: str) -> Response:
    """Return what every home of a program did this season as a file, the most cycles first."""
    found: Any = await fairness.show_fairness(desk, program_id=program_id, limit=None)
    return csv_file("fairness.csv", COLUMNS, found["homes"])
