"""What every store promises about disputes."""

from tests.adapters.store_world import EVENT, after
from vpp.domain.dispute import DisputeWord, WordKind
from vpp.ports import Store


def a_word(owner_id: str, kind: WordKind, text: str, *, minute: int) -> DisputeWord:
    return DisputeWord(owner_id, EVENT, kind, after(minute), "op-lin", text)


async def test_words_come_back_in_the_order_said_and_by_owner(store: Store) -> None:
    ada = a_word("o-ada", WordKind.ASKED, "Why so little?", minute=0)
    ben = a_word("o-ben", WordKind.ASKED, "¿Por qué?", minute=1)
    answer = a_word("o-ada", WordKind.ANSWERED, "Your battery was at its reserve.", minute=1)
    for word in (ada, ben, answer):
        await store.say(word)

    assert await store.words() == [ada, ben, answer]
    assert await store.words(owner_id="o-ada") == [ada, answer]
    assert await store.words(owner_id="o-nobody") == []


async def test_a_dispute_waits_while_its_owner_had_the_last_word(store: Store) -> None:
    none = await store.open_disputes()
    await store.say(a_word("o-ada", WordKind.ASKED, "Why so little?", minute=0))
    await store.say(a_word("o-ben", WordKind.ASKED, "¿Por qué?", minute=1))
    two = await store.open_disputes()
    await store.say(a_word("o-ada", WordKind.ANSWERED, "Your battery was at its reserve.", minute=2))
    one = await store.open_disputes()
    await store.say(a_word("o-ada", WordKind.ASKED, "And then?", minute=3))

    assert (none, two, one, await store.open_disputes()) == (0, 2, 1, 2)
