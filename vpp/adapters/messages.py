"""The way to people's mail and phones: apprise, which knows a hundred services by one address each.

A plain e-mail address goes through the mail server of the settings. Nothing of an address is ever logged.
"""

import logging
import re

from vpp.domain.notice import Contact, Notice
from vpp.wire.notice_text import word_notice

MAIL = re.compile(r"[^\s@/:]+@[^\s@/:]+")
_FIELDS_OF_OURS = ("json://", "jsons://", "xml://", "xmls://", "form://", "forms://")

logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it would log addresses


class AppriseMessenger:
    """Sends one message to one address. ``mail_url`` is a mail server as apprise writes it, or empty."""

    def __init__(self, mail_url: str = "") -> None:
        self._mail_url = mail_url

    async def send(self, notice: Notice, contact: Contact) -> str | None:
        """Word a notice in the contact's language and send it; return what went wrong, None when sent."""
        import apprise  # a third of a second, and only a service that writes to people needs it

        address = self._address(notice, contact.address)
        if address is None:
            return "no mail server is set; see mail_url in config/default.toml"
        target = apprise.Apprise(asset=apprise.AppriseAsset(secure_logging=True))
        if not target.add(address):
            return "the address is none that can be written to"
        title, text = word_notice(notice, contact.language)
        sent = await target.async_notify(body=text, title=title, body_format=apprise.NotifyFormat.TEXT)
        return None if sent else "the service did not take it"

    def _address(self, notice: Notice, address: str) -> str | None:
        if MAIL.fullmatch(address):
            joined = "&" if "?" in self._mail_url else "?"
            return f"{self._mail_url}{joined}to={address}" if self._mail_url else None
        if address.startswith(_FIELDS_OF_OURS):
            # A receiver of ours sees by the key that a message came a second time.
            return f"{address}{'&' if '?' in address else '?'}:key={notice.key}&:kind={notice.kind}"
        return address
