"""The Inbox: messages that went to nobody, kept so that people can look at them.

Storing uses raw asyncpg, because both writers are on the path of delivery: the local mail server
as tp_inbox, the worker as tp_deliver. Neither role may read what it wrote, so ids are made here
and nothing is returned by the database.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from tallypost_core.ids import new_id, parse_id
from tallypost_domain.db.errors import AWAY, translated
from tallypost_domain.db.pools import Connection, Pool, name_tenants
from tallypost_domain.inbox import queries
from tallypost_domain.inbox.errors import MalformedHeaders, MessageNotFound
from tallypost_domain.inbox.headers import decode, find_header, printable, read_headers
from tallypost_domain.inbox.types import MessagePage, StoredMessage
from tallypost_providers.errors import StoreOutcomeUnknown
from tallypost_providers.types import EMAIL_ID_HEADER, Mode, OutgoingEmail

MAX_LIMIT = 100

_FIND_OWNER = "SELECT tenant_id, mode FROM find_email_owner($1)"
_SET_TENANT = "SELECT set_config('app.tenant_id', $1, true)"
_INSERT = """
    INSERT INTO inbox_messages (
        tenant_id, id, email_id, mode, envelope_sender, envelope_recipients, subject, size_bytes,
        message
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""


async def store_message(
    pool: Pool,
    *,
    envelope_sender: str,
    envelope_recipients: Sequence[str],
    message: bytes,
) -> bool:
    """Keep a message that came over SMTP, byte for byte, with the tenant whose email it carries.

    pool logs in as tp_inbox. Every call stores a copy, so that a message that came twice is seen
    twice. False, and nothing is kept, where no header names an email that exists or where the
    header block cannot be read without guessing. Raises DatabaseUnavailable where nothing was
    kept, and StoreOutcomeUnknown where it may have been.
    """
    try:
        headers = read_headers(message)
        email_id = parse_id(find_header(headers, EMAIL_ID_HEADER) or "")
        subject = find_header(headers, "Subject") or ""
    except MalformedHeaders:
        return False
    if email_id is None:
        return False
    with translated():
        async with pool.acquire() as connection:
            owner = await connection.fetchrow(_FIND_OWNER, email_id)
            if owner is None:
                return False
            async with _transaction(connection):
                await connection.execute(_SET_TENANT, str(owner["tenant_id"]))
                await connection.execute(
                    _INSERT,
                    owner["tenant_id"],
                    new_id(),
                    email_id,
                    owner["mode"],
                    printable(envelope_sender),
                    [printable(recipient) for recipient in envelope_recipients],
                    decode(subject),
                    len(message),
                    message,
                )
    return True


async def store_outgoing(connection: Connection, email: OutgoingEmail, message: bytes) -> None:
    """Keep the message of a test email that the worker hands to the Inbox.

    connection logs in as tp_deliver and is in no transaction: this one names the email's tenant
    and nobody else. Raises ValueError inside a transaction, whose list of tenants it would change,
    and StoreOutcomeUnknown where the message may be kept; after any other error it is not.
    """
    if connection.is_in_transaction():
        raise ValueError("store_outgoing needs a connection that is in no transaction")
    async with _transaction(connection):
        await name_tenants(connection, [email.tenant_id])
        await connection.execute(
            _INSERT,
            email.tenant_id,
            new_id(),
            email.email_id,
            email.mode,
            email.envelope_sender,
            [recipient.address for recipient in email.recipients],
            printable(email.subject),
            len(message),
            message,
        )


async def list_messages(
    session: AsyncSession,
    tenant_id: UUID,
    mode: Mode | None = None,
    *,
    limit: int,
    after: UUID | None = None,
    email_id: UUID | None = None,
) -> MessagePage:
    """A page of messages, newest first; after is the last id of the page before.

    mode None means both; email_id narrows to the copies of one email. limit is 1 to MAX_LIMIT.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"limit must be 1 to {MAX_LIMIT}")
    items = await queries.list_summaries(
        session, tenant_id, mode=mode, email_id=email_id, after=after, limit=limit + 1
    )
    return MessagePage(tuple(items[:limit]), has_more=len(items) > limit)


async def get_message(session: AsyncSession, tenant_id: UUID, message_id: UUID) -> StoredMessage:
    """One message with its bytes. Raises MessageNotFound."""
    message = await queries.find_message(session, tenant_id, message_id)
    if message is None:
        raise MessageNotFound()
    return message


@asynccontextmanager
async def _transaction(connection: Connection) -> AsyncIterator[None]:
    """As `connection.transaction()`, but a commit that was cut off raises StoreOutcomeUnknown."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    except BaseException:
        await transaction.rollback()
        raise
    try:
        await transaction.commit()
    except AWAY as error:
        raise StoreOutcomeUnknown from error
