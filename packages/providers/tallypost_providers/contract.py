"""What of the contract can be seen on a class or on an account, before any email is sent.

Each function yields what is wrong, in words. The rest of the contract, how an account behaves, is
for the suite in `tests/contract/providers`.
"""

import inspect
import math
from collections.abc import Iterator

from tallypost_core import plugin_loading
from tallypost_providers.types import Capabilities, Provider


def class_faults(provider_class: object, name: str) -> Iterator[str]:
    """What a class lacks of `types.Provider`; name is that of its entry point."""
    if not isinstance(provider_class, type):
        yield "it is no class"
        return
    own_name = getattr(provider_class, "name", None)
    if own_name != name:
        yield f"its name is {own_name!r}, not {name!r} as its entry point says"
    for method in ("send", "close"):
        if not inspect.iscoroutinefunction(_find_own(provider_class, method)):
            yield f"it has no `async def {method}`"
    find_obstacle = _find_own(provider_class, "find_obstacle")
    if not callable(find_obstacle) or inspect.iscoroutinefunction(find_obstacle):
        yield "it has no `def find_obstacle`"


def settings_faults(provider_class: type) -> Iterator[str]:
    """What keeps accounts of a class from being made with settings."""
    struct = getattr(provider_class, "settings", None)
    yield from plugin_loading.settings_faults(struct)
    if not _takes_settings_and_account(provider_class):
        yield "its constructor does not take (settings, account)"


def account_faults(provider: Provider, account: str) -> Iterator[str]:
    """What is wrong with an account that a constructor made."""
    if getattr(provider, "account", None) != account:
        yield "its constructor does not keep `account`"
    capabilities = getattr(provider, "capabilities", None)
    if not isinstance(capabilities, Capabilities):
        yield "its `capabilities` are no Capabilities"
    elif not capabilities.reaches_outside:
        # It would get test mail in the place of the Inbox, and never live mail.
        yield "its capabilities say that it does not reach outside, which only the Inbox may say"
    can_be_asked = isinstance(capabilities, Capabilities) and capabilities.lookup
    if can_be_asked and not inspect.iscoroutinefunction(getattr(provider, "look_up", None)):
        yield "its capabilities say `lookup`, and it has no `async def look_up`"
    if not _is_rate(getattr(provider, "rate_per_s", 0)):
        yield "its `rate_per_s` is neither None nor a number above 0"
    # Those that nobody has to have.
    ensure_domain = getattr(provider, "ensure_domain", None)
    if ensure_domain is not None and not inspect.iscoroutinefunction(ensure_domain):
        yield "its `ensure_domain` is no `async def`"
    if not _is_count(getattr(provider, "connections_per_domain", None)):
        yield "its `connections_per_domain` is neither None nor a whole number above 0"


def _find_own(provider_class: type, name: str) -> object:
    """A member of a class; None where it has but the empty one of the Protocol."""
    member = getattr(provider_class, name, None)
    return None if member is getattr(Provider, name) else member


def _takes_settings_and_account(provider_class: type) -> bool:
    try:
        inspect.signature(provider_class).bind(object(), account="")
    except (TypeError, ValueError):
        return False
    return True


def _is_rate(rate: object) -> bool:
    return rate is None or (isinstance(rate, int | float) and 0 < rate < math.inf)


def _is_count(count: object) -> bool:
    # True is 1 to Python, and no number to whoever wrote it.
    return count is None or (isinstance(count, int) and count > 0 and count is not True)
