"""The description of the API is one by the standard, and tells of both kinds of routes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tallypost_api import openapi
from tallypost_api.controllers import CONTROLLERS
from tallypost_api.own.unconfirmed_emails import SettleRequest
from tallypost_api.problems import PROBLEM_MEDIA_TYPE
from tallypost_api.style import STYLE_KEY, Style

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def stored() -> Any:
    """The description as it is published."""
    return json.loads((ROOT / "docs" / "openapi.json").read_bytes())


def test_the_stored_description_is_valid_by_a_validator_that_is_not_ours(stored: Any) -> None:
    assert list(OpenAPIV31SpecValidator(stored).iter_errors()) == []


def test_a_broken_description_would_be_noticed(stored: Any) -> None:
    broken = json.loads(json.dumps(stored))
    broken["paths"]["/emails"]["get"]["responses"] = []
    assert list(OpenAPIV31SpecValidator(broken).iter_errors()) != []


def test_routes_of_our_own_answer_with_problems_and_no_other_route_does(stored: Any) -> None:
    # On the class itself Litestar's base has slots of these names.
    declared = [vars(controller) for controller in CONTROLLERS]
    ours = {own["path"] for own in declared if own.get("opt", {}).get(STYLE_KEY) is Style.OURS}
    prefixes = tuple(path.replace(":str}", "}") for path in ours)
    with_problems = set()
    for path, item in stored["paths"].items():
        for method, operation in item.items():
            (media_type,) = operation["responses"]["default"]["content"]
            is_ours = path.startswith(prefixes)
            assert media_type == (PROBLEM_MEDIA_TYPE if is_ours else "application/json")
            if is_ours:
                with_problems.add((method, path))
    assert with_problems >= {
        ("get", "/emails/{email_id}/timeline"),
        ("get", "/unconfirmed-emails"),
        ("post", "/unconfirmed-emails/{email_id}/settle"),
    }


def test_a_body_of_our_own_is_described_as_closed() -> None:
    schema = openapi.describe()["components"]["schemas"][SettleRequest.__name__]
    assert schema["additionalProperties"] is False
    assert (schema["required"], [*schema["properties"]]) == (["as"], ["as", "attempt_id"])


@pytest.mark.parametrize(
    ("struct", "field", "described"),
    [
        ("NewAccountRequest", "name", {"minLength": 1, "maxLength": 100}),
        ("NewAccountRequest", "provider", {"enum": ["smtp", "ses", "sendgrid"]}),
        ("AccountChangeRequest", "name", {"minLength": 1, "maxLength": 100}),
        ("RouteListBody", "routes", {"maxItems": 100}),
        ("RouteBody", "accounts", {"minItems": 1, "maxItems": 10, "uniqueItems": True}),
        ("RouteBody", "share", {"exclusiveMinimum": 0, "maximum": 1}),
    ],
)
def test_bounds_that_are_enforced_are_described(
    stored: Any, struct: str, field: str, described: dict[str, object]
) -> None:
    schema = stored["components"]["schemas"][struct]["properties"][field]
    assert {name: schema.get(name) for name in described} == described


@pytest.mark.parametrize("part", ["tag_name", "tag_value"])
def test_the_form_of_a_tag_is_described(stored: Any, part: str) -> None:
    schema = stored["components"]["schemas"]["RouteBody"]["properties"][part]
    (pattern,) = (one["pattern"] for one in schema["anyOf"] if "pattern" in one)
    for tag in ("a", "A-z_0", "x" * 256):
        assert re.fullmatch(pattern, tag)
    for no_tag in ("", "a b", "é", "x" * 257):
        assert not re.fullmatch(pattern, no_tag)


def test_an_answer_may_get_further_fields(stored: Any) -> None:
    schemas = stored["components"]["schemas"]
    for path, item in stored["paths"].items():
        for operation in item.values():
            for status, answer in operation["responses"].items():
                if status != "default" and "content" in answer:
                    ((_, content),) = answer["content"].items()
                    assert not closed_in(content["schema"], schemas), path


def test_a_closed_schema_within_an_answer_would_be_noticed() -> None:
    schemas = {"Inner": {"additionalProperties": False}}
    assert closed_in({"items": {"$ref": "#/components/schemas/Inner"}}, schemas)


def closed_in(schema: Any, schemas: dict[str, Any]) -> bool:
    """True where a schema, or one that it refers to, forbids fields that it does not name."""
    if isinstance(schema, list):
        return any(closed_in(one, schemas) for one in schema)
    if not isinstance(schema, dict):
        return False
    if "$ref" in schema:
        return closed_in(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    return schema.get("additionalProperties") is False or closed_in([*schema.values()], schemas)


def test_fields_are_described_as_their_docstrings_say(stored: Any) -> None:
    schemas = stored["components"]["schemas"]
    said = schemas["SettleRequest"]["properties"]["as"]["description"]
    assert said == "`sent`: it arrived. `canceled`: it did not, and is not to be sent again."
    said = schemas["RouteBody"]["properties"]["accounts"]["description"]
    assert said.startswith("Best first: ids of accounts of one's own, `platform` for all")
    assert "description" not in schemas["RouteBody"]["properties"]["lane"]
    nested = schemas["SilentAttemptAnswer"]["properties"]["look_up_due"]["description"]
    assert nested == "The provider is still to be asked whether it took the email."
