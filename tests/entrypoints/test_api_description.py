"""The API does what its own description says, tried by machine: no crash, no undocumented answer."""

import asyncio
import tempfile
from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.entrypoints.builders import an_event, take_event
from tests.entrypoints.pages.world import Suburb, a_suburb
from vpp.entrypoints.http.api import create_api

TOKEN = "a-token"
EXAMPLES = 10  # of each operation; more found nothing more
# A description cannot say that a start is over or a program unknown; such a request is refused with 422.
BEYOND_A_SCHEMA = [positive_data_acceptance]


async def a_product() -> Suburb:
    suburb = await a_suburb(Path(tempfile.mkdtemp()), homes=3)
    await take_event(suburb.desk, an_event("ev-1"))
    return suburb


async def readiness() -> dict[str, object]:
    return {"database": True, "broker": True}


desk = asyncio.run(a_product()).desk
schema = schemathesis.openapi.from_asgi(
    "/openapi.json", create_api(lambda: desk, token=TOKEN, readiness=readiness)
).exclude(path_regex="/stream$")  # it never ends by itself; test_streaming reads it


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_an_operation_answers_as_described(case: schemathesis.Case) -> None:
    case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"}, excluded_checks=BEYOND_A_SCHEMA)
