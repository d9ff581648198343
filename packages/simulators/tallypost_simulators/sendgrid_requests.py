"""Judges the body of a Mail Send request as strictly as SendGrid documents it.

Rules and words follow twilio.com/docs/sendgrid/api-reference/mail-send: its Errors, its Limitations
and the operation's schema.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tallypost_simulators.sendgrid_contents import (
    judge_attachments,
    judge_content,
    judge_headers,
)
from tallypost_simulators.sendgrid_errors import FieldError

MAX_RECIPIENTS = 1000
MAX_PERSONALIZATIONS = 1000
# One page says 10,000 bytes and another 50,000.
MAX_CUSTOM_ARGS_BYTES = 10_000

_ADDRESS = re.compile(
    r"(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+|\"[ -~]+\")@[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+"
)
_TRACKING = {
    "click_tracking": ("enable", "enable_text"),
    "open_tracking": ("enable",),
    "subscription_tracking": ("enable",),
    "ganalytics": ("enable",),
}


# Any: this is where untyped JSON is judged.
def find_errors(mail: Any) -> list[FieldError]:
    """Everything that SendGrid would say against a request; nothing for a good one."""
    if not isinstance(mail, dict):
        return [FieldError("Bad Request")]
    return [
        *_judge_personalizations(mail),
        *_judge_address(mail.get("from"), "from", "The from object"),
        *_judge_replies(mail),
        *_judge_subject(mail),
        *judge_content(mail),
        *judge_attachments(mail.get("attachments", [])),
        *judge_headers(mail.get("headers", {}), "headers"),
        *_judge_categories(mail.get("categories", [])),
        *_judge_settings(mail),
    ]


def merge_args(mail: Mapping[str, Any], personalization: Mapping[str, Any]) -> dict[str, str]:
    """The custom arguments of one personalization; its own go before those of the request."""
    return {**mail.get("custom_args", {}), **personalization.get("custom_args", {})}


def list_recipients(personalization: Mapping[str, Any]) -> list[str]:
    """The addresses of one personalization: to, cc, bcc."""
    return [
        recipient["email"]
        for kind in ("to", "cc", "bcc")
        for recipient in personalization.get(kind, [])
    ]


def _judge_personalizations(mail: dict[str, Any]) -> Iterator[FieldError]:
    personalizations = mail.get("personalizations")
    anchor = "message.personalizations"
    if not isinstance(personalizations, list) or not personalizations:
        message = "You must have at least one personalization."
        yield FieldError(message, "personalizations", anchor)
        return
    if len(personalizations) > MAX_PERSONALIZATIONS:
        message = f"The personalization block is limited to {MAX_PERSONALIZATIONS} personalizations"
        yield FieldError(f"{message} per API request.", "personalizations", anchor)
    total = 0
    for place, item in enumerate(personalizations):
        field = f"personalizations.{place}"
        if not isinstance(item, dict):
            yield FieldError("Bad Request", field, anchor)
            continue
        errors = [*_judge_recipients(item, field)]
        yield from errors
        yield from judge_headers(item.get("headers", {}), f"{field}.headers")
        yield from _judge_custom_args(mail, item, field)
        if not errors:
            total += len(list_recipients(item))
            yield from _judge_uniqueness(item, field)
    if total > MAX_RECIPIENTS:
        message = f"There is a limit of {MAX_RECIPIENTS} total recipients (to + cc + bcc)"
        yield FieldError(f"{message} per request.", "personalizations", anchor)


def _judge_recipients(item: dict[str, Any], field: str) -> Iterator[FieldError]:
    if not item.get("to"):
        message = "The to array is required for all personalization objects, and must have at least"
        yield FieldError(f"{message} one email object with a valid email address.", f"{field}.to")
    for kind in ("to", "cc", "bcc"):
        recipients = item.get(kind, [])
        if not isinstance(recipients, list):
            yield FieldError(f"The {kind} parameter must be an array.", f"{field}.{kind}")
            continue
        for place, recipient in enumerate(recipients):
            here = f"{field}.{kind}.{place}"
            yield from _judge_address(recipient, here, f"Each {kind} object")
            yield from _judge_name(recipient, here)


def _judge_address(address: Any, field: str, subject: str) -> Iterator[FieldError]:
    if not isinstance(address, dict) or "email" not in address:
        message = f"{subject} must at least have an email address and may also contain a name."
        yield FieldError(message, field, f"message.{field.partition('.')[0]}")
        return
    email = address["email"]
    if not isinstance(email, str) or not _ADDRESS.fullmatch(email):
        words = "Does not contain a valid address."
        message = f"The from email {words[0].lower()}{words[1:]}" if field == "from" else words
        yield FieldError(message, f"{field}.email", f"message.{field.partition('.')[0]}")
    if not isinstance(address.get("name", ""), str):
        yield FieldError("The name must be a string.", f"{field}.name")


def _judge_name(recipient: Any, field: str) -> Iterator[FieldError]:
    """A comma or semicolon ends a name that is not in quotes."""
    name = recipient.get("name", "") if isinstance(recipient, dict) else ""
    if not isinstance(name, str) or (len(name) > 1 and name[0] == name[-1] == '"'):
        return
    if "," in name or ";" in name:
        yield FieldError("The name cannot include either the ; or , characters.", f"{field}.name")


def _judge_uniqueness(item: dict[str, Any], field: str) -> Iterator[FieldError]:
    seen: set[str] = set()
    for kind in ("to", "cc", "bcc"):
        for recipient in item.get(kind, []):
            address = recipient["email"].lower()
            if address in seen:
                message = "Each email address in the personalization block should be unique between"
                found = f"We found the first duplicate instance of [{recipient['email']}] in the"
                yield FieldError(
                    f"{message} to, cc, and bcc. {found} {field}.{kind} field.",
                    field,
                    "message.recipient-errors",
                )
                return
            seen.add(address)


def _judge_custom_args(
    mail: dict[str, Any], item: dict[str, Any], field: str
) -> Iterator[FieldError]:
    for owner in (mail, item):
        args = owner.get("custom_args", {})
        if not isinstance(args, dict) or not all(isinstance(arg, str) for arg in args.values()):
            message = "All values of custom arguments object must be strings"
            yield FieldError(message, f"{field}.custom_args", "message.custom_args")
            return
    size_bytes = sum(len((name + value).encode()) for name, value in merge_args(mail, item).items())
    if size_bytes > MAX_CUSTOM_ARGS_BYTES:
        message = "The combined size of both global and personalization custom arguments may not"
        yield FieldError(
            f"{message} exceed {MAX_CUSTOM_ARGS_BYTES} bytes per personalization.",
            f"{field}.custom_args",
            "message.custom_args",
        )


def _judge_replies(mail: dict[str, Any]) -> Iterator[FieldError]:
    if "reply_to" in mail and "reply_to_list" in mail:
        yield FieldError("reply_to and reply_to_list cannot be used together.", "reply_to_list")
    if "reply_to" in mail:
        yield from _judge_address(mail["reply_to"], "reply_to", "The reply_to object")
    replies = mail.get("reply_to_list", [])
    for place, reply in enumerate(replies):
        yield from _judge_address(reply, f"reply_to_list.{place}", "Each reply_to object")
    if any(replies.count(reply) > 1 for reply in replies):
        yield FieldError("Each reply_to in the reply_to_list should be unique.", "reply_to_list")


def _judge_subject(mail: dict[str, Any]) -> Iterator[FieldError]:
    own = [item.get("subject") for item in mail.get("personalizations", []) if item]
    for subject in (mail.get("subject"), *own):
        if subject is not None and (not isinstance(subject, str) or not subject):
            message = "The subject of your email must be a string at least one character in length."
            yield FieldError(message, "subject", "message.subject")
            return
    if "subject" not in mail and not (own and all(own)) and "template_id" not in mail:
        message = "The subject is required. You can get around this requirement if you use a"
        yield FieldError(f"{message} template with a subject defined.", "subject")


def _judge_categories(categories: Any) -> Iterator[FieldError]:
    if not isinstance(categories, list) or not all(isinstance(item, str) for item in categories):
        yield FieldError("Categories must be an array of strings.", "categories")
    elif len(categories) > 10 or len(set(categories)) != len(categories):
        message = "There is a limit of 10 categories, which must be a unique list."
        yield FieldError(message, "categories")


def _judge_settings(mail: dict[str, Any]) -> Iterator[FieldError]:
    tracking = mail.get("tracking_settings", {})
    for group, flags in _TRACKING.items():
        for flag in flags:
            if not isinstance(tracking.get(group, {}).get(flag, False), bool):
                name = group.replace("_", " ")
                message = f"The {name} {flag} param should be a boolean value."
                yield FieldError(message, f"tracking_settings.{group}.{flag}")
    sandbox = mail.get("mail_settings", {}).get("sandbox_mode", {})
    if not isinstance(sandbox.get("enable", False), bool):
        message = "The sandbox mode enable param should be a boolean value."
        yield FieldError(message, "mail_settings.sandbox_mode.enable")
