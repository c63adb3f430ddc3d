"""Everything that goes wrong in the API, as problem documents (RFC 9457)."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from vpp.entrypoints.operations.desk import OperationRefused
from vpp.entrypoints.operations.money import UNSUMMED
from vpp.ports import ConflictingFact, StoreUnavailable

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """Why nothing was done. ``faults`` names each one where a file or list has several."""

    type: str
    title: str
    status: int
    detail: str
    faults: list[str] = Field(default_factory=list)


MEANS = {
    HTTPStatus.BAD_REQUEST: "The request cannot be read.",
    HTTPStatus.UNAUTHORIZED: "The token is missing or another one.",
    HTTPStatus.FORBIDDEN: "Who asks may not do this.",
    HTTPStatus.NOT_FOUND: "What the path names is not here.",
    HTTPStatus.CONFLICT: "What is stored does not permit it; nothing changed.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "A body has at most 64 KiB, a file 64 MiB; nothing was done.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "What was sent cannot be used, faults says what; nothing was done.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many in too short a time; ask again later.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The database or the controller is not there now; ask again, under the "
    "same Idempotency-Key.",
}
"""What each status says of what became of the request."""


def documented(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return how the description of the API names these answers."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        int(status): {"description": MEANS[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


USUAL = documented(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


def answer_problems(app: FastAPI) -> None:
    """Let every failure of the application be answered by a problem document."""
    app.add_exception_handler(OperationRefused, _refused)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(HTTPException, _http_fault)
    app.add_exception_handler(StoreUnavailable, _store_down)
    app.add_exception_handler(ConflictingFact, _conflict)
    for altered in UNSUMMED:
        app.add_exception_handler(altered, _books_altered)
    app.add_exception_handler(Exception, _unforeseen)


def problem(status: int, detail: str, **more: object) -> JSONResponse:
    """Return a problem document."""
    title = HTTPStatus(status).phrase
    document = {"type": "about:blank", "title": title, "status": int(status), "detail": detail, **more}
    return JSONResponse(document, status, media_type=MEDIA_TYPE)


def store_down(failure: StoreUnavailable) -> JSONResponse:
    """Return what is answered while the database cannot be reached."""
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, f"{failure}; vpp doctor says what to do")


async def _refused(_request: Request, refused: Exception) -> JSONResponse:
    assert isinstance(refused, OperationRefused)
    return problem(refused.status, refused.detail, faults=list(refused.faults))


async def _unreadable(_request: Request, failure: Exception) -> JSONResponse:
    assert isinstance(failure, RequestValidationError)
    faults = [f"{'.'.join(str(key) for key in error['loc'])}: {error['msg']}" for error in failure.errors()]
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(faults), faults=faults)


async def _http_fault(request: Request, failure: Exception) -> JSONResponse:
    assert isinstance(failure, HTTPException)
    answer = problem(failure.status_code, failure.detail)
    answer.headers.update(failure.headers or {})
    if failure.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        answer.headers["Allow"] = ", ".join(methods_at(request.scope))
    return answer


def methods_at(scope: Scope) -> list[str]:
    """Return the methods that the path of a request has a route for."""
    app = scope["app"]
    assert isinstance(app, FastAPI)
    return [
        method
        for method in METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)
    ]


async def _conflict(_request: Request, failure: Exception) -> JSONResponse:
    return problem(HTTPStatus.CONFLICT, f"{failure}; something else changed it meanwhile, so ask again")


async def _store_down(_request: Request, failure: Exception) -> JSONResponse:
    assert isinstance(failure, StoreUnavailable)
    return store_down(failure)


async def _books_altered(_request: Request, failure: Exception) -> JSONResponse:
    return problem(HTTPStatus.CONFLICT, f"{failure}; nothing may be summed until that is put right")


async def _unforeseen(_request: Request, _failure: Exception) -> JSONResponse:
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "this was not foreseen; the log has it under X-Request-ID"
    )
