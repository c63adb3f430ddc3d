"""Pages from templates: one environment, everything escaped, an unknown name is an error."""

from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vpp.domain.access import Right
from vpp.entrypoints.http import words

TEMPLATES = Path(__file__).parent / "templates"
STATIC = Path(__file__).parent / "static"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    for name in (
        "moment",
        "clock_time",
        "exact_time",
        "time_of_day",
        "power",
        "energy",
        "money",
        "duration",
        "age",
        "freshness",
        "part_of_hour",
        "percent",
        "sentence_case",
        "first_upper",
        "counted",
    ):
        environment.filters[name] = getattr(words, name)
    environment.globals["Right"] = Right
    return environment


_ENVIRONMENT = _environment()


def render(template: str, **values: Any) -> str:
    """Return a template's text."""
    return _ENVIRONMENT.get_template(template).render(**values)


def show(request: Request, template: str, status: HTTPStatus = HTTPStatus.OK, **values: Any) -> HTMLResponse:
    """Return a whole page."""
    again = request.query_params.get("again") == "yes"  # back from a login in the middle of a form
    shown = {"visitor": None, "path": request.url.path, "again": again} | values
    return HTMLResponse(render(template, **shown), status)
