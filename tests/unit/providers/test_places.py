"""Who waits for a place, and who gets one first."""

import asyncio

import pytest

from tallypost_providers.errors import ProviderBusy
from tallypost_providers.places import Places

IN_TIME_S = 10.0


async def served(kinds: str) -> str:
    """The order in which those who wait are served, `b` for bulk mail and `u` for other mail."""
    places = Places(1)
    order: list[str] = []

    async def wait(kind: str) -> None:
        await places.take(IN_TIME_S, is_bulk=kind == "b")
        order.append(kind)
        places.give_back()

    await places.take(IN_TIME_S, is_bulk=False)
    waiting = [asyncio.create_task(wait(kind)) for kind in kinds]
    await asyncio.sleep(0)
    places.give_back()
    await asyncio.gather(*waiting)
    return "".join(order)


@pytest.mark.parametrize(
    ("kinds", "order"),
    [
        ("uuu", "uuu"),
        ("bbb", "bbb"),
        ("bbbuu", "uubbb"),
        ("bbuuuuuuuuu", "uuuubuuuubu"),
        ("ubub", "uubb"),
    ],
)
async def test_bulk_mail_lets_others_go_first_but_gets_one_place_in_five(
    kinds: str, order: str
) -> None:
    assert await served(kinds) == order


async def test_place_that_nobody_waits_for_is_free_for_any_kind() -> None:
    places = Places(2)
    for is_bulk in (True, False):
        await places.take(0.0, is_bulk=is_bulk)
    with pytest.raises(ProviderBusy):
        await places.take(0.0, is_bulk=True)
    places.give_back()
    await places.take(0.0, is_bulk=True)


async def test_closing_refuses_those_who_wait_and_those_who_come() -> None:
    places = Places(1)
    await places.take(IN_TIME_S, is_bulk=False)
    waiting = [
        asyncio.create_task(places.take(IN_TIME_S, is_bulk=is_bulk)) for is_bulk in (True, False)
    ]
    await asyncio.sleep(0)
    places.close()
    for refused in (*waiting, places.take(IN_TIME_S, is_bulk=False)):
        with pytest.raises(ProviderBusy):
            await refused
