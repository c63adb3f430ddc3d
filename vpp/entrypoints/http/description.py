"""What the OpenAPI document says beyond the routes themselves: problems, and the key of a command."""

from collections.abc import Iterator, Mapping
from inspect import getdoc
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from vpp.entrypoints.http.commands import NO_COMMANDS, WRITES
from vpp.entrypoints.http.problems import USUAL, Problem
from vpp.entrypoints.routes import ROUTES

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
            said = {(route.method, route.path): getdoc(each) for each, route in ROUTES.items()}
            for path, methods in made["paths"].items():
                for method, about in methods.items():
                    if path.startswith("/api"):
                        # What an operation says to the command line it says to whoever asks by hand.
                        about["description"] = said.get((method.upper(), path)) or about.get(
                            "description", ""
                        )
                        about["responses"] = about["responses"] | {
                            str(status): answer for status, answer in USUAL.items()
                        }
                        if method.upper() in WRITES and path not in NO_COMMANDS:
                            about.setdefault("parameters", []).extend((_KEY, _REASON))
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI documents this as the way


def listed(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every operation for people: ``method, path, description``, and each of its ``arguments``.

    An argument is its name, where it stands, its type and what it means.
    """
    return [
        {
            "method": method.upper(),
            "path": path,
            "description": about.get("description", ""),
            "arguments": [*_parameters(about), *_fields(document, about)],
        }
        for path, methods in document["paths"].items()
        for method, about in methods.items()
    ]


def _parameters(about: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for each in about.get("parameters", ()):
        yield each["name"], each["in"], _kind(each["schema"]), each.get("description", "")


def _fields(document: Mapping[str, Any], about: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    content = about.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = content.get("schema", {})
    named = next((each["$ref"] for each in (schema, *schema.get("anyOf", ())) if "$ref" in each), None)
    if named is None:
        return
    fields = document["components"]["schemas"][named.rpartition("/")[2]]["properties"]
    for name, each in fields.items():
        yield name, "body", _kind(each), each.get("description", "")


def _kind(schema: Mapping[str, Any]) -> str:
    kinds = [each.get("type", "") for each in (schema, *schema.get("anyOf", ()))]
    return " or ".join(filter(None, kinds))
