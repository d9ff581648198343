"""The demo's control panel, at a controller that does nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from msgspec import Struct

from tallypost_cli.demo.state import (
    BurstCommand,
    SESCommand,
    SMTPCommand,
    StoryCommand,
    TrafficCommand,
)
from tallypost_cli.ports import find_free_port
from tallypost_core.ids import new_id
from tallypost_domain.queue.account_states import AccountCondition, AccountState, write_states
from tallypost_domain.queue.claims import beat
from tallypost_simulators.control_app import Nothing
from tests.integration.console.conftest import OPERATOR
from tests.integration.console.controllers import Controller, run_controller
from tests.integration.console.following import follow
from tests.integration.console.reading import main, tile, words
from tests.integration.console.running import Browser, form_token, open_browser, run_console
from tests.integration.people.samples import PASSWORD
from tests.support.database import Database


@pytest.fixture
def controller() -> Controller:
    """What the panel talks to."""
    return Controller()


@pytest.fixture
async def demo_url(controller: Controller) -> AsyncIterator[str]:
    """Where the controller listens."""
    async with run_controller(controller) as url:
        yield url


@pytest.fixture
async def console_url(
    database: Database, people: None, demo_url: str, tmp_path: Path
) -> AsyncIterator[str]:
    """A console of a demo, in the place of the usual one."""
    url = database.url("tp_console")
    async with run_console(url, objects=tmp_path, demo_url=demo_url) as address:
        yield address


@asynccontextmanager
async def at_a_console_without_its_demo(database: Database) -> AsyncIterator[Browser]:
    """An operator whose demo has ended."""
    away = f"http://127.0.0.1:{find_free_port()}"
    async with (
        run_console(database.url("tp_console"), demo_url=away) as url,
        open_browser(url) as opened,
    ):
        await opened.sign_in(OPERATOR, PASSWORD)
        yield opened


async def turn(browser: Browser, action: str, /, **fields: str) -> httpx.Response:
    """Send one of the panel's forms."""
    return await browser.submit_with_token("/demo", f"/demo/{action}", **fields)


async def test_panel_shows_how_everything_stands(operator: Browser) -> None:
    page = await operator.get("/demo")
    assert page.status_code == 200
    assert tile(page, "Workers").value == "2"
    for option in ("reset_after", "4xx", "500", "20"):
        assert f'<option value="{option}" selected>' in page.text
    assert 'id="ses-share" name="share" type="number" value="75"' in page.text
    assert 'id="smtp-share" name="share" type="number" value="25"' in page.text
    said = words(main(page))
    assert "ses resets after reading, 75 of 100; smtp puts off (4xx), 25 of 100" in said
    assert "No worker has said yet which accounts it has." in said
    assert "Story, now playing" in said
    assert "Storm Look at it." in said
    assert "All is well." not in said
    assert "1,234 emails accepted by the API, 3 refused" in said
    assert "12:00:05 Redis was emptied" in said


async def test_accounts_are_shown_as_the_workers_see_them(
    operator: Browser, database: Database
) -> None:
    worker_id, down = new_id(), AccountState("ses", "ses", AccountCondition.OPEN, 42.0)
    async with database.connect("tp_deliver") as deliverer, database.pool("tp_worker") as pool:
        await beat(deliverer, worker_id)
        await write_states(pool, worker_id, [down])
    assert "Breaker open ses seen by 1 worker" in words(main(await operator.get("/demo")))


async def test_operator_finds_the_panel_in_the_rail_and_others_do_not(
    operator: Browser, owner: Browser
) -> None:
    assert 'href="/demo"' in (await operator.get("/overview")).text
    assert 'href="/demo"' not in (await owner.get("/")).text


@pytest.mark.parametrize(
    ("action", "fields", "command"),
    [
        ("traffic", {"rate_per_s": "100"}, TrafficCommand(100.0)),
        ("burst", {"count": "1000"}, BurstCommand(1_000)),
        (
            "ses",
            {"knob": "5xx_silent", "share": "100", "latency_ms": "0"},
            SESCommand(latency_ms=0, knob="5xx_silent", share=1.0),
        ),
        (
            "smtp",
            {"knob": "hang", "share": "50", "latency_ms": "100"},
            SMTPCommand(latency_ms=100, knob="hang", share=0.5),
        ),
        ("story", {"action": "start"}, StoryCommand("start")),
        ("story", {"action": "stop"}, StoryCommand("stop")),
        ("kill-worker", {}, Nothing()),
        ("flush-redis", {}, Nothing()),
        ("reset", {}, Nothing()),
    ],
)
async def test_knobs_and_buttons_are_passed_on(
    operator: Browser,
    controller: Controller,
    action: str,
    fields: dict[str, str],
    command: Struct,
) -> None:
    answer = await turn(operator, action, **fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "/demo")
    assert controller.done == [command]


async def test_within_the_page_numbers_and_story_change_in_place(
    operator: Browser, controller: Controller
) -> None:
    token = form_token(await operator.get("/demo"))
    controller.workers = 7
    answer = await operator.client.post(
        "/demo/kill-worker",
        data={"form_token": token},
        headers={"origin": operator.origin, "hx-request": "true", "hx-target": "div#numbers"},
    )
    assert answer.status_code == 200
    assert "<html" not in answer.text
    assert tile(answer, "Workers").value == "7"
    assert '<hx-partial hx-target="#story"' in answer.text


async def test_what_cannot_be_done_now_is_said(operator: Browser, controller: Controller) -> None:
    controller.refuses = True
    answer = await turn(operator, "kill-worker")
    assert answer.status_code == 409
    assert "no worker is left" in words(main(answer))


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        ("burst", {"count": "many"}),
        ("burst", {"count": "nan"}),
        ("burst", {"count": "inf"}),
        ("burst", {}),
        ("traffic", {"rate_per_s": "nan"}),
        ("smtp", {"knob": "4xx", "share": "half", "latency_ms": "0"}),
        ("smtp", {"knob": "4xx", "share": "5", "latency_ms": "-inf"}),
        ("smtp", {"share": "5", "latency_ms": "0"}),
        ("story", {}),
    ],
)
async def test_form_that_makes_no_sense_is_not_passed_on(
    operator: Browser, controller: Controller, action: str, fields: dict[str, str]
) -> None:
    answer = await turn(operator, action, **fields)
    assert answer.status_code == 422
    assert controller.done == []


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        ("burst", {"count": "0"}),
        ("traffic", {"rate_per_s": "1e9"}),
        ("smtp", {"knob": "5xx", "share": "101", "latency_ms": "0"}),
        ("smtp", {"knob": "429", "share": "5", "latency_ms": "0"}),
        ("ses", {"knob": "4xx", "share": "5", "latency_ms": "0"}),
        ("story", {"action": "rewind"}),
    ],
)
async def test_what_the_controller_does_not_take_is_refused(
    operator: Browser, controller: Controller, action: str, fields: dict[str, str]
) -> None:
    assert (await turn(operator, action, **fields)).status_code == 409
    assert controller.done == []


async def test_action_that_there_is_not_is_not_found(
    operator: Browser, controller: Controller
) -> None:
    for action in ("state", "other", "kill-worker%2F.."):
        assert (await turn(operator, action)).status_code == 404
    assert controller.done == []


async def test_controller_that_is_away_is_said_to_be(database: Database, people: None) -> None:
    async with at_a_console_without_its_demo(database) as operator:
        page = await operator.get("/demo")
        assert page.status_code == 503
        assert "The demo's controller does not answer." in words(main(page))
        assert 'href="/demo">Try again' in page.text
        answer = await operator.submit_with_token("/overview", "/demo/reset")
        assert answer.status_code == 503


async def test_only_operators_see_the_panel_and_turn_its_knobs(
    owner: Browser, controller: Controller
) -> None:
    for path in ("/demo", "/demo/live"):
        assert (await owner.get(path)).status_code == 403
    answer = await owner.submit_with_token("/emails", "/demo/flush-redis")
    assert answer.status_code == 403
    assert controller.done == []


async def test_nobody_turns_a_knob_without_signing_in(
    browser: Browser, controller: Controller
) -> None:
    answer = await browser.submit("/demo/flush-redis")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login"
    assert controller.done == []


async def test_where_no_demo_runs_no_knob_is_there(database: Database, people: None) -> None:
    async with run_console(database.url("tp_console")) as url, open_browser(url) as operator:
        await operator.sign_in(OPERATOR, PASSWORD)
        for path in ("/demo", "/demo/live"):
            assert (await operator.get(path)).status_code == 404
        answer = await operator.submit_with_token("/overview", "/demo/reset")
        assert answer.status_code == 404


async def test_panel_shows_by_itself_what_changes(
    operator: Browser, controller: Controller
) -> None:
    async with follow(operator, "/demo/live") as panel:
        first = await panel.next()
        assert first is not None
        assert "Redis was emptied" in first.data
        assert '<hx-partial hx-target="#story"' in first.data
        controller.workers = 5
        await panel.until('<span class="value">5</span>')
