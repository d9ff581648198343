"""Where subscribers come from, which ones are refused, and how their settings are read."""

import asyncio
import base64
import re
import sys

import pytest
from msgspec import defstruct

from tallypost_core.plugin_events import SubscriberMisconfigured
from tallypost_core.plugin_loading import list_entry_points
from tallypost_core.settings import Secret, SettingsError
from tallypost_core.settings.apps import APP_SETTINGS, APISettings, load
from tallypost_core.settings.groups import SubscriberSettings
from tallypost_core.settings.loader import load_settings
from tallypost_core.settings.plugins import (
    EVENTS_GROUP,
    read_subscriber_names,
    select_subscriber_variables,
)
from tallypost_core.subscriber_registry import (
    create_subscriber,
    get_settings_struct,
    read_settings,
    try_out,
)
from tallypost_providers import registry
from tests.support.plugins import LISTENER, Plugins

WORD = "three-short-ones"
RING = f"sample:{base64.b64encode(bytes(32)).decode()}"
API = {
    "TALLYPOST_DATABASE_API_URL": "postgresql://a@127.0.0.1/a",
    "TALLYPOST_DATABASE_ACCEPT_URL": "postgresql://b@127.0.0.1/a",
    "TALLYPOST_SECRETS_KEY_RING": RING,
    "TALLYPOST_SECRETS_PEPPERS": RING,
    "TALLYPOST_OBJECTS_URL": "file:///objects",
}


def install(plugins: Plugins, name: str = "listener", source: str | None = LISTENER) -> None:
    plugins.install(
        name,
        source.replace('"listener"', f'"{name}"') if source else None,
        distribution="listener-post",
        value="listener_post:Listener",
        group="tallypost.events",
    )


def install_archive(plugins: Plugins, group: str = "tallypost.events") -> None:
    """Another plugin, whose variables begin as the listener's do."""
    plugins.install(
        "listener_archive", None, distribution="archive-post", value="archive:Archive", group=group
    )


def test_another_distribution_adds_a_subscriber(plugins: Plugins) -> None:
    assert list_entry_points(EVENTS_GROUP) == []
    install(plugins)
    assert [entry_point.name for entry_point in list_entry_points(EVENTS_GROUP)] == ["listener"]
    subscriber = create_subscriber("listener", {"TALLYPOST_LISTENER_FILE": "/events"})
    assert subscriber.name == "listener"


def test_settings_are_the_variables_that_begin_with_its_name(plugins: Plugins) -> None:
    install(plugins)
    settings = read_settings(
        "listener",
        {
            "TALLYPOST_LISTENER_FILE": "/events",
            "TALLYPOST_LISTENER_WORD": WORD,
            # Of somebody else, who judges it.
            "TALLYPOST_REDIS_ULR": "redis://127.0.0.1",
        },
    )
    assert getattr(settings, "word") == Secret(WORD)  # noqa: B009 - mypy knows no such field


def test_problems_of_its_settings_are_told_together_without_a_value(plugins: Plugins) -> None:
    install(plugins)
    environ = {
        "TALLYPOST_LISTENER_WORD": WORD,
        "TALLYPOST_LISTENER_WORD_FILE": "/words",
        "TALLYPOST_LISTENER_WROD": WORD,
    }
    with pytest.raises(SubscriberMisconfigured) as caught:
        create_subscriber("listener", environ)
    for told in ("FILE is missing", "WORD: is set twice", "WROD is not a setting"):
        assert f"TALLYPOST_LISTENER_{told}" in caught.value.message
    assert WORD not in caught.value.message


def test_unknown_name_is_told_beside_the_known_ones(plugins: Plugins) -> None:
    install(plugins)
    with pytest.raises(SubscriberMisconfigured, match=r"'ledger'.*Installed: listener\."):
        get_settings_struct("ledger", {})


@pytest.mark.parametrize(
    "source", [None, "1 / 0", "class Listener", "Other = 1", "import sys\nsys.exit(0)"]
)
def test_module_that_breaks_while_it_is_imported_is_named(
    plugins: Plugins, source: str | None
) -> None:
    install(plugins, source=source)
    with pytest.raises(
        SubscriberMisconfigured, match=r"listener-post 1\.0.*listener_post:Listener"
    ):
        get_settings_struct("listener", {})


@pytest.mark.parametrize(
    ("kept", "instead", "fault"),
    [
        ('name = "listener"', 'name = "other"', "its name is 'other'"),
        ("async def handle", "def handle", "`async def handle`"),
        ("async def close", "async def closes", "`async def close`"),
        ("class Listener:", "def Listener(): ...\nclass Other:", "no class"),
        ("settings = ListenerSettings", "", "no msgspec Struct"),
        ("(Struct, frozen=True)", "(Struct)", "not frozen"),
        ('Meta(description="A word.")', "Meta()", "word has no Meta"),
        ("Annotated[Path,", 'Annotated["File",', "cannot be read"),
        ("(self, settings)", "(self)", "constructor does not take"),
        (
            "class Listener:",
            "from tallypost_core.plugin_events import Subscriber\nclass Listener(Subscriber):",
            None,
        ),
    ],
)
def test_class_that_breaks_the_contract_is_refused_with_what_is_wrong(
    plugins: Plugins, kept: str, instead: str, fault: str | None
) -> None:
    assert kept in LISTENER
    install(plugins, source=LISTENER.replace(kept, instead))
    if fault is None:
        assert get_settings_struct("listener", {}).__name__ == "ListenerSettings"
        return
    with pytest.raises(SubscriberMisconfigured, match=f"breaks the contract.*{re.escape(fault)}"):
        get_settings_struct("listener", {})


def test_methods_of_the_protocol_are_not_its_own(plugins: Plugins) -> None:
    source = LISTENER.replace("async def handle", "async def handles").replace(
        "class Listener:",
        "from tallypost_core.plugin_events import Subscriber\nclass Listener(Subscriber):",
    )
    install(plugins, source=source)
    with pytest.raises(SubscriberMisconfigured, match="`async def handle`"):
        get_settings_struct("listener", {})


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("ValueError(f'{settings.word.reveal()}')", "its constructor raised ValueError"),
        ("SystemExit(0)", "its constructor raised SystemExit"),
        ("SubscriberMisconfigured('The word is short.')", "The word is short"),
    ],
)
def test_constructor_that_fails_is_told_without_its_words_unless_they_are_meant(
    plugins: Plugins, raised: str, told: str
) -> None:
    source = LISTENER.replace(
        "self.kept = settings",
        f"from tallypost_core.plugin_events import SubscriberMisconfigured\n        raise {raised}",
    )
    install(plugins, source=source)
    environ = {"TALLYPOST_LISTENER_FILE": "/events", "TALLYPOST_LISTENER_WORD": WORD}
    with pytest.raises(SubscriberMisconfigured, match=told) as caught:
        create_subscriber("listener", environ)
    assert WORD not in caught.value.message


def test_one_that_is_tried_out_is_made_in_a_running_loop_and_closed(plugins: Plugins) -> None:
    source = LISTENER.replace(
        "self.kept = settings", "self.loop = asyncio.get_running_loop()"
    ).replace(
        "async def close(self):\n        pass", "async def close(self):\n        closed.append(1)"
    )
    install(plugins, source=f"import asyncio\nclosed = []\n{source}")
    asyncio.run(try_out("listener", {"TALLYPOST_LISTENER_FILE": "/events"}))
    assert sys.modules["listener_post"].closed == [1]


def test_one_that_cannot_be_closed_is_told_without_its_words(plugins: Plugins) -> None:
    source = LISTENER.replace(
        "async def close(self):\n        pass",
        f"async def close(self):\n        raise KeyError('{WORD}')",
    )
    install(plugins, source=source)
    with pytest.raises(SubscriberMisconfigured, match="its close raised KeyError") as caught:
        asyncio.run(try_out("listener", {"TALLYPOST_LISTENER_FILE": "/events"}))
    assert WORD not in caught.value.message


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [("2592000", None), ("2592001", "RETRY_SCHEDULE_S"), ("5,1e14", "RETRY_SCHEDULE_S")],
)
def test_no_wait_of_the_schedule_is_longer_than_30_days(schedule: str, problem: str | None) -> None:
    group = defstruct("group", [("subscriber", SubscriberSettings)], frozen=True)
    environ = {"TALLYPOST_SUBSCRIBER_RETRY_SCHEDULE_S": schedule}
    if problem is None:
        load_settings(group, environ, (group,))
        return
    with pytest.raises(SettingsError, match=problem):
        load_settings(group, environ, (group,))


@pytest.mark.parametrize("name", ["redis", "port", "smtp", "subscriber", "Listener", "li-ner"])
def test_name_whose_variables_would_mix_with_ours_is_refused(plugins: Plugins, name: str) -> None:
    install(plugins, name)
    with pytest.raises(SubscriberMisconfigured, match=rf"'{name}' of listener-post 1\.0"):
        get_settings_struct(name, {})


@pytest.mark.parametrize("name", ["pigeon", "pigeon_post"])
def test_name_that_would_mix_with_a_providers_is_refused_and_the_provider_is_not(
    plugins: Plugins, name: str
) -> None:
    plugins.install()
    install(plugins, name)
    with pytest.raises(SubscriberMisconfigured, match=r"would mix.*of plugin 'pigeon'"):
        get_settings_struct(name, {"TALLYPOST_PROVIDERS": "smtp, pigeon"})
    assert registry.get_settings_struct("pigeon").__name__ == "PigeonSettings"


def test_names_of_two_subscribers_that_are_used_must_not_mix(plugins: Plugins) -> None:
    install(plugins)
    install_archive(plugins)
    environ = {"TALLYPOST_SUBSCRIBERS": "listener,listener_archive"}
    with pytest.raises(SubscriberMisconfigured, match=r"would mix.*of plugin 'listener_archive'"):
        get_settings_struct("listener", environ)


@pytest.mark.parametrize("group", ["tallypost.events", "tallypost.providers"])
def test_what_is_installed_and_not_named_is_in_nobodys_way(plugins: Plugins, group: str) -> None:
    install(plugins)
    install_archive(plugins, group)
    environ = {
        "TALLYPOST_PROVIDERS": "smtp",
        "TALLYPOST_SUBSCRIBERS": "listener",
        "TALLYPOST_LISTENER_FILE": "/events",
    }
    assert create_subscriber("listener", environ).name == "listener"


def test_name_that_two_distributions_claim_is_refused(plugins: Plugins) -> None:
    for number in ("one", "two"):
        plugins.install(
            "twice",
            None,
            distribution=f"{number}-post",
            value=f"{number}:Listener",
            group="tallypost.events",
        )
    with pytest.raises(SubscriberMisconfigured, match=r"'twice'.*one-post.*two-post"):
        get_settings_struct("twice", {})


def test_names_are_read_each_once() -> None:
    assert read_subscriber_names({"TALLYPOST_SUBSCRIBERS": "b, a,,b "}) == ("b", "a")
    assert read_subscriber_names({}) == ()


def test_variables_of_a_named_or_installed_subscriber_stop_no_app(plugins: Plugins) -> None:
    given = API | {"TALLYPOST_LISTENER_FILE": "/events"}
    with pytest.raises(SettingsError, match="TALLYPOST_LISTENER_FILE is not a setting"):
        load(APISettings, given)
    # Also where it is not installed any more.
    load(APISettings, given | {"TALLYPOST_SUBSCRIBERS": "listener"})
    install(plugins, source="raise RuntimeError('nobody asked for it')")
    load(APISettings, given)


def test_naming_one_of_our_groups_excuses_no_typing_error() -> None:
    given = API | {"TALLYPOST_REDIS_ULR": "x", "TALLYPOST_SUBSCRIBERS": "redis"}
    with pytest.raises(SettingsError, match="TALLYPOST_REDIS_ULR is not a setting"):
        load(APISettings, given)


def test_a_worker_is_given_the_variables_of_named_subscribers_and_none_of_ours() -> None:
    environ = {
        "TALLYPOST_SUBSCRIBERS": "listener,database",
        "TALLYPOST_LISTENER_FILE": "/events",
        "TALLYPOST_LISTENERS": "x",
        "TALLYPOST_OTHER_FILE": "/other",
        "TALLYPOST_DATABASE_OWNER_URL": WORD,
    }
    selected = select_subscriber_variables(APP_SETTINGS.values(), environ)
    assert selected == {"TALLYPOST_LISTENER_FILE": "/events"}
