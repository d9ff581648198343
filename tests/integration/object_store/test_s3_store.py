"""What only S3 can show: the bucket, the prefix, and servers that fail."""

import asyncio
import socket
import sys

import boto3
import pytest

from tallypost_core.object_store import ObjectStoreUnavailable, open_store
from tallypost_core.settings.groups import ObjectsSettings

KEY = "tenant/email/1"


async def test_objects_stand_below_the_prefix(
    s3_settings: ObjectsSettings, s3_endpoint_url: str, s3_bucket: str
) -> None:
    store = open_store(s3_settings)
    await store.put(KEY, b"body")
    await store.close()
    client = boto3.client("s3", endpoint_url=s3_endpoint_url)
    listing = await asyncio.to_thread(client.list_objects_v2, Bucket=s3_bucket)
    client.close()
    assert [item["Key"] for item in listing["Contents"]] == [f"some/prefix/{KEY}"]


async def test_bucket_without_prefix_works(s3_endpoint_url: str, s3_bucket: str) -> None:
    store = open_store(ObjectsSettings(url=f"s3://{s3_bucket}", s3_endpoint_url=s3_endpoint_url))
    await store.put(KEY, b"body")
    assert await store.get(KEY) == b"body"
    await store.close()


async def test_missing_bucket_is_not_taken_for_a_missing_object(
    s3_endpoint_url: str, s3_bucket: str
) -> None:
    store = open_store(
        ObjectsSettings(url=f"s3://{s3_bucket}-other", s3_endpoint_url=s3_endpoint_url)
    )
    with pytest.raises(ObjectStoreUnavailable):
        await store.get(KEY)
    await store.close()


@pytest.mark.usefixtures("s3_bucket")
async def test_server_that_is_down_is_a_typed_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        store = open_store(
            ObjectsSettings(url="s3://bucket", s3_endpoint_url=f"http://127.0.0.1:{port}")
        )
        with pytest.raises(ObjectStoreUnavailable):
            await store.put(KEY, b"body")
    await store.close()


async def test_store_that_was_never_used_closes(s3_settings: ObjectsSettings) -> None:
    await open_store(s3_settings).close()


async def test_aioboto3_is_not_loaded_for_a_folder() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import sys, tallypost_core.object_store; sys.exit('aioboto3' in sys.modules)",
    )
    assert await process.wait() == 0
