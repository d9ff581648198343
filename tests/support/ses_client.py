"""Amazon's own SDK as the client of a simulated SES."""

import asyncio
import functools
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tallypost_simulators.ses_account import ACCESS_KEY_ID, SECRET_ACCESS_KEY

DOMAIN = "news.example.com"
RAW = f"From: hello@{DOMAIN}\r\nTo: ada@example.net\r\nSubject: Hi\r\n\r\nHello.\r\n".encode()


class SESClient:
    """boto3 on a thread: `await client("send_email", ...)`."""

    def __init__(self, url: str, **others: Any) -> None:
        settings = {
            "region_name": "eu-west-1",
            "aws_access_key_id": ACCESS_KEY_ID,
            "aws_secret_access_key": SECRET_ACCESS_KEY,
        }
        self.sdk = boto3.client(
            "sesv2",
            endpoint_url=url,
            config=Config(retries={"total_max_attempts": 1}),
            **(settings | others),
        )

    async def __call__(self, operation: str, **parameters: Any) -> Any:
        """One operation, less what is about the transport."""
        call = functools.partial(getattr(self.sdk, operation), **parameters)
        answer = await asyncio.to_thread(call)
        assert answer.pop("ResponseMetadata")["RequestId"]
        return answer

    async def refusal(self, operation: str, **parameters: Any) -> tuple[int, str, str]:
        """Status, name and words of the error that an operation gets, as the SDK sees them."""
        with pytest.raises(ClientError) as caught:
            await self(operation, **parameters)
        response = caught.value.response
        error = response["Error"]
        assert response["ResponseMetadata"]["RequestId"]
        return response["ResponseMetadata"]["HTTPStatusCode"], error["Code"], error["Message"]

    async def refused_send(self, **changes: Any) -> tuple[int, str, str]:
        """The error that a message gets, which is a good one but for the changes."""
        return await self.refusal("send_email", **message(**changes))

    def close(self) -> None:
        """Close connections."""
        self.sdk.close()


def message(**changes: Any) -> dict[str, Any]:
    """Parameters of a message that is taken; None leaves one out."""
    parameters = {
        "Content": {"Raw": {"Data": RAW}},
        "Destination": {"ToAddresses": ["ada@example.net"]},
    } | changes
    return {name: value for name, value in parameters.items() if value is not None}
