"""The controller as its clients see it: what it takes, refuses and answers."""

import asyncio
import typing
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from msgspec import structs

from tallypost_cli.demo.panel import Panel, controller
from tallypost_cli.demo.stage import KNOB_WORDS
from tallypost_cli.demo.state import PROVIDERS
from tallypost_cli.demo.story import Step, Story
from tallypost_simulators.fault_control import Knobs
from tallypost_simulators.http_knobs import HTTPKnobs
from tallypost_simulators.smtp_knobs import SMTPKnobs
from tests.unit.cli.demo.stand_ins import Scene

_TOKEN = "token"
_STEP = Step(name="one", text="Look.", at_s=0)
_AT_REST = {"latency_ms": 0, "knob": "none", "share": 1.0}


class Remote:
    """A client of a controller, and the scene behind it."""

    def __init__(self, scene: Scene, client: httpx.AsyncClient) -> None:
        self.scene = scene
        self.client = client

    async def post(self, path: str, **body: object) -> httpx.Response:
        return await self.client.post(path, json=body)


@asynccontextmanager
async def _remote(token: str = _TOKEN) -> AsyncIterator[Remote]:
    scene = Scene()
    story = Story(scene.stage, [_STEP], length_s=60)
    app = controller(Panel(scene.stage, story), _TOKEN)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://demo",
        headers={"authorization": f"Bearer {token}"},
    ) as client:
        yield Remote(scene, client)
    await story.close()


async def test_the_state_tells_how_everything_stands() -> None:
    async with _remote() as remote:
        state = (await remote.client.get("/state")).json()
    assert state == {
        "traffic": {"rate_per_s": 5.0, "is_on": True, "accepted": 0, "failed": 0},
        "simulators": {"ses": _AT_REST, "smtp": _AT_REST},
        "story": {
            "is_playing": False,
            "step": None,
            "steps": [{"name": "one", "text": "Look.", "at_s": 0}],
        },
        "workers": 2,
        "last_actions": [],
    }


async def test_nobody_gets_in_without_the_token() -> None:
    async with _remote("other") as remote:
        assert (await remote.client.get("/state")).status_code == 401
        assert (await remote.post("/flush-redis")).status_code == 401
        assert (await remote.client.get("/state", headers={"authorization": ""})).status_code == 401
        assert remote.scene.machinery.flushes == 0


async def test_each_command_is_carried_out_and_answers_the_new_state() -> None:
    async with _remote() as remote:
        scene = remote.scene
        traffic = await remote.post("/traffic", rate_per_s=0)
        assert traffic.json()["traffic"]["is_on"] is False
        await remote.post("/burst")
        await remote.post("/burst", count=7)
        assert scene.traffic.bursts == [1000, 7]
        killed = await remote.post("/kill-worker")
        assert killed.json()["workers"] == 1
        await remote.post("/flush-redis")
        assert scene.machinery.flushes == 1
        newest = (await remote.client.get("/state")).json()["last_actions"]
    assert [action["text"] for action in newest[:2]] == [
        "Flushed Redis.",
        "Killed worker with SIGKILL.",
    ]


async def test_knobs_that_are_left_out_stay_as_they_are() -> None:
    async with _remote() as remote:
        await remote.post("/smtp", knob="4xx", share=0.5)
        answer = await remote.post("/smtp", latency_ms=20)
    simulators = answer.json()["simulators"]
    assert simulators["smtp"] == {"latency_ms": 20, "knob": "4xx", "share": 0.5}


async def test_knobs_of_one_provider_leave_those_of_the_other_alone() -> None:
    async with _remote() as remote:
        await remote.post("/smtp", knob="4xx")
        simulators = (await remote.post("/ses", knob="slow", share=0.5)).json()["simulators"]
    assert [*simulators] == ["ses", "smtp"]
    assert simulators["ses"] == _AT_REST | {"knob": "slow", "share": 0.5}
    assert simulators["smtp"] == _AT_REST | {"knob": "4xx"}


@pytest.mark.parametrize(
    ("path", "knob", "note"),
    [
        ("/ses", "429", "ses finds 50% of requests too fast (429), 20 ms before each reply."),
        ("/ses", "none", "ses takes everything, 20 ms before each reply."),
        ("/smtp", "hang", "smtp takes 50% of messages and stays silent, 20 ms before each reply."),
    ],
)
async def test_a_turn_of_a_knob_is_told_in_words(path: str, knob: str, note: str) -> None:
    async with _remote() as remote:
        await remote.post(path, knob=knob, share=0.5, latency_ms=20)
        assert remote.scene.notes[-1] == note


@pytest.mark.parametrize("kind", PROVIDERS.values())
def test_every_kind_of_fault_has_words(kind: type[Knobs]) -> None:
    (knob,) = (field for field in structs.fields(kind) if field.name == "knob")
    kinds = typing.get_args(typing.get_args(knob.type)[0])
    assert {"none", *KNOB_WORDS[kind]} == {*kinds}


async def test_a_reset_ends_what_was_turned_on() -> None:
    async with _remote() as remote:
        await remote.post("/traffic", rate_per_s=100)
        await remote.post("/burst", count=5000)
        await remote.post("/ses", knob="429", share=0.5)
        await remote.post("/smtp", knob="hang", latency_ms=5)
        state = (await remote.post("/reset")).json()
        assert remote.scene.traffic.bursts == []
    assert state["traffic"]["rate_per_s"] == 5.0
    assert state["simulators"] == {"ses": _AT_REST, "smtp": _AT_REST}


async def test_a_reset_with_a_provider_away_is_refused_and_does_the_rest() -> None:
    async with _remote() as remote:
        await remote.post("/smtp", knob="hang")
        remote.scene.ses.is_away = True
        assert (await remote.post("/reset")).status_code == 409
        assert remote.scene.smtp.knobs == SMTPKnobs()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/traffic", {"rate_per_s": 1}),
        ("/burst", {}),
        ("/ses", {"knob": "5xx"}),
        ("/smtp", {"knob": "5xx"}),
        ("/kill-worker", {}),
        ("/flush-redis", {}),
        ("/reset", {}),
        ("/story", {"action": "stop"}),
    ],
)
async def test_whoever_touches_a_knob_takes_over_the_story(
    path: str, body: dict[str, object]
) -> None:
    async with _remote() as remote:
        started = await remote.post("/story", action="start")
        assert started.json()["story"]["is_playing"] is True
        await asyncio.sleep(0)
        state = (await remote.post(path, **body)).json()
    assert state["story"]["is_playing"] is False
    assert any("The story stops" in action["text"] for action in state["last_actions"])


@pytest.mark.parametrize(
    ("path", "body", "field", "fix"),
    [
        ("/traffic", {"rate_per_s": 201}, "rate_per_s", "a number from 0 to 200"),
        ("/traffic", {"rate_per_s": -1}, "rate_per_s", "a number from 0 to 200"),
        ("/traffic", {"rate_per_s": "many"}, "rate_per_s", "a number from 0 to 200"),
        ("/traffic", {}, "rate_per_s", "a number from 0 to 200"),
        ("/traffic", {"rate_per_s": 1, "rate": 1}, "rate", "the fields are: rate_per_s"),
        ("/burst", {"count": 5001}, "count", "a whole number from 1 to 5000"),
        ("/burst", {"count": 1.5}, "count", "a whole number from 1 to 5000"),
        ("/smtp", {"knob": "6xx"}, "knob", "one of none, 4xx, 5xx, hang, drop_reply"),
        ("/ses", {"knob": "4xx"}, "knob", "one of none, 429, 5xx, 5xx_silent, hang, slow"),
        ("/smtp", {"share": 1.1}, "share", "a number from 0 to 1"),
        ("/smtp", {"latency_ms": 2001}, "latency_ms", "a whole number from 0 to 2000"),
        ("/story", {"action": "pause"}, "action", "start or stop"),
        ("/kill-worker", {"name": "api"}, "name", "the fields are: none"),
    ],
)
async def test_a_value_that_does_not_fit_names_its_field_and_the_fix(
    path: str, body: dict[str, object], field: str, fix: str
) -> None:
    async with _remote() as remote:
        answer = await remote.post(path, **body)
        assert remote.scene.notes == []
    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert fix in answer.json()["message"]


async def test_what_is_no_json_and_what_is_too_long_is_refused() -> None:
    async with _remote() as remote:
        assert (await remote.client.post("/burst", content=b"{")).status_code == 400
        assert (await remote.client.post("/burst", content=b"\xff")).status_code == 400
        assert (await remote.client.post("/burst", content=b" " * 20_000)).status_code == 413
        assert (await remote.client.post("/burst", content=b"[]")).status_code == 422
        assert (await remote.client.get("/burst")).status_code == 404


async def test_what_cannot_be_done_now_is_refused_with_the_reason() -> None:
    async with _remote() as remote:
        remote.scene.machinery.workers.clear()
        refused = await remote.post("/kill-worker")
    assert refused.status_code == 409
    assert refused.json()["message"] == "No worker is ready."


async def test_a_simulator_that_is_away_is_shown_as_it_stood_last() -> None:
    async with _remote() as remote:
        await remote.post("/smtp", knob="5xx", share=0.25)
        remote.scene.smtp.is_away = True
        state = (await remote.client.get("/state")).json()
        assert (await remote.post("/smtp", knob="none")).status_code == 409
    assert state["simulators"]["smtp"] == _AT_REST | {"knob": "5xx", "share": 0.25}


async def test_the_state_keeps_the_newest_twenty_actions() -> None:
    async with _remote() as remote:
        for count in range(1, 26):
            await remote.post("/burst", count=count)
        actions = (await remote.client.get("/state")).json()["last_actions"]
    assert len(actions) == 20
    assert actions[0]["text"] == "A burst of 25 emails."


async def test_knobs_of_a_story_give_way_to_those_of_a_person() -> None:
    async with _remote() as remote:
        scene = remote.scene
        await remote.post("/story", action="start")
        await remote.post("/ses", knob="hang")
        assert scene.ses.knobs == HTTPKnobs(knob="hang")
        await remote.post("/story", action="start")
        await remote.post("/reset")
        assert scene.ses.knobs == HTTPKnobs()
