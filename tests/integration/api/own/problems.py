"""Reads answers of our own routes as a program would that knows the standards only."""

import httpx

MEDIA_TYPE = "application/problem+json"


def is_problem(
    response: httpx.Response, status: int, code: str, *, field: str | None = None
) -> bool:
    """True where an answer is this error, in the form of RFC 9457, and names the field."""
    body = response.json()
    members = {"type", "title", "status", "code", "request_id"}
    members |= {"detail"} if status != 500 else set()
    members |= {"field"} if field is not None else set()
    return (
        response.headers["content-type"] == MEDIA_TYPE
        and set(body) == members
        and (response.status_code, body["status"], body["code"]) == (status, status, code)
        and body.get("field") == field
        and body["type"] == f"/errors.md#{code}"
        and body["request_id"] == response.headers["x-request-id"]
    )


def read_list_field(value: str) -> dict[str, dict[str, int]]:
    """A structured field that is a list of strings with integers for parameters (RFC 9651)."""
    read: dict[str, dict[str, int]] = {}
    for member in value.split(","):
        name, *parameters = member.strip().split(";")
        assert name[0] == name[-1] == '"', value
        pairs = [parameter.strip().split("=") for parameter in parameters]
        assert all(number.isdecimal() for _, number in pairs), value
        read[name[1:-1]] = {key: int(number) for key, number in pairs}
    return read
