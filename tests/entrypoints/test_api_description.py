"""The API does what its own description says, tried by machine: no crash, no undocumented answer."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.types import Receive, Scope, Send

from tests.entrypoints.builders import an_event, take_event
from tests.entrypoints.pages.world import Suburb, a_suburb
from vpp.entrypoints.http.api import create_api
from vpp.entrypoints.operations import sources, vtn
from vpp.entrypoints.operations.sources import OPENADR_PATH

TOKEN = "a-token"
EXAMPLES = 10  # of each operation; more found nothing more
# A description cannot say that a start is over or a program unknown; such a request is refused with 422.
BEYOND_A_SCHEMA = [positive_data_acceptance]


async def a_product() -> Suburb:
    suburb = await a_suburb(Path(tempfile.mkdtemp()), homes=3)
    await take_event(suburb.desk, an_event("ev-1"))
    return suburb


async def a_client_token(suburb: Suburb) -> str:
    added = await sources.add_source(suburb.desk, name="pge", client=True)
    given = await vtn.give_token(suburb.desk, client_id="pge", client_secret=str(added["client_secret"]))
    return str(given["access_token"])


async def readiness() -> dict[str, object]:
    return {"database": True, "broker": True}


class Turning:
    """The application beside a controller that turns while a request is answered, as in ``vpp serve``."""

    def __init__(self, app: FastAPI, suburb: Suburb) -> None:
        self._app, self._suburb = app, suburb

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._turning():
            await self._app(scope, receive, send)

    @contextlib.asynccontextmanager
    async def _turning(self) -> AsyncIterator[None]:
        async def turn() -> None:
            while True:
                await self._suburb.controller.turn()
                await asyncio.sleep(0.001)

        turning = asyncio.create_task(turn())
        try:
            yield
        finally:
            turning.cancel()


suburb = asyncio.run(a_product())
client_token = asyncio.run(a_client_token(suburb))
api = create_api(lambda: suburb.desk, token=TOKEN, readiness=readiness)
schema = schemathesis.openapi.from_asgi("/openapi.json", Turning(api, suburb)).exclude(
    path_regex="/stream$"  # it never ends by itself; test_streaming reads it
)


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_an_operation_answers_as_described(case: schemathesis.Case) -> None:
    token = client_token if case.path.startswith(OPENADR_PATH) else TOKEN
    case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, excluded_checks=BEYOND_A_SCHEMA)
