"""Asks the VTNs of others for events, one after the other, and hands over what is new as signals."""

import structlog

from vpp.adapters.openadr import polled_topic
from vpp.adapters.vtn_client import VtnClient, VtnUnreachable
from vpp.bootstrap import Controller
from vpp.domain.grid_event import Receipt
from vpp.entrypoints.operations.desk import Desk
from vpp.entrypoints.operations.polled_events import Polled, news_of
from vpp.entrypoints.operations.signals import ANSWER_WITHIN_S
from vpp.ports import StoreUnavailable
from vpp.settings import VtnSettings

logger = structlog.get_logger()


class Polling:
    """Asks one VTN again and again, and says since when it is silent."""

    def __init__(self, source: str, settings: VtnSettings, *, controller: Controller, desk: Desk) -> None:
        self._source, self._programs = source, settings.programs
        self._client = VtnClient(settings.access)
        self._controller, self._desk = controller, desk
        self._polled = Polled()
        self._refused: dict[str, str] = {}  # why, as the log has it

    async def turn(self) -> None:
        """Ask once; what cannot be handed over now is new again at the next turn."""
        silent = self._controller.silent_vtns
        try:
            events = await self._client.events()
        except VtnUnreachable as failure:
            if self._source not in silent:
                silent[self._source] = self._desk.clock.now()
                logger.warning("a VTN gives no events", source=self._source, why=str(failure))
            return
        if silent.pop(self._source, None) is not None:
            logger.info("a VTN gives events again", source=self._source)
        topic = polled_topic(self._source)
        try:
            news = await news_of(
                self._desk, events, source=self._source, programs=self._programs, polled=self._polled
            )
        except StoreUnavailable:
            return  # the loop says so; the list comes again
        for each in news:
            answer = await self._controller.take_signal(topic, each.message, within_s=ANSWER_WITHIN_S)
            if isinstance(answer, Receipt):
                self._polled.told[each.event_id] = each.digest
            elif answer is not None and self._refused.get(each.event_id) != answer:
                self._refused[each.event_id] = answer
                logger.warning(
                    "a VTN's event is refused", source=self._source, event_id=each.event_id, why=answer
                )
