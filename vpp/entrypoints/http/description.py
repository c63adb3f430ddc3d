"""What the OpenAPI document says beyond the routes: problems, the key of a command, topics of MQTT."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from inspect import getdoc
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from vpp.entrypoints.http.commands import is_command
from vpp.entrypoints.http.problems import USUAL, Problem
from vpp.entrypoints.operations import (
    alarms,
    cross_check,
    days,
    disputes,
    events,
    money,
    payouts,
    sources,
    staff_reads,
)
from vpp.entrypoints.operations.desk import Json
from vpp.entrypoints.routes import ROUTES

_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "the same request under the same key is done once and answered alike for a day;"
    " one that is answered 422 did nothing and leaves its key free",
    "schema": {"type": "string", "pattern": r"^[\x21-\x7e]{1,128}$"},
}
_REASON = {
    "name": "X-VPP-Reason",
    "in": "header",
    "required": False,
    "description": "why, for the trail",
    "schema": {"type": "string", "maxLength": 500},
}

COMMANDS: Mapping[str, Callable[..., Awaitable[Json]]] = {
    "vpp alarm list": alarms.list_alarms,
    "vpp day exclude": days.exclude_day,
    "vpp day include": days.include_day,
    "vpp dispute ask": disputes.ask_dispute,
    "vpp dispute list": staff_reads.read_disputes,
    "vpp event list": events.list_events,
    "vpp event show": events.show_event,
    "vpp ledger verify --head": money.verify_ledger,
    "vpp meter check EVENT --quarantine": cross_check.quarantine_meters,
    "vpp owner history": staff_reads.read_history,
    "vpp owner messages": staff_reads.read_contact,
    "vpp payout confirm": payouts.confirm_payout,
    "vpp payout run": payouts.run_payout,
    "vpp settle EVENT": money.settle_event,
    "vpp site show": staff_reads.read_site,
    "vpp source add": sources.add_source,
    "vpp source approve NAME": sources.approve_source,
}
"""What descriptions call by its command: whoever knows only the API reads a method and a path instead."""

TOPICS = (
    ("grid/v1/{source}/event", "grid operator to controller", "by the source", "OpenADR 3.1 notification"),
    ("grid/v1/{source}/receipt", "controller to grid operator", "by the controller", "vpp.signal-receipt/1"),
    ("vpp/v1/{shard}/{site_id}/command", "controller to gateway", "by the controller", "vpp.command/1"),
    ("vpp/v1/{shard}/{site_id}/ack", "gateway to controller", "by the gateway", "vpp.ack/1"),
    ("vpp/v1/{shard}/{site_id}/telemetry", "gateway to controller", "no", "vpp.telemetry/1"),
    ("vpp/v1/{shard}/{site_id}/meter", "gateway to controller", "by the gateway", "vpp.meter/1"),
    ("vpp/v1/{shard}/{site_id}/receipt", "controller to gateway", "by the controller", "vpp.receipt/1"),
    ("vpp/v1/{shard}/{site_id}/status", "gateway to controller, retained", "no", "vpp.status/1"),
)
"""What goes over the broker: topic, from whom to whom, who signs, and the body."""

SIGNALS = (
    "A grid source signals over MQTT on grid/v1/{source}/event, or by POST /api/v1/sources/{name}/signals: "
    "the same signed message, judged the same way and answered by the same signed receipt.",
    "A server that speaks OpenADR 3.1 itself uses the VTN at /openadr/3.1: POST /openadr/3.1/events with an "
    "access token, which /openadr/3.1/auth/token gives for the client secret that vpp source add NAME "
    "--client printed. Its events are judged as signals are; what was rejected is a problem with the reason.",
    "This service listens on loopback only: to let a grid operator's server in, put a proxy with TLS before "
    "these paths, let it ask for the host 127.0.0.1, and tell the name that was asked for in X-Forwarded-Host"
    " and X-Forwarded-Proto.",
    "A signed message is two lines: the JSON body, and a detached JWS (Ed25519, RFC 7797) over its exact "
    "bytes. GET /api/v1/keys has the key that receipts and commands are signed with.",
    "What an event delivered comes back as an OpenADR 3.1 report: openadr_report of GET "
    "/api/v1/events/{event_id}/report, after the event is settled.",
)
"""How to signal, what signed means, and where usage is reported."""


def _about() -> str:
    """Return the head of the document, as Markdown."""
    head = ("Topic", "From and to", "Signed", "Body")
    rows = [head, ("---",) * 4, *((f"`{topic}`", *rest) for topic, *rest in TOPICS)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n\n".join(("# Signals, and the topics of MQTT", *SIGNALS, table))


def describe(app: FastAPI) -> None:
    """Complete the application's description."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, description=_about(), routes=app.routes)
            made["components"]["schemas"]["Problem"] = Problem.model_json_schema()
            said = {(route.method, route.path): _told(getdoc(each)) for each, route in ROUTES.items()}
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
                        if is_command(method.upper(), path):
                            about.setdefault("parameters", []).extend((_KEY, _REASON))
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI documents this as the way


def _told(text: str | None) -> str | None:
    """Return what an operation says of itself, other operations called as the API calls them."""
    for command, operation in COMMANDS.items():
        route = ROUTES[operation]
        text = text and text.replace(f"``{command}``", f"``{route.method} {route.path}``")
    return text


def listed(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every operation for people: ``method, path, description, arguments, examples``.

    An argument is its name, where it stands, its type and what it means; an example what it shows, and text.
    """
    return [
        {
            "method": method.upper(),
            "path": path,
            "description": about.get("description", ""),
            "arguments": [*_parameters(about), *_fields(document, about)],
            "examples": [*_examples(about)],
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


def _examples(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, part in (
        ("request", about.get("requestBody", {})),
        ("answer", about["responses"].get("200", {})),
    ):
        for body in part.get("content", {}).values():
            if "example" in body:
                yield name, body["example"]


def _kind(schema: Mapping[str, Any]) -> str:
    kinds = [each.get("type", "") for each in (schema, *schema.get("anyOf", ()))]
    return " or ".join(filter(None, kinds))
