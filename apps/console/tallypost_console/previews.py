"""Makes the HTML body of a message fit for a sandboxed frame.

Three walls stand around it: `sandbox` without any permission (no script, no form, an origin of
its own), the policy of the page, which the frame inherits, and a policy of its own that allows
inline styles and images in the document and no request to anybody.
"""

import base64
import re
from collections.abc import Mapping
from typing import Final

from tallypost_domain.inbox.types import MessageContents

MAX_BODY_CHARS: Final = 500_000
MAX_IMAGES_CHARS: Final = 2_000_000

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_HEAD: Final = (
    '<!doctype html><meta charset="utf-8">'
    f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    # A link would open in the frame; a new window is what the sandbox forbids.
    '<base target="_blank">'
    # Mail is written for a white page; a dark frame would hide dark text.
    "<style>html{background:#fff;color-scheme:light}</style>"
)
_IMAGE = re.compile(r"image/[a-z0-9.+-]+")
_CONTENT_ID = re.compile(r"cid:([^\s\"'()<>]{1,200})")


def preview(contents: MessageContents) -> str | None:
    """A document for `srcdoc`; None where there is no HTML body or too much of it.

    Images that the body refers to by `cid:` are put into it, up to 2 MB in all, counted
    as they stand in the document.
    """
    if contents.html is None or len(contents.html) > MAX_BODY_CHARS:
        return None
    images = _list_images(contents)
    left_chars = MAX_IMAGES_CHARS

    def place(match: re.Match[str]) -> str:
        nonlocal left_chars
        image = images.get(match[1])
        # Counted where it is used: a body may refer to one image any number of times.
        if image is None or len(image) > left_chars:
            return match[0]
        left_chars -= len(image)
        return image

    return _HEAD + _CONTENT_ID.sub(place, contents.html)


def _list_images(contents: MessageContents) -> Mapping[str, str]:
    return {
        part.content_id: f"data:{part.content_type};base64,{base64.b64encode(part.body).decode()}"
        for part in contents.parts
        if part.content_id
        and _IMAGE.fullmatch(part.content_type)
        and len(part.body) <= MAX_IMAGES_CHARS
    }
