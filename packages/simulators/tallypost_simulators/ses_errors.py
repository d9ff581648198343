"""Errors as Amazon SES v2 states them: a status, a name in a header and a message in JSON."""

import json

from aiohttp import web


class SESError(Exception):
    """A request that is refused. Names and statuses are those of AWS's API reference."""

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(name)
        self.status = status
        self.name = name
        self.message = message

    @property
    def body(self) -> bytes:
        """The answer's body."""
        return json.dumps({"message": self.message}).encode()

    def headers(self, request_id: str) -> dict[str, str]:
        """The answer's headers."""
        return {
            "Content-Type": "application/json",
            "x-amzn-ErrorType": self.name,
            "x-amzn-RequestId": request_id,
        }

    def response(self, request_id: str) -> web.Response:
        """The answer on the wire."""
        return web.Response(status=self.status, headers=self.headers(request_id), body=self.body)


def bad_request(message: str) -> SESError:
    """The input is invalid."""
    return SESError(400, "BadRequestException", message)


def not_found(message: str) -> SESError:
    """What is asked for does not exist."""
    return SESError(404, "NotFoundException", message)


def already_exists(message: str) -> SESError:
    """What is to be made exists."""
    return SESError(400, "AlreadyExistsException", message)
