"""A request whose sender left before its end asks nothing, however complete its rows look."""

import asyncio
from urllib.parse import urlsplit

import httpx
import pytest

from tests.entrypoints.builders import an_enrollment_file
from tests.entrypoints.pages.browser import serving
from tests.entrypoints.pages.world import Suburb

PATH = "/api/v1/sites"
TOKEN = {"Authorization": "Bearer a-token"}
ROWS = an_enrollment_file("cut-1", "cut-2")
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {TOKEN['Authorization']}\r\n"
CUT = {
    "of a declared length": HEAD.encode() + b"Content-Length: %d\r\n\r\n" % (len(ROWS) + 40) + ROWS,
    "in pieces": HEAD.encode() + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(ROWS), ROWS),
}


@pytest.mark.parametrize("sent", CUT.values(), ids=CUT)
async def test_a_file_that_was_cut_off_on_its_way_enrols_nobody(suburb: Suburb, sent: bytes) -> None:
    async with serving(suburb) as address, httpx.AsyncClient(base_url=address, headers=TOKEN) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(address).port)
        writer.write(sent)
        await writer.drain()
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        known = [await client.get(f"{PATH}/{site_id}") for site_id in ("cut-1", "cut-2", "s-001")]
        whole = await client.post(PATH, content=ROWS)
        counted = (await client.get("/metrics")).text

    assert answer == b"" or not answer.startswith(b"HTTP/1.1 2")
    assert [each.status_code for each in known] == [404, 404, 200]
    assert 'status="5xx"' not in counted
    assert [each["site_id"] for each in whole.json()["sites"]] == ["cut-1", "cut-2"]
