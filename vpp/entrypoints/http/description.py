"""What the OpenAPI document says beyond the routes themselves: problems, and the key of a command."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from vpp.entrypoints.http.commands import NO_COMMANDS, WRITES
from vpp.entrypoints.http.problems import USUAL, Problem

_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "the same request under the same key is done once and answered alike for a day",
    "schema": {"type": "string", "pattern": r"^[\x21-\x7e]{1,128}$"},
}
_REASON = {
    "name": "X-VPP-Reason",
    "in": "header",
    "required": False,
    "description": "why, for the trail",
    "schema": {"type": "string", "maxLength": 500},
}


def describe(app: FastAPI) -> None:
    """Complete the application's description."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, routes=app.routes)
            made["components"]["schemas"]["Problem"] = Problem.model_json_schema()
            for path, methods in made["paths"].items():
                for method, about in methods.items():
                    if path.startswith("/api"):
                        about["responses"] = about["responses"] | {
                            str(status): answer for status, answer in USUAL.items()
                        }
                        if method.upper() in WRITES and path not in NO_COMMANDS:
                            about.setdefault("parameters", []).extend((_KEY, _REASON))
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI documents this as the way
