"""The part of the loopback API that keeps the books: payouts, exports, payments in, corrections, days."""

from fastapi import APIRouter, Request

from vpp.entrypoints.http.at_desk import Actor, AtDesk, Body, Cursor, Limit, Reason
from vpp.entrypoints.operations import (
    books,
    days,
    disputes,
    nominations,
    payouts,
    prices,
    reports,
    staff_reads,
    write_offs,
)
from vpp.entrypoints.operations.desk import Json

router = APIRouter()


class DayBody(Body):
    """Why a day says nothing: ``outage``, ``dual_event`` or ``event``."""

    reason: str


class NominationBody(Body):
    """The power a program may count on."""

    power_mw: str


class CorrectionBody(Body):
    """Why a closed event is settled again."""

    reason: str


class WriteOffBody(Body):
    """Why what an owner owes is borne."""

    reason: str


class QuestionBody(Body):
    """What an owner asks."""

    text: str


class AnswerBody(Body):
    """What staff answer, and whether the event is settled again first."""

    text: str
    correct: bool = False


@router.get("/disputes")
async def list_disputes(
    desk: AtDesk,
    actor: Actor,
    owner: str = "",
    waiting: bool = False,
    reason: Reason = staff_reads.ON_THE_COMMAND_LINE,
    cursor: Cursor = "",
    limit: Limit = 100,
) -> Json:
    return await staff_reads.read_disputes(
        desk, owner=owner, waiting=waiting, actor=actor, reason=reason, cursor=cursor, limit=limit
    )


@router.post("/owners/{owner_id}/disputes/{period}")
async def ask_dispute(desk: AtDesk, actor: Actor, owner_id: str, period: str, body: QuestionBody) -> Json:
    return await disputes.ask_dispute(desk, owner_id=owner_id, period=period, text=body.text, actor=actor)


@router.post("/owners/{owner_id}/disputes/{period}/answers")
async def answer_dispute(desk: AtDesk, actor: Actor, owner_id: str, period: str, body: AnswerBody) -> Json:
    return await disputes.answer_dispute(
        desk, owner_id=owner_id, period=period, text=body.text, actor=actor, correct=body.correct
    )


@router.get("/excluded-days")
async def list_days(desk: AtDesk, cursor: Cursor = "", limit: Limit = 100) -> Json:
    return await days.list_days(desk, cursor=cursor, limit=limit)


@router.put("/excluded-days/{site_id}/{day}")
async def exclude_day(desk: AtDesk, actor: Actor, site_id: str, day: str, body: DayBody) -> Json:
    return await days.exclude_day(desk, site_id=site_id, day=day, reason=body.reason, actor=actor)


@router.delete("/excluded-days/{site_id}/{day}")
async def include_day(desk: AtDesk, actor: Actor, site_id: str, day: str) -> Json:
    return await days.include_day(desk, site_id=site_id, day=day, actor=actor)


@router.get("/nominations")
async def list_nominations(
    desk: AtDesk, program_id: str = "", cursor: Cursor = "", limit: Limit = 100
) -> Json:
    return await nominations.list_nominations(desk, program_id=program_id, cursor=cursor, limit=limit)


@router.put("/programs/{program_id}/nominations/{month}")
async def nominate_power(
    desk: AtDesk, actor: Actor, program_id: str, month: str, body: NominationBody
) -> Json:
    return await nominations.nominate_power(
        desk, program_id=program_id, month=month, power_mw=body.power_mw, actor=actor
    )


@router.post("/wholesale-prices")
async def import_prices(desk: AtDesk, actor: Actor, request: Request, file_name: str = "the file") -> Json:
    return await prices.import_prices(desk, content=await request.body(), file_name=file_name, actor=actor)


@router.post("/events/{event_id}/correction")
async def correct_event(desk: AtDesk, actor: Actor, event_id: str, body: CorrectionBody) -> Json:
    return await books.correct_event(desk, event_id=event_id, reason=body.reason, actor=actor)


@router.get("/events/{event_id}/report")
async def report_event(desk: AtDesk, event_id: str) -> Json:
    return await reports.report_event(desk, event_id=event_id)


@router.post("/owners/{owner_id}/write-off")
async def write_off_owner(desk: AtDesk, actor: Actor, owner_id: str, body: WriteOffBody) -> Json:
    return await write_offs.write_off_owner(desk, owner_id=owner_id, reason=body.reason, actor=actor)


@router.get("/ledger/export/{layout}")
async def export_ledger(desk: AtDesk, layout: str) -> Json:
    return await books.export_ledger(desk, layout=layout)


@router.post("/ledger/payments")
async def reconcile_ledger(desk: AtDesk, request: Request, file_name: str = "the file") -> Json:
    return await books.reconcile_ledger(desk, content=await request.body(), file_name=file_name)


@router.get("/payouts")
async def list_payouts(desk: AtDesk, cursor: Cursor = "", limit: Limit = 100) -> Json:
    return await payouts.list_payouts(desk, cursor=cursor, limit=limit)


@router.get("/payouts/years/{year}")
async def total_year(desk: AtDesk, year: int, cursor: Cursor = "", limit: Limit = 100) -> Json:
    return await payouts.total_year(desk, year=year, cursor=cursor, limit=limit)


@router.get("/payouts/{run_id}")
async def show_run(desk: AtDesk, run_id: str, cursor: Cursor = "", limit: Limit = 100) -> Json:
    return await payouts.show_run(desk, run_id=run_id, cursor=cursor, limit=limit)


@router.put("/payouts/{run_id}")
async def run_payout(desk: AtDesk, run_id: str) -> Json:
    return await payouts.run_payout(desk, run_id=run_id)


@router.post("/payouts/{run_id}/confirmation")
async def confirm_payout(desk: AtDesk, run_id: str) -> Json:
    return await payouts.confirm_payout(desk, run_id=run_id)


@router.post("/payouts/{run_id}/cancellation")
async def cancel_payout(desk: AtDesk, run_id: str) -> Json:
    return await payouts.cancel_payout(desk, run_id=run_id)
