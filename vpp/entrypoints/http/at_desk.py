"""What the API's routes share: the desk, who acts, and bodies that take no unknown field."""

from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Header, Query, Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from vpp.entrypoints.operations.desk import Desk, OperationRefused


def _desk(request: Request) -> Desk:
    desk = request.app.state.desk()
    assert isinstance(desk, Desk)
    why = request.headers.get("x-vpp-reason", "")
    return replace(desk, request_id=str(request.state.request_id), why=why)


def _actor(x_vpp_actor: Annotated[str, Header(max_length=80)] = "api") -> str:
    return x_vpp_actor


def known_query(request: Request) -> None:
    """Refuse a query that names something the route does not have: a misspelt limit must not be ignored."""
    known = _query_names(request.scope["route"])
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        raise OperationRefused(f"the query has nothing called {', '.join(unknown)[:100]!r}")


def _query_names(route: APIRoute) -> frozenset[str]:
    fields = get_flat_params(route.dependant)
    return frozenset(field.alias for field in fields if isinstance(field.field_info, params.Query))


PAGE_MOST = 1000

AtDesk = Annotated[Desk, Depends(_desk)]
Actor = Annotated[str, Depends(_actor)]
Cursor = Annotated[str, Query(max_length=400, description="next_cursor of the page before; empty begins")]
Limit = Annotated[int, Query(ge=1, le=PAGE_MOST, description="how many at most")]
Reason = Annotated[str, Query(max_length=500, description="why; the owner sees it")]


class Body(BaseModel):
    """A JSON object whose every field is known."""

    model_config = ConfigDict(extra="forbid")


class GrantBody(Body):
    """Who grants: a login with its password. Who asks is only a claim, enough where no person began it."""

    login: str = ""
    password: str = ""
