"""The API described as OpenAPI 3.1, made from the handlers themselves.

`python -m tallypost_api.openapi FILE` writes it.
"""

import functools
import json
import re
import sys
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from litestar import Litestar
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, License, SecurityScheme
from litestar.types import Method

from tallypost_api.bodies import BODY_KEY
from tallypost_api.caller import Caller
from tallypost_api.controllers import CONTROLLERS
from tallypost_api.field_docs import describe_fields
from tallypost_api.permissions import OPT_KEY
from tallypost_api.problems import PROBLEM_MEDIA_TYPE, Problem
from tallypost_api.rendering import ErrorAnswer
from tallypost_api.request_headers import HEADERS_KEY, RequestHeader
from tallypost_api.style import Style, style_of_handler
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
        CONTROLLERS,
        dependencies={"caller": Provide(_never, sync_to_thread=False)},
        openapi_config=OpenAPIConfig(
            title="Tallypost API",
            version="1.0.0",
            summary="Send email and follow it to its end.",
            description="The routes, bodies and errors of Resend's API for emails, and routes of "
            "our own beside them, whose errors are problems as in RFC 9457.",
            license=License(name="Apache-2.0", identifier="Apache-2.0"),
            use_handler_docstrings=True,
            operation_id_creator=_name_operation,
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
    """Add what Litestar cannot see: headers and bodies that handlers read, forms of errors."""
    for path_item in document["paths"].values():
        # It is what GET says, and no program is written against it.
        path_item.pop("head", None)
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
        [*bodies, ErrorAnswer, Problem], schema_hook=_describe_type, ref_template=_SCHEMA_REF
    )
    *body_schemas, error_schema, problem_schema = schemas
    # The decoder takes emails without them, so that what is missing is said in our own words.
    components[EmailRequest.__name__]["required"] = ["from", "subject", "to"]
    document["components"]["schemas"] |= components
    answers = [handler.parsed_fn_signature.return_type.annotation for handler, _ in operations]
    describe_fields(document["components"]["schemas"], [*bodies, *answers, Problem])
    document["paths"] = dict(sorted(document["paths"].items()))
    by_body = dict(zip(map(repr, bodies), body_schemas, strict=True))
    for handler, operation in operations:
        operation["x-permission"] = str(handler.opt[OPT_KEY])
        if HEADERS_KEY in handler.opt:
            operation["parameters"] = [_header(header) for header in handler.opt[HEADERS_KEY]]
        if BODY_KEY in handler.opt:
            operation["requestBody"] = {
                "required": _needs_body(handler),
                "content": _json(by_body[repr(handler.opt[BODY_KEY])]),
            }
        # Litestar guesses a 400 of its own form.
        operation["responses"].pop("400", None)
        is_ours = style_of_handler(handler) is Style.OURS
        operation["responses"]["default"] = {
            "description": "What is wrong.",
            "content": _problem(problem_schema) if is_ours else _json(error_schema),
        }


# Any: a part of a path is a word or Litestar's description of a parameter.
def _name_operation(handler: HTTPRouteHandler, method: Method, path_parts: list[Any]) -> str:
    """The path and the handler; the same whether the handler takes HEAD too or not."""
    words = [getattr(part, "name", part) for part in path_parts] + [handler.handler_name]
    name = "".join(word.title() for word in re.split(r"[^A-Za-z0-9]+", " ".join(words)))
    return f"{name}Head" if method == "HEAD" else name


# Any: as above.
def _needs_body(handler: Any) -> bool:
    """False for a body of our own in which nothing has to stand."""
    if style_of_handler(handler) is Style.RESEND:
        return True
    return any(field.required for field in msgspec.structs.fields(handler.opt[BODY_KEY]))


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


def _problem(schema: JSON) -> JSON:
    return {PROBLEM_MEDIA_TYPE: {"schema": schema}}


def _never() -> Caller:
    raise NotImplementedError("the description is not served")


def main(arguments: list[str]) -> None:
    """Write the description to the file that arguments names."""
    if len(arguments) != 1:
        raise SystemExit("usage: python -m tallypost_api.openapi FILE")
    Path(arguments[0]).write_bytes(render())


if __name__ == "__main__":
    main(sys.argv[1:])
