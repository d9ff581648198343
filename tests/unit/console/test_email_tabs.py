"""What each tab shows of a message."""

from contextlib import AbstractAsyncContextManager
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_console.email_tabs import MAX_RAW_BYTES, TABS, Shown, Tab, read_tab
from tallypost_console.previews import MAX_BODY_CHARS
from tallypost_console.services import Services
from tallypost_core.errors import AppError
from tallypost_core.ids import new_id
from tallypost_core.object_store import ObjectStoreUnavailable
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.emails.errors import AttachmentGone
from tallypost_domain.emails.views import EmailView
from tallypost_domain.inbox.types import Header
from tallypost_providers.errors import EmailNotBuildable
from tests.unit.console.examples import email

HEAD = b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX-Order: 1\r\n 7\r\n\r\n"
MESSAGE = (
    b"Content-Type: text/html; charset=utf-8\r\nMIME-Version: 1.0\r\n" + HEAD + b"<p>Hello</p>\r\n"
)


class FakeServices(Services):
    """Has one message, and no database."""

    def __init__(self, message: bytes = MESSAGE) -> None:
        self.message = message
        self.built: list[str] = []

    def session(self, tenant_id: UUID) -> AbstractAsyncContextManager[AsyncSession]:
        raise AssertionError("this tab needs no database")

    async def build_message(self, tenant_id: UUID, email_id: UUID) -> bytes:
        self.built.append("message")
        return self.message

    async def build_head(self, tenant_id: UUID, email_id: UUID) -> bytes:
        self.built.append("head")
        return HEAD


class BrokenServices(FakeServices):
    """Its one message cannot be built."""

    def __init__(self, error: AppError) -> None:
        super().__init__()
        self.error = error

    async def build_message(self, tenant_id: UUID, email_id: UUID) -> bytes:
        raise self.error

    async def build_head(self, tenant_id: UUID, email_id: UUID) -> bytes:
        raise self.error


async def show(tab: Tab, of: EmailView, services: FakeServices | None = None) -> Shown:
    return await read_tab(services or FakeServices(), new_id(), of, tab)


def test_preview_comes_first() -> None:
    assert TABS[0][0] == "preview"


@pytest.mark.parametrize("tab", ["html", "text"])
async def test_body_is_shown_as_it_was_written(tab: Tab) -> None:
    services = FakeServices()
    shown = await show(tab, email(html="<b>one</b>\r\n", text="<b>one</b>\r\n"), services)
    assert shown == Shown(text="<b>one</b>\r\n")
    assert services.built == []


@pytest.mark.parametrize("tab", ["html", "text", "preview"])
async def test_body_that_is_not_there_is_none(tab: Tab) -> None:
    assert await show(tab, email(html=None, text=None)) == Shown()


async def test_empty_body_is_one() -> None:
    assert (await show("text", email(text=""))).text == ""


async def test_long_body_is_cut_and_says_so() -> None:
    whole, cut = "x" * MAX_BODY_CHARS, "x" * (MAX_BODY_CHARS + 1)
    assert await show("html", email(html=whole)) == Shown(text=whole)
    assert await show("html", email(html=cut)) == Shown(text=whole, is_cut=True)


async def test_preview_is_a_document_of_the_message_as_it_is_sent() -> None:
    shown = await show("preview", email(html="<p>Hello</p>"))
    assert shown.document is not None
    assert "<p>Hello</p>" in shown.document
    assert "Content-Security-Policy" in shown.document


async def test_preview_of_an_email_without_html_is_its_text() -> None:
    services = FakeServices()
    assert await show("preview", email(html=None, text="Hello"), services) == Shown(text="Hello")
    assert services.built == []


async def test_headers_are_unfolded_and_decoded_without_building_the_message() -> None:
    services = FakeServices()
    shown = await show("headers", email(), services)
    assert shown.headers == (Header("Subject", "Grüße"), Header("X-Order", "1 7"))
    assert services.built == ["head"]


async def test_raw_message_is_shown_line_by_line() -> None:
    shown = await show("raw", email(), FakeServices(b"Subject: A\r\n\r\nb\xff\r\n"))
    assert shown == Shown(text="Subject: A\n\nb\ufffd\n")


async def test_raw_message_is_cut_and_says_so() -> None:
    exact = await show("raw", email(), FakeServices(b"x" * MAX_RAW_BYTES))
    assert not exact.is_cut
    larger = await show("raw", email(), FakeServices(b"x" * MAX_RAW_BYTES + b"y"))
    assert larger == Shown(text="x" * MAX_RAW_BYTES, is_cut=True)


@pytest.mark.parametrize("tab", ["preview", "headers", "raw"])
@pytest.mark.parametrize(
    "error",
    [AttachmentGone(), EmailNotBuildable("A sample reason."), ObjectStoreUnavailable()],
)
async def test_message_that_cannot_be_built_is_said_to_be_so(tab: Tab, error: AppError) -> None:
    shown = await show(tab, email(), BrokenServices(error))
    assert shown == Shown(problem=error.message)


@pytest.mark.parametrize("tab", ["html", "text"])
async def test_body_is_shown_although_the_message_cannot_be_built(tab: Tab) -> None:
    shown = await show(tab, email(html="A body", text="A body"), BrokenServices(AttachmentGone()))
    assert shown == Shown(text="A body")


async def test_database_that_is_away_is_no_fault_of_the_message() -> None:
    with pytest.raises(DatabaseUnavailable):
        await show("raw", email(), BrokenServices(DatabaseUnavailable()))
