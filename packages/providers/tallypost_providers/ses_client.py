"""One client of the AWS SDK for SES, opened by its first use."""

import asyncio
import contextlib
from functools import cache
from typing import Any

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    MetadataRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)

from tallypost_core.settings.providers import SESSettings
from tallypost_providers.errors import ProviderBusy
from tallypost_providers.ses_answers import (
    SESReply,
    read_answer,
    read_error,
    read_missing_credentials,
    read_silence,
    read_undocumented,
)
from tallypost_providers.ses_session import AnswerUndocumented, Departure, SESSession
from tallypost_providers.smtp_deadlines import Budget

# AWS ends a connection that is idle for 20 s or so; below that, few are found dead.
_KEPT_IDLE_S = 12

_CREDENTIAL_ERRORS = (
    CredentialRetrievalError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)


class SESClient:
    """Calls operations of SES v2; what a peer does is a reply and never an exception.

    Nothing is repeated: after a silence the SDK would send a message twice. Credentials are those
    of the settings, else what the SDK finds (variables, profile, role of the machine), looked for
    again with each call until there are some.
    """

    def __init__(self, settings: SESSettings) -> None:
        """Connects to nothing and reads no file."""
        self._settings = settings
        self._opening = asyncio.Lock()
        self._resources = contextlib.AsyncExitStack()
        # Any: aioboto3 ships no types.
        self._session: Any = None
        self._client: Any = None
        self._calls = 0
        self._is_closed = False

    async def call(self, operation: str, budget: Budget, **parameters: object) -> SESReply:
        """One operation by its name in the SDK, such as `send_email`.

        Connecting may take what the budget gives to that phase, and the whole call no longer than
        to its end. Raises ProviderBusy once the client is closed.
        """
        if self._is_closed:
            raise ProviderBusy
        self._calls += 1
        try:
            return await self._call(operation, Departure(budget), parameters)
        finally:
            self._calls -= 1
            await self._close_if_unused()

    async def close(self) -> None:
        """Close the client, or leave that to the last call under way; may run twice."""
        self._is_closed = True
        await self._close_if_unused()

    async def _call(
        self, operation: str, departure: Departure, parameters: dict[str, object]
    ) -> SESReply:
        try:
            async with departure:
                client = await self._open()
                answer = await getattr(client, operation)(**parameters)
        except ClientError as error:
            return read_error(error)
        except AnswerUndocumented as error:
            return read_undocumented(error)
        except _CREDENTIAL_ERRORS as error:
            return read_missing_credentials(error)
        except ParamValidationError:
            # A call of ours that cannot be; it says nothing about a peer.
            raise
        except (BotoCoreError, aiohttp.ClientError, OSError) as error:
            return read_silence(error, departure)
        return read_answer(answer)

    async def _open(self) -> Any:
        async with self._opening:
            if self._client is None:
                self._client = await self._resources.enter_async_context(await self._create())
            return self._client

    async def _create(self) -> Any:
        settings = self._settings
        credentials: dict[str, str] = {}
        if settings.access_key_id is not None and settings.secret_access_key is not None:
            session = _get_session_without_credentials()
            credentials = {
                "aws_access_key_id": settings.access_key_id,
                "aws_secret_access_key": settings.secret_access_key.reveal(),
            }
        else:
            session = await self._require_own_session()
        return session.client(
            "sesv2",
            region_name=settings.region,
            endpoint_url=settings.endpoint,
            config=self._config(),
            **credentials,
        )

    async def _require_own_session(self) -> Any:
        if self._session is None:
            self._session = aioboto3.Session(region_name=self._settings.region)
        # A client that is made without credentials never looks for any again.
        if await self._session.get_credentials() is None:
            raise NoCredentialsError
        return self._session

    def _config(self) -> AioConfig:
        return AioConfig(
            http_session_cls=SESSession,
            connector_args={"keepalive_timeout": _KEPT_IDLE_S},
            max_pool_connections=self._settings.connections,
            retries={"total_max_attempts": 1, "mode": "standard"},
        )

    async def _close_if_unused(self) -> None:
        if self._is_closed and not self._calls:
            self._client = None
            await self._resources.aclose()


@cache
def _get_session_without_credentials() -> Any:
    """What the SDK knows of AWS, for all clients that bring credentials of their own.

    Reading it takes a tenth of a second on the event loop and 9 MB. The SDK keeps credentials that
    a client is made with in that client alone; the session is asked for none and given none.
    """
    return aioboto3.Session()
