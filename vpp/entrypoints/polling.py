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
        self._refused: dict[str, str] = {}  # of the last list, why, as the log has it
        self._told_silent = False

    async def turn(self) -> None:
        """Ask once; what cannot be handed over now is new again at the next turn."""
        silent = self._controller.silent_vtns
        silent.setdefault(self._source, self._desk.clock.now())  # until it gave events, whatever happens
        try:
            events = await self._client.events()
        except VtnUnreachable as failure:
            if not self._told_silent:
                logger.warning("a VTN gives no events", source=self._source, why=str(failure))
            self._told_silent = True
            return
        if self._told_silent:
            logger.info("a VTN gives events again", source=self._source)
        self._told_silent = False
        topic = polled_topic(self._source)
        try:
            news = await news_of(
                self._desk, events, source=self._source, programs=self._programs, polled=self._polled
            )
        except StoreUnavailable:
            silent.pop(self._source)
            return  # the loop says so; the list comes again
        silent.pop(self._source)
        refused, self._refused = self._refused, {}
        for each in news:
            answer = await self._controller.take_signal(
                topic, each.message, within_s=ANSWER_WITHIN_S, stops=each.stops
            )
            if answer is None:
                break  # nobody judges now; the list comes again
            if isinstance(answer, Receipt):
                self._polled.told[each.event_id] = each.digest
                continue
            self._refused[each.event_id] = answer
            if refused.get(each.event_id) != answer:
                logger.warning(
                    "a VTN's event is refused", source=self._source, event_id=each.event_id[:130], why=answer
                )
