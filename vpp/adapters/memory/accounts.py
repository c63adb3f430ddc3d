"""People, logins and their trail, kept in memory."""

from collections.abc import Sequence

from vpp.domain.access import ANSWERS_KEPT, KeptAnswer, LoginLink, Session, TrailEntry, User


class MemoryAccounts:
    """The accounts' part of the memory store."""

    def __init__(self) -> None:
        self._users: dict[str, User] = {}
        self._sessions: dict[str, Session] = {}
        self._login_links: dict[str, LoginLink] = {}
        self._trail: list[TrailEntry] = []
        self._answers: dict[str, KeptAnswer] = {}

    async def keep_user(self, user: User) -> None:
        """Add somebody, or replace the one of that name; a replaced one's sessions and links end."""
        self._users[user.name] = user
        self._sessions = {key: each for key, each in self._sessions.items() if each.user_name != user.name}
        self._login_links = {
            key: each for key, each in self._login_links.items() if each.user_name != user.name
        }

    async def user(self, name: str) -> User | None:
        """Return somebody by name, None for an unknown one."""
        return self._users.get(name)

    async def users(self) -> Sequence[User]:
        """Return everybody by name."""
        return [self._users[name] for name in sorted(self._users)]

    async def begin_session(self, session: Session) -> None:
        """Store a login; sessions that ended before it began are forgotten."""
        lasting = {key: each for key, each in self._sessions.items() if each.expires_at > session.started_at}
        self._sessions = lasting | {session.key: session}

    async def session(self, key: str) -> Session | None:
        """Return a session by its key, None for an unknown or ended one; it may have expired."""
        return self._sessions.get(key)

    async def end_session(self, key: str) -> None:
        """End a session; an unknown one is ended already."""
        self._sessions.pop(key, None)

    async def add_login_link(self, link: LoginLink) -> None:
        """Store a link that logs in once."""
        self._login_links[link.key] = link

    async def use_login_link(self, key: str) -> LoginLink | None:
        """Return the link and forget it, None for an unknown or used one: of two at once one gets it."""
        return self._login_links.pop(key, None)

    async def leave_trail(self, entries: Sequence[TrailEntry]) -> None:
        """Append what people did or read; nothing of it is ever changed."""
        self._trail.extend(entries)

    async def trail(self, *, subject: str | None = None, limit: int = 200) -> Sequence[TrailEntry]:
        """Return the newest entries first, with a subject those about it."""
        found = [each for each in reversed(self._trail) if subject is None or each.subject == subject]
        return found[:limit]

    async def keep_answer(self, answer: KeptAnswer) -> None:
        """Keep a command's answer; the first under a key stays. Those older than a day are forgotten."""
        oldest = answer.at - ANSWERS_KEPT
        self._answers = {key: each for key, each in self._answers.items() if each.at > oldest}
        self._answers.setdefault(answer.key, answer)

    async def kept_answer(self, key: str) -> KeptAnswer | None:
        """Return the answer kept under a key, None where there is none or it is forgotten."""
        return self._answers.get(key)
