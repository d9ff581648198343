"""What the enhanced status codes of mail servers mean, in plain words.

Source: RFC 3463, and the registry of enhanced status codes at IANA with those that RFC 7372
(authentication) and RFC 7505 (domains without mail) added. A server is free to use them otherwise,
so its own words stand beside ours wherever they are shown.
"""

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

_CODE: Final = re.compile(r"[45]\.(\d{1,3}\.\d{1,3})")


class Meaning(Struct, frozen=True):
    """Of one code: what is wrong, and who can mend it how."""

    cause: str
    next_step: str

    @property
    def is_mended_outside(self) -> bool:
        """The same email may get through then; else it takes another one, or none at all."""
        return self.next_step in _OUTSIDE


_FIX_ADDRESS: Final = "Ask for the right address, or take it off your list."
_ASK_RECIPIENT: Final = "Only the recipient, or whoever runs their mail, can mend this."
_FIX_DNS: Final = "Mend the DNS records of your sending domain, then send it again."
_SMALLER: Final = "Send it smaller: a link in place of the attachment."
_REPUTATION: Final = (
    "Look at what you sent there lately: to whom, how much, and whether they asked for it."
)

_RENEW: Final = "An operator has to renew them."
_RENAME: Final = "An operator has to mend it."
_OUTSIDE: Final = frozenset({_ASK_RECIPIENT, _FIX_DNS, _RENEW, _RENAME})

# Without the first digit, which says only whether it is for good.
_MEANINGS: Final[Mapping[str, Meaning]] = {
    "1.0": Meaning("The address was refused.", _FIX_ADDRESS),
    "1.1": Meaning("There is no such mailbox.", _FIX_ADDRESS),
    "1.2": Meaning("The domain of the address takes no mail.", _FIX_ADDRESS),
    "1.3": Meaning("The address is not written as an address.", _FIX_ADDRESS),
    "1.4": Meaning("The address could mean more than one mailbox.", _FIX_ADDRESS),
    "1.6": Meaning("The mailbox has moved and left no new address.", _FIX_ADDRESS),
    "1.7": Meaning("The sender's address was refused.", "Use a sender at a verified domain."),
    "1.8": Meaning("The domain of the sender was refused.", _FIX_DNS),
    "1.10": Meaning("The domain says that it takes no mail at all.", _FIX_ADDRESS),
    "2.0": Meaning("Something is wrong with the mailbox.", _ASK_RECIPIENT),
    "2.1": Meaning("The mailbox is switched off.", _FIX_ADDRESS),
    "2.2": Meaning("The mailbox is full.", _ASK_RECIPIENT),
    "2.3": Meaning("The message is larger than this mailbox takes.", _SMALLER),
    "2.4": Meaning("A mailing list could not be expanded.", _ASK_RECIPIENT),
    "3.0": Meaning("The recipient's mail server has a problem of its own.", _ASK_RECIPIENT),
    "3.1": Meaning("The recipient's mail server is out of space.", _ASK_RECIPIENT),
    "3.2": Meaning("The recipient's mail server takes no mail at present.", _ASK_RECIPIENT),
    "3.4": Meaning("The message is larger than this server takes.", _SMALLER),
    "4.0": Meaning("The recipient's network cannot be reached.", _ASK_RECIPIENT),
    "4.1": Meaning("The recipient's mail server does not answer.", _FIX_ADDRESS),
    "4.2": Meaning("The connection broke.", _ASK_RECIPIENT),
    "4.3": Meaning("A directory that the recipient's server asks does not answer.", _ASK_RECIPIENT),
    "4.4": Meaning("No way leads to the domain of the address.", _FIX_ADDRESS),
    "4.5": Meaning("The recipient's mail server has too much to do.", _ASK_RECIPIENT),
    "4.6": Meaning("The message went round in circles at the recipient's servers.", _ASK_RECIPIENT),
    "4.7": Meaning("The message was under way for too long.", _ASK_RECIPIENT),
    "5.0": Meaning("The two servers did not understand each other.", _ASK_RECIPIENT),
    "5.3": Meaning("There are too many recipients in one message.", "Send to fewer at a time."),
    "6.0": Meaning("The content was refused.", "Send a plainer message and compare."),
    "6.1": Meaning("A kind of content was refused.", "Leave the attachment out and compare."),
    "7.0": Meaning("The recipient's server refused it by a rule of its own.", _REPUTATION),
    "7.1": Meaning("The recipient's server refused it by a rule of its own.", _REPUTATION),
    "7.8": Meaning("Our credentials at the provider were refused.", _RENEW),
    "7.20": Meaning("No valid DKIM signature was found.", _FIX_DNS),
    "7.21": Meaning("The DKIM signature is not one that this server accepts.", _FIX_DNS),
    "7.22": Meaning("The DKIM signature is not of the sender's domain.", _FIX_DNS),
    "7.23": Meaning("SPF does not allow the server that sent this.", _FIX_DNS),
    "7.24": Meaning("SPF could not be checked.", _FIX_DNS),
    "7.25": Meaning("The sending server's address has no matching name.", _RENAME),
    "7.26": Meaning("Neither SPF nor DKIM proves the sender.", _FIX_DNS),
    "7.27": Meaning("The domain of the sender says that it takes no mail.", _FIX_DNS),
    "7.28": Meaning("Too much mail came from here at once.", _REPUTATION),
}

_BY_SUBJECT: Final[Mapping[str, Meaning]] = {
    subject: _MEANINGS[f"{subject}.0"] for subject in ("1", "2", "3", "4", "5", "6", "7")
}


def meaning_of(enhanced_code: str) -> Meaning | None:
    """What `5.1.1` or `4.2.2` means; of an unknown detail, what its subject means; else None.

    A code that begins with 2 says that all is well, and has no meaning here.
    """
    match = _CODE.fullmatch(enhanced_code)
    if match is None:
        return None
    return _MEANINGS.get(match[1]) or _BY_SUBJECT.get(match[1].partition(".")[0])
