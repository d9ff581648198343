"""Writes the message that a simulated SendGrid would send: what recipients get to see.

By the standard library, and not signed. The same request gives the same bytes.
"""

import base64
from collections.abc import Mapping
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any


# Any: a request that was judged before.
def write_message(mail: Mapping[str, Any], personalization: Mapping[str, Any]) -> bytes:
    """The message of one personalization; bcc is in none of its headers."""
    message = EmailMessage(policy=SMTP)
    message["From"] = _address(mail["from"])
    for header, recipients in (
        ("To", personalization.get("to")),
        ("Cc", personalization.get("cc")),
        (
            "Reply-To",
            mail.get("reply_to_list") or ([mail["reply_to"]] if "reply_to" in mail else []),
        ),
    ):
        if recipients:
            message[header] = [_address(recipient) for recipient in recipients]
    message["Subject"] = personalization.get("subject") or mail["subject"]
    for name, value in {**mail.get("headers", {}), **personalization.get("headers", {})}.items():
        message[name] = value
    _add_content(message, mail)
    multiparts = [part for part in message.walk() if part.is_multipart()]
    for number, part in enumerate(multiparts):
        part.set_boundary(f"=_sendgrid_{number}")
    return message.as_bytes()


def _add_content(message: EmailMessage, mail: Mapping[str, Any]) -> None:
    for place, part in enumerate(mail.get("content", [])):
        subtype = part["type"].removeprefix("text/")
        if place == 0:
            message.set_content(part["value"], subtype=subtype)
        else:
            message.add_alternative(part["value"], subtype=subtype)
    html = message.get_body(("html",))
    for item in mail.get("attachments", []):
        maintype, _, subtype = item.get("type", "application/octet-stream").partition("/")
        parts = {
            "maintype": maintype,
            "subtype": subtype,
            "filename": item["filename"],
            "disposition": item.get("disposition", "attachment"),
        }
        if "content_id" in item:
            parts["cid"] = f"<{item['content_id']}>"
        content = base64.b64decode(item["content"])
        if parts["disposition"] == "inline" and html is not None:
            html.add_related(content, **parts)
        else:
            message.add_attachment(content, **parts)


def _address(recipient: Mapping[str, str]) -> Address:
    name = recipient.get("name", "")
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return Address(display_name=name, addr_spec=recipient["email"])
