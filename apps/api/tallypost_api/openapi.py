"""The API described as OpenAPI 3.1, made from the handlers themselves.

`python -m tallypost_api.openapi FILE` writes it.
"""

import functools
import json
import sys
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from litestar import Litestar
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, License, SecurityScheme

from tallypost_api.bodies import BODY_KEY
from tallypost_api.caller import Caller
from tallypost_api.permissions import OPT_KEY
from tallypost_api.rendering import ErrorAnswer
from tallypost_api.request_headers import HEADERS_KEY, RequestHeader
from tallypost_api.rest.emails import EmailController
from tallypost_domain.emails.validation import EmailRequest

_SCHEMA_REF: Final = "#/components/schemas/{name}"
_BEARER: Final = "apiKey"

# OpenAPI is a tree of JSON whose nodes have no types of their own here.
JSON = dict[str, Any]


@functools.cache
def render() -> bytes:
    """The description as indented JSON with a line end, the same for the same code."""
    return json.dumps(describe(), indent=2, ensure_ascii=False).encode() + b"\n"


def describe() -> JSON:
    """Build the description; takes some tens of milliseconds."""
    app = Litestar(
        [EmailController],
        dependencies={"caller": Provide(_never, sync_to_thread=False)},
        openapi_config=OpenAPIConfig(
            title="Tallypost API",
            version="1.0.0",
            summary="Send email and follow it to its end.",
            description="The routes, bodies and errors of Resend's API for emails.",
            license=License(name="Apache-2.0", identifier="Apache-2.0"),
            use_handler_docstrings=True,
            security=[{_BEARER: []}],
            components=Components(
                security_schemes={
                    _BEARER: SecurityScheme(
                        type="http", scheme="bearer", description="`tp_live_…` or `tp_test_…`"
                    )
                }
            ),
        ),
        logging_config=None,
    )
    document = app.openapi_schema.to_schema()
    _complete(app, document)
    return document


def _complete(app: Litestar, document: JSON) -> None:
    """Add what Litestar cannot see: headers and bodies that handlers read, our form of errors."""
    operations = [
        (handler, document["paths"][route.path_format][method.lower()])
        for route in app.routes
        if route.path_format in document["paths"]
        # Any: Litestar's routes have no common type with handlers.
        for handler in cast(Any, route).route_handlers
        for method in handler.http_methods
        if method.lower() in document["paths"][route.path_format]
    ]
    bodies = [handler.opt[BODY_KEY] for handler, _ in operations if BODY_KEY in handler.opt]
    schemas, components = msgspec.json.schema_components(
        [*bodies, ErrorAnswer], schema_hook=_describe_type, ref_template=_SCHEMA_REF
    )
    *body_schemas, error_schema = schemas
    # The decoder takes emails without them, so that what is missing is said in our own words.
    components[EmailRequest.__name__]["required"] = ["from", "subject", "to"]
    document["components"]["schemas"] |= components
    document["paths"] = dict(sorted(document["paths"].items()))
    by_body = dict(zip(map(repr, bodies), body_schemas, strict=True))
    for handler, operation in operations:
        operation["x-permission"] = str(handler.opt[OPT_KEY])
        if HEADERS_KEY in handler.opt:
            operation["parameters"] = [_header(header) for header in handler.opt[HEADERS_KEY]]
        if BODY_KEY in handler.opt:
            operation["requestBody"] = {
                "required": True,
                "content": _json(by_body[repr(handler.opt[BODY_KEY])]),
            }
        # Litestar guesses a 400 of its own form.
        operation["responses"].pop("400", None)
        operation["responses"]["default"] = {
            "description": "What is wrong.",
            "content": _json(error_schema),
        }


def _describe_type(type_: type) -> JSON:
    if type_ is not object:
        raise NotImplementedError(f"no description of {type_}")
    # The fields that are taken only to be refused.
    return {"description": "Not supported yet."}


def _header(header: RequestHeader) -> JSON:
    schema: JSON = {"type": "string"}
    if header.default is not None:
        schema["default"] = header.default
    return {
        "name": header.name,
        "in": "header",
        "description": header.description,
        "required": False,
        "schema": schema,
    }


def _json(schema: JSON) -> JSON:
    return {"application/json": {"schema": schema}}


def _never() -> Caller:
    raise NotImplementedError("the description is not served")


def main(arguments: list[str]) -> None:
    """Write the description to the file that arguments names."""
    if len(arguments) != 1:
        raise SystemExit("usage: python -m tallypost_api.openapi FILE")
    Path(arguments[0]).write_bytes(render())


if __name__ == "__main__":
    main(sys.argv[1:])
