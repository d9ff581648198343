"""The two stores, each empty, behind one fixture; S3 is moto's server on loopback."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tallypost_core.object_store import ObjectStore, open_store
from tallypost_core.settings.groups import ObjectsSettings

BUCKET = "attachments"


@pytest.fixture(scope="session")
def s3_endpoint_url() -> Iterator[str]:
    """Address of an S3 server that lives as long as the test session."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def s3_bucket(s3_endpoint_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket, and the credentials that the client looks for."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sample")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sample")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    # No profile of whoever runs the tests, and no question to an address outside.
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = boto3.client("s3", endpoint_url=s3_endpoint_url)
    client.create_bucket(Bucket=BUCKET)
    try:
        yield BUCKET
    finally:
        for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
            client.delete_object(Bucket=BUCKET, Key=item["Key"])
        client.delete_bucket(Bucket=BUCKET)
        client.close()


@pytest.fixture
def folder_settings(tmp_path: Path) -> ObjectsSettings:
    """Settings of a folder that does not exist yet."""
    return ObjectsSettings(url=(tmp_path / "objects").as_uri())


@pytest.fixture
def s3_settings(s3_endpoint_url: str, s3_bucket: str) -> ObjectsSettings:
    """Settings of the bucket, with a prefix."""
    return ObjectsSettings(url=f"s3://{s3_bucket}/some/prefix", s3_endpoint_url=s3_endpoint_url)


@pytest.fixture(params=["folder", "s3"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[ObjectStore]:
    """Each kind of store in turn."""
    settings: ObjectsSettings = await asyncio.to_thread(
        request.getfixturevalue, f"{request.param}_settings"
    )
    opened = open_store(settings)
    try:
        yield opened
    finally:
        await opened.close()
