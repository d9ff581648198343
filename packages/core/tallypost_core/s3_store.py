"""Objects in an S3 bucket, or in a store that speaks the same protocol.

Credentials and region are the usual ones of AWS: variables, profile, or the role of the machine.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError

from tallypost_core.object_store import ObjectNotFound, ObjectStoreUnavailable, require_key

OPERATION_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 20
CONNECTIONS = 20

_NOT_FOUND_CODES = frozenset({"NoSuchKey", "404"})


class S3Store:
    """One bucket and prefix; keeps one client, opened by the first operation."""

    def __init__(self, bucket: str, prefix: str, endpoint_url: str | None) -> None:
        """endpoint_url is for stores other than AWS; prefix has no slash at its ends."""
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._endpoint_url = endpoint_url
        self._opening = asyncio.Lock()
        self._resources = contextlib.AsyncExitStack()
        # Any: aioboto3 ships no types.
        self._client: Any = None

    async def put(self, key: str, body: bytes) -> None:
        """Store body under key, replacing what was there; durable once this returns."""
        name = self._name(key)
        async with self._calling(key) as client:
            await client.put_object(Bucket=self._bucket, Key=name, Body=body)

    async def get(self, key: str) -> bytes:
        """The bytes stored under key; raises ObjectNotFound where there are none."""
        name = self._name(key)
        async with self._calling(key) as client:
            answer = await client.get_object(Bucket=self._bucket, Key=name)
            async with answer["Body"] as stream:
                body: bytes = await stream.read()
        return body

    async def delete(self, key: str) -> None:
        """Remove what is stored under key, if anything is."""
        name = self._name(key)
        async with self._calling(key) as client:
            await client.delete_object(Bucket=self._bucket, Key=name)

    async def close(self) -> None:
        """Close the client and its connections."""
        self._client = None
        await self._resources.aclose()

    def _name(self, key: str) -> str:
        return self._prefix + require_key(key)

    @contextlib.asynccontextmanager
    async def _calling(self, key: str) -> AsyncIterator[Any]:
        try:
            async with asyncio.timeout(OPERATION_TIMEOUT_S):
                yield await self._open()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _NOT_FOUND_CODES:
                raise ObjectNotFound(key) from None
            raise ObjectStoreUnavailable from error
        except (BotoCoreError, aiohttp.ClientError, OSError) as error:
            raise ObjectStoreUnavailable from error

    async def _open(self) -> Any:
        async with self._opening:
            if self._client is None:
                self._client = await self._resources.enter_async_context(
                    aioboto3.Session().client(
                        "s3", endpoint_url=self._endpoint_url, config=self._config()
                    )
                )
            return self._client

    def _config(self) -> AioConfig:
        # Other stores may refuse the checksum trailers that AWS takes by default.
        checksums = "when_supported" if self._endpoint_url is None else "when_required"
        return AioConfig(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            max_pool_connections=CONNECTIONS,
            retries={"max_attempts": 3, "mode": "standard"},
            request_checksum_calculation=checksums,
            response_checksum_validation=checksums,
        )
