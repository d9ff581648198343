"""What accounts judge the certificates of their peers by."""

import os
import ssl
from functools import lru_cache
from typing import Final

# OpenSSL reads them when a context is made (SSL_CTX_set_default_verify_paths).
_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def get_tls_context(bundle: str | None = None) -> ssl.SSLContext:
    """A context that trusts the authorities of a file, of SSL_CERT_FILE, or else of the system.

    All accounts share it, and nobody may change it: reading the authorities takes tens of
    milliseconds on the event loop and near a megabyte. They are read once in each process.
    """
    return _make_context(bundle, tuple(map(os.environ.get, _VARIABLES)))


@lru_cache(maxsize=4)
def _make_context(bundle: str | None, _variables: tuple[str | None, ...]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=bundle)
