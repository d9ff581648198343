"""Which addresses of an object store are taken."""

from pathlib import Path

import pytest

from tallypost_core.object_store import FolderStore, open_store
from tallypost_core.settings.groups import ObjectsSettings


def test_file_address_opens_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    assert isinstance(open_store(ObjectsSettings(url=folder.as_uri())), FolderStore)
    assert folder.is_dir()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv/objects",
        "file://objects",
        "file:objects",
        "ftp://host/folder",
        "s3:///prefix",
        "s3://bucket/../other",
        "s3://bucket/a//b",
        "s3://key:secret-part@bucket/prefix",
        "s3://bucket/prefix?region=x",
        "s3://bucket#x",
    ],
)
def test_malformed_address_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"^TALLYPOST_OBJECTS_URL ") as caught:
        open_store(ObjectsSettings(url=url))
    assert "secret-part" not in str(caught.value)
