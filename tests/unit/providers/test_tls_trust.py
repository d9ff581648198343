"""Accounts share what certificates are judged by, as far as it is the same."""

from pathlib import Path

import pytest

from tallypost_providers.tls_trust import get_tls_context
from tests.support.smtp_peers import make_certificate


def count_trusted(host: str, bundle: str | None = None) -> int:
    """How many authorities a context trusts that are named for this host."""
    authorities = get_tls_context(bundle).get_ca_certs()
    return sum(host in str(authority["subject"]) for authority in authorities)


def test_context_is_made_once() -> None:
    assert get_tls_context() is get_tls_context()


def test_context_follows_the_variable_and_the_file_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = get_tls_context()
    first = make_certificate(tmp_path, host="first.example.com")
    (tmp_path / "second").mkdir()
    second = make_certificate(tmp_path / "second", host="second.example.com")
    with monkeypatch.context() as changed:
        changed.setenv("SSL_CERT_FILE", str(first.certificate_file))
        named = get_tls_context()
        assert named is not usual
        assert count_trusted("first.example.com") == 1
        # The file of one account is not that of the others.
        assert count_trusted("second.example.com", str(second.certificate_file)) == 1
        assert count_trusted("first.example.com", str(second.certificate_file)) == 0
        assert get_tls_context() is named
        assert count_trusted("second.example.com") == 0
    assert get_tls_context() is usual
    assert count_trusted("first.example.com") == 0
