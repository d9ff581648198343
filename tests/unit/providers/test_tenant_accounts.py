"""What tenants give for accounts of their own, by forms and by programs, judged by field."""

import ipaddress
import subprocess
import sys
from importlib.metadata import EntryPoints, entry_points

import msgspec
import pytest
from msgspec import Struct

from tallypost_core import plugin_loading
from tallypost_core.settings.loader import Secret
from tallypost_providers.errors import (
    InvalidAccountSettings,
    ProviderMisconfigured,
    UnknownProvider,
)
from tallypost_providers.tenant_accounts import (
    TENANT_SETTINGS,
    SendGridTenantSettings,
    SESTenantSettings,
    SMTPTenantSettings,
    create_tenant_account,
    list_fields,
    merge_settings,
    open_settings,
    read_settings,
)
from tallypost_resilience.egress_rules import EgressRules
from tests.support.plugins import Plugins

PASSWORD = "correct horse battery staple"
KEY_ID = "AKIASIMULATEDEXAMPLE"
KEY = "simulated/secret/access/key"
SMTP: dict[str, object] = {"host": "smtp.example.com"}
LOGIN: dict[str, object] = SMTP | {"username": "ada", "password": PASSWORD}
SES: dict[str, object] = {"region": "eu-west-1", "access_key_id": KEY_ID, "secret_access_key": KEY}
SENDGRID: dict[str, object] = {"api_key": "SG.simulated.key"}
EXAMPLES = [("smtp", LOGIN), ("ses", SES), ("sendgrid", SENDGRID)]
OFFICE = (ipaddress.ip_network("10.20.0.0/16"),)


def refusal_of(provider: str, raw: dict[str, object]) -> InvalidAccountSettings:
    with pytest.raises(InvalidAccountSettings) as caught:
        read_settings(provider, raw)
    return caught.value


def test_reading_settings_loads_no_adapter_and_no_sdk() -> None:
    # In a process of its own: here, other tests have loaded them.
    heavy = ["aioboto3", "aiobotocore", "botocore", "sendgrid", "aiohttp"]
    heavy += [f"tallypost_providers.{name}" for name in TENANT_SETTINGS]
    program = (
        "import sys, tallypost_providers.tenant_accounts as t; "
        "[t.list_fields(name) for name in t.TENANT_SETTINGS]; "
        f"print(sorted(set({heavy}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("provider", TENANT_SETTINGS)
def test_every_field_says_what_a_form_needs(provider: str) -> None:
    struct = TENANT_SETTINGS[provider]
    fields = list_fields(provider)
    assert tuple(field.name for field in fields) == struct.__struct_fields__
    for field in fields:
        assert field.label != field.name
        assert field.description.endswith(".")
        assert (field.kind == "choice") == bool(field.choices)
        if field.kind in {"integer", "number"}:
            assert field.at_most is not None
            assert field.at_least is not None or field.more_than is not None
        if field.kind == "text":
            assert field.max_length is not None
    # Pages and programs get them as JSON.
    assert msgspec.json.decode(msgspec.json.encode(fields))[0]["name"] == fields[0].name


def test_what_no_tenant_may_choose_is_no_field() -> None:
    names = {field.name for provider in TENANT_SETTINGS for field in list_fields(provider)}
    assert "endpoint" not in names
    (security,) = (field for field in list_fields("smtp") if field.name == "security")
    assert security.choices == ("starttls", "tls")


def test_defaults_are_stored_and_what_is_unset_is_not() -> None:
    read = read_settings("smtp", SMTP)
    assert read.plain == {
        "host": "smtp.example.com",
        "port": 587,
        "security": "starttls",
        "connections": 5,
    }
    assert read.secret == {}


def test_a_form_and_a_program_say_the_same() -> None:
    from_program = read_settings(
        "sendgrid", SENDGRID | {"activity_lookup": True, "connections": 3, "region": "eu"}
    )
    from_form = read_settings(
        "sendgrid",
        {
            "api_key": "SG.simulated.key",
            "activity_lookup": "on",
            "connections": " 3 ",
            "region": " eu\r\n",
        },
    )
    assert (from_form.plain, from_form.secret) == (from_program.plain, from_program.secret)
    port = read_settings("smtp", SMTP | {"port": "465", "security": "tls"}).plain["port"]
    assert (port, type(port)) == (465, int)
    blank = {"configuration_set": "", "tenant_name": "  ", "rate_per_s": None}
    assert read_settings("ses", SES | blank) == read_settings("ses", SES)
    assert read_settings("ses", SES | {"rate_per_s": "1.5"}).plain["rate_per_s"] == 1.5


@pytest.mark.parametrize("password", [" p w ", "p ", "\N{CYRILLIC SMALL LETTER A} "])
def test_password_of_a_relay_is_kept_with_the_blanks_at_its_ends(password: str) -> None:
    read = read_settings("smtp", LOGIN | {"password": password})
    assert read.secret == {"password": password}
    changed = merge_settings("smtp", read.plain, {"password": "p w"}, {"password": password})
    assert changed.secret == {"password": password}
    opened = open_settings("smtp", read.plain, read.secret)
    assert isinstance(opened, SMTPTenantSettings)
    assert opened.password is not None
    assert opened.password.reveal() == password


@pytest.mark.parametrize("blank", [" {}", "{} ", "{}\n", "{}\r\n", "\t{}"])
@pytest.mark.parametrize(
    ("provider", "field"), [("ses", "secret_access_key"), ("sendgrid", "api_key")]
)
def test_key_with_a_blank_at_an_end_is_refused_by_its_name(
    provider: str, field: str, blank: str
) -> None:
    usual = {"ses": SES, "sendgrid": SENDGRID}[provider]
    error = refusal_of(provider, usual | {field: blank.format(usual[field])})
    assert error.field == field
    assert "a space even at its ends" in error.message or "the end of a line" in error.message


@pytest.mark.parametrize(
    ("port", "security", "spoken"),
    [
        (465, None, "tls"),
        (465, "starttls", "tls"),
        (2465, "starttls", "tls"),
        (587, "tls", "starttls"),
        (None, "tls", "starttls"),
        ("2587", "tls", "starttls"),
    ],
)
def test_encryption_that_the_port_does_not_speak_is_refused_with_the_one_that_it_does(
    port: object, security: object, spoken: str
) -> None:
    contradiction: dict[str, object] = {"port": port, "security": security}
    error = refusal_of("smtp", SMTP | contradiction)
    assert error.field == "security"
    assert error.message == f"The `security` field must be {spoken} with port {port or 587}."
    mended = read_settings("smtp", SMTP | contradiction | {"security": spoken})
    assert mended.plain["security"] == spoken


@pytest.mark.parametrize("port", [25, 2525])
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_port_on_which_nothing_is_agreed_takes_either_encryption(port: int, security: str) -> None:
    read = read_settings("smtp", SMTP | {"port": port, "security": security})
    assert (read.plain["port"], read.plain["security"]) == (port, security)


def test_change_of_the_port_alone_is_refused_where_the_encryption_no_longer_fits() -> None:
    old = read_settings("smtp", SMTP)
    with pytest.raises(InvalidAccountSettings, match="must be tls with port 465") as caught:
        merge_settings("smtp", old.plain, old.secret, {"port": 465})
    assert caught.value.field == "security"
    new = merge_settings("smtp", old.plain, old.secret, {"port": 465, "security": "tls"})
    assert (new.plain["port"], new.plain["security"]) == (465, "tls")
    # What a release before took goes on as it is until somebody changes it.
    opened = open_settings("smtp", old.plain | {"port": 465}, {})
    assert isinstance(opened, SMTPTenantSettings)


@pytest.mark.parametrize(("provider", "raw"), EXAMPLES)
def test_what_is_stored_opens_as_the_providers_settings(
    provider: str, raw: dict[str, object]
) -> None:
    read = read_settings(provider, raw)
    # As a database gives it back.
    plain = msgspec.json.decode(msgspec.json.encode(read.plain))
    opened = open_settings(provider, plain, read.secret)
    assert isinstance(opened, TENANT_SETTINGS[provider])
    told = msgspec.structs.asdict(opened)
    assert {name: told[name] for name in read.plain} == read.plain
    assert {name: told[name].reveal() for name in read.secret} == read.secret
    again = read_settings(provider, read.plain | read.secret)
    assert again == read


@pytest.mark.parametrize(("provider", "raw"), EXAMPLES)
def test_no_secret_is_shown(provider: str, raw: dict[str, object]) -> None:
    read = read_settings(provider, raw)
    opened = open_settings(provider, read.plain, read.secret)
    assert read.secret
    for secret in read.secret.values():
        assert secret not in repr(read) + str(read) + repr(opened)
        assert secret not in read.plain.values()


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("SMTP.Example.COM.", "smtp.example.com"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("relay", "relay"),
        ("_mail.example.com", "_mail.example.com"),
        ("93.184.215.14", "93.184.215.14"),
        ("[2606:2800:21F:CB07::1]", "2606:2800:21f:cb07::1"),
    ],
)
def test_host_takes_its_usual_form(given: str, stored: str) -> None:
    assert read_settings("smtp", {"host": given}).plain["host"] == stored


@pytest.mark.parametrize(
    "host",
    [
        "a b.example.com", "smtp.example.com:587", "smtps://smtp.example.com", "user@example.com",
        "example..com", "-a.example.com", "x" * 64 + ".example.com", "0x7f.1", "2130706433",
        "127.1", "1.2.3.4.5", "fe80::1%eth0", "bad\N{SNOWMAN}.example", "\u2488.example",
    ],
)  # fmt: skip
def test_what_is_no_host_is_refused(host: str) -> None:
    error = refusal_of("smtp", {"host": host})
    assert error.field == "host"
    assert "smtp.example.com" in error.message


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "10.20.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.1", "::1",
        "fd00::1", "fe80::1", "::ffff:5db8:d70e", "64:ff9b::a00:1", "224.0.0.1",
    ],
)  # fmt: skip
def test_address_that_is_not_public_is_refused_unless_an_operator_allows_it(host: str) -> None:
    error = refusal_of("smtp", {"host": host})
    assert (error.field, "public internet" in error.message) == ("host", True)
    network = (ipaddress.ip_network(host),)
    assert read_settings("smtp", {"host": host}, allowed_networks=network).plain["host"] == host


@pytest.mark.parametrize(
    ("provider", "changed", "field"),
    [
        ("smtp", {"host": None}, "host"),
        ("smtp", {"host": "  "}, "host"),
        ("smtp", {"host": 5}, "host"),
        ("smtp", {"host": "x" * 254}, "host"),
        ("smtp", {"port": 22}, "port"),
        ("smtp", {"port": "5432"}, "port"),
        ("smtp", {"port": True}, "port"),
        ("smtp", {"port": [587]}, "port"),
        ("smtp", {"port": 10**400}, "port"),
        ("smtp", {"security": "none"}, "security"),
        ("smtp", {"username": "a\nb", "password": PASSWORD}, "username"),
        ("smtp", {"username": "ada"}, "password"),
        ("smtp", {"password": PASSWORD}, "username"),
        ("smtp", {"connections": 0}, "connections"),
        ("smtp", {"connections": "11"}, "connections"),
        ("smtp", {"connections": 2.5}, "connections"),
        ("smtp", {"connections": "five"}, "connections"),
        ("smtp", {"connections": 10**400}, "connections"),
        ("smtp", {"endpoint": "http://127.0.0.1"}, "endpoint"),
        ("ses", {"region": "Frankfurt"}, "region"),
        ("ses", {"region": "eu-west-1.evil.example"}, "region"),
        ("ses", {"access_key_id": ""}, "access_key_id"),
        ("ses", {"access_key_id": "short"}, "access_key_id"),
        ("ses", {"access_key_id": "ASIASIMULATEDEXAMPLE"}, "access_key_id"),
        ("ses", {"secret_access_key": None}, "secret_access_key"),
        ("ses", {"secret_access_key": "two words"}, "secret_access_key"),
        ("ses", {"configuration_set": "a b"}, "configuration_set"),
        ("ses", {"tenant_name": "x" * 65}, "tenant_name"),
        ("ses", {"rate_per_s": 0}, "rate_per_s"),
        ("ses", {"rate_per_s": "nan"}, "rate_per_s"),
        ("ses", {"rate_per_s": float("inf")}, "rate_per_s"),
        ("ses", {"rate_per_s": float("nan")}, "rate_per_s"),
        ("ses", {"endpoint": "http://127.0.0.1"}, "endpoint"),
        ("sendgrid", {"api_key": ""}, "api_key"),
        ("sendgrid", {"api_key": "SG.é"}, "api_key"),
        ("sendgrid", {"region": "us"}, "region"),
        ("sendgrid", {"activity_lookup": "perhaps"}, "activity_lookup"),
        ("sendgrid", {"activity_lookup": 1}, "activity_lookup"),
    ],
)
def test_field_that_cannot_be_used_is_named(
    provider: str, changed: dict[str, object], field: str
) -> None:
    usual = {"smtp": SMTP, "ses": SES, "sendgrid": SENDGRID}[provider]
    error = refusal_of(provider, usual | changed)
    assert (error.code, error.field) == ("invalid_account_settings", field)
    assert f"`{field}`" in error.message


def test_first_field_that_is_wrong_is_the_one_that_is_told() -> None:
    raw: dict[str, object] = {"connections": 99, "security": "none", "port": 1, "host": "a b"}
    for field in ("host", "port", "security", "connections"):
        assert refusal_of("smtp", raw).field == field
        raw[field] = SMTP.get(field)
        raw["host"] = "smtp.example.com"


def test_message_says_what_is_right_and_quotes_nothing() -> None:
    assert refusal_of("smtp", SMTP | {"port": 22}).message == (
        "The `port` field must be one of 25, 465, 587, 2465, 2525, 2587."
    )
    assert refusal_of("smtp", SMTP | {"connections": 77}).message == (
        "The `connections` field must be a whole number of at least 1 and at most 10."
    )
    for secret in ("two words of a key", "x" * 600, "contr\x07ol"):
        for provider, raw, field in (
            ("ses", SES, "secret_access_key"),
            ("sendgrid", SENDGRID, "api_key"),
        ):
            error = refusal_of(provider, raw | {field: secret})
            assert secret not in f"{error!r} {error.message} {error.__cause__!r}"
    unknown = refusal_of("smtp", SMTP | {"x" * 500 + "\n": 1})
    assert len(unknown.message) < 300
    assert "host, port, security" in unknown.message


@pytest.mark.parametrize("provider", ["inbox", "pigeon", ""])
def test_provider_without_accounts_of_tenants_is_refused_with_those_that_have(
    provider: str,
) -> None:
    for ask in (
        lambda: list_fields(provider),
        lambda: read_settings(provider, {}),
        lambda: merge_settings(provider, {}, {}, {}),
        lambda: open_settings(provider, {}, {}),
    ):
        with pytest.raises(UnknownProvider, match="smtp, ses, sendgrid") as caught:
            ask()
        assert caught.value.field == "provider"


@pytest.mark.parametrize("blank", [{}, {"password": None}, {"password": ""}, {"password": " "}])
def test_secret_that_a_change_leaves_out_stays(blank: dict[str, object]) -> None:
    old = read_settings("smtp", LOGIN)
    new = merge_settings("smtp", old.plain, old.secret, {"port": "2525"} | blank)
    assert new.secret == old.secret
    assert new.plain == old.plain | {"port": 2525}


def test_change_replaces_what_it_names_and_empties_what_it_gives_empty() -> None:
    old = read_settings("ses", SES | {"configuration_set": "main", "rate_per_s": 14})
    change: dict[str, object] = {"configuration_set": "", "secret_access_key": "another"}
    new = merge_settings("ses", old.plain, old.secret, change)
    assert "configuration_set" not in new.plain
    assert new.plain["rate_per_s"] == 14
    assert new.secret == {"secret_access_key": "another"}
    with pytest.raises(InvalidAccountSettings, match="`region` field is missing"):
        merge_settings("ses", old.plain, old.secret, {"region": ""})
    with pytest.raises(InvalidAccountSettings, match="`endpoint` is no setting"):
        merge_settings("ses", old.plain, old.secret, {"endpoint": "https://a.example"})


def test_password_given_for_one_host_is_not_sent_to_another() -> None:
    old = read_settings("smtp", LOGIN)
    with pytest.raises(InvalidAccountSettings, match="another host") as caught:
        merge_settings("smtp", old.plain, old.secret, {"host": "smtp.evil.example"})
    assert caught.value.field == "password"
    same = merge_settings("smtp", old.plain, old.secret, {"host": "SMTP.example.com."})
    assert same == old
    given = merge_settings(
        "smtp", old.plain, old.secret, {"host": "mx.example.org", "password": "another"}
    )
    assert (given.plain["host"], given.secret) == ("mx.example.org", {"password": "another"})
    without = read_settings("smtp", SMTP)
    moved = merge_settings("smtp", without.plain, without.secret, {"host": "mx.example.org"})
    assert moved.plain["host"] == "mx.example.org"


def test_login_goes_with_its_user_name() -> None:
    old = read_settings("smtp", LOGIN)
    new = merge_settings("smtp", old.plain, old.secret, {"username": "", "password": ""})
    assert (new.secret, "username" in new.plain) == ({}, False)
    with pytest.raises(InvalidAccountSettings) as caught:
        merge_settings("smtp", old.plain, old.secret, {"username": "", "password": "another"})
    assert caught.value.field == "username"


def test_what_is_stored_and_no_longer_fits_is_told_and_not_guessed() -> None:
    read = read_settings("smtp", SMTP)
    with pytest.raises(InvalidAccountSettings, match="`helo` is no setting"):
        open_settings("smtp", read.plain | {"helo": "a"}, {})
    with pytest.raises(InvalidAccountSettings, match="`port` field must be one of"):
        open_settings("smtp", read.plain | {"port": 22}, {})
    # An operator may have allowed it, and takes that back: whoever connects judges.
    opened = open_settings("smtp", read.plain | {"host": "10.20.0.1"}, {})
    assert isinstance(opened, SMTPTenantSettings)


def test_change_judges_the_address_as_a_new_account_does() -> None:
    old = read_settings("smtp", {"host": "10.20.0.1"}, allowed_networks=OFFICE)
    with pytest.raises(InvalidAccountSettings, match="public internet"):
        merge_settings("smtp", old.plain, old.secret, {"connections": 2})
    kept = merge_settings(
        "smtp", old.plain, old.secret, {"connections": 2}, allowed_networks=OFFICE
    )
    assert kept.plain["connections"] == 2


@pytest.mark.parametrize(("key_id", "key"), [("", KEY), (KEY_ID, "")])
def test_account_at_ses_never_goes_without_credentials(key_id: str, key: str) -> None:
    with pytest.raises(ValueError, match="credentials of its own"):
        SESTenantSettings(region="eu-west-1", access_key_id=key_id, secret_access_key=Secret(key))


@pytest.mark.parametrize(("provider", "raw"), EXAMPLES)
async def test_account_bears_its_name_and_the_bounds_of_its_settings(
    provider: str, raw: dict[str, object]
) -> None:
    read = read_settings(provider, raw | {"rate_per_s": 3})
    opened = open_settings(provider, read.plain, read.secret)
    made = create_tenant_account(provider, opened, "account-1", EgressRules(), owner="tenant-1")
    assert (made.name, made.account) == (provider, "account-1")
    assert made.rate_per_s == 3
    assert made.capabilities.reaches_outside
    await made.close()


def test_account_takes_the_settings_of_its_own_provider_only() -> None:
    other: Struct = SendGridTenantSettings(api_key=Secret("SG.simulated.key"))
    with pytest.raises(TypeError, match="SMTPTenantSettings"):
        create_tenant_account("smtp", other, "account-1", EgressRules(), owner="tenant-1")
    with pytest.raises(UnknownProvider):
        create_tenant_account("inbox", other, "account-1", EgressRules(), owner="tenant-1")


def test_adapter_is_looked_for_once_and_anew_where_the_import_path_has_changed(
    monkeypatch: pytest.MonkeyPatch, plugins: Plugins
) -> None:
    looked_for: list[str] = []

    def count(*, group: str, name: str) -> EntryPoints:
        looked_for.append(name)
        return entry_points(group=group, name=name)

    monkeypatch.setattr(plugin_loading, "entry_points", count)
    opened = open_settings("smtp", SMTP, {})
    for place in range(3):
        create_tenant_account("smtp", opened, f"account-{place}", EgressRules(), owner="tenant-1")
    assert looked_for == ["smtp"]
    plugins.install("smtp", None, distribution="other-post", value="other:SMTP")
    folder = plugins.folder.rename(plugins.folder.with_name("others"))
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(ProviderMisconfigured, match="several distributions"):
        create_tenant_account("smtp", opened, "account-4", EgressRules(), owner="tenant-1")
