"""Boards followed as server-sent events, over real sockets, by one and by five hundred."""

import asyncio

import httpx

from tests.entrypoints.pages.browser import serving
from tests.entrypoints.pages.follower import STREAM, Follower
from tests.entrypoints.pages.world import PROGRAM, Suburb
from vpp.entrypoints.operations import events, starting

BOARDS = 500
TOKEN = {"Authorization": "Bearer a-token"}


async def begin(suburb: Suburb) -> None:
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.02", actor="staff:ana"
    )
    await suburb.pass_time(120)


async def test_a_board_that_is_followed_says_each_second_how_the_event_stands_until_it_is_over(
    suburb: Suburb,
) -> None:
    await begin(suburb)
    async with serving(suburb) as address:
        follower = await Follower.at(address)
        first = await follower.until("board")
        await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
        last = await follower.until("board", state="cancelled")
        rest = await follower.rest()

    assert (first["measured_w"], first["asked_w"]) == (20_000, 20_000)
    assert "course" not in first
    assert first["newest"][0]["measured_w"] == 20_000
    assert last["state"] == "cancelled"
    assert rest.endswith(b"0\r\n\r\n")


async def test_an_event_that_nobody_knows_is_a_problem_and_no_stream(suburb: Suburb) -> None:
    async with serving(suburb) as address, httpx.AsyncClient(trust_env=False) as client:
        unknown = await client.get(f"{address}{STREAM}", headers=TOKEN)
        stranger = await client.get(f"{address}{STREAM}")

    assert (unknown.status_code, stranger.status_code) == (404, 401)
    assert unknown.headers["content-type"] == "application/problem+json"


async def test_five_hundred_open_boards_on_one_process_keep_following(suburb: Suburb) -> None:
    await begin(suburb)
    async with serving(suburb) as address:
        followers = [await Follower.at(address) for _ in range(BOARDS)]
        for follower in followers:
            await follower.until("board")
        await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
        await asyncio.gather(*(follower.until("board", state="cancelled") for follower in followers))
        for follower in followers:
            follower.close()
