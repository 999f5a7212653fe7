"""Storage keys: whatever a template or an asset's id holds, nothing lands outside the storage."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from worker import variables
from worker.errors import Transient
from worker.storage import Storage

PIECES = st.sampled_from(
    [
        *"/\\.~:%\0\n ",
        "..",
        "../",
        "/..",
        "%2e%2e%2f",
        "%2F",
        "\u2025",
        "\uff0e\uff0e\uff0f",
        "é",
        "C:\\",
        "file:///etc/",
        "a",
        "x" * 255,
        "x" * 300,
        "{asset}",
        "{audio}",
        "{account}",
        "{export_id}",
        "{export_id}.mp4",
        "{asset!r}",
        "{asset:.0}",
        "{asset:>300}",
        "{asset:/<40}",
        "{asset:.<40}",
    ]
)
TEMPLATE = TypeAdapter(variables.StorageKey)


def inside(key: str) -> list[Path]:
    """Publish under `key`; returns what is in the storage, having seen that nothing else is."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        storage = Storage((root / "a/b/exports").as_uri())
        with suppress(Transient):
            storage.publish(b"film", key, content_type="video/mp4", check=lambda: None)
        found = [path for path in root.rglob("*") if path.is_file()]
        for path in found:
            assert path.resolve().is_relative_to(root / "a/b/exports")
        return [path.relative_to(root / "a/b/exports") for path in found]


@settings(deadline=None)
@given(pieces=st.lists(PIECES, max_size=8))
def test_no_key_lands_outside(pieces: list[str]) -> None:
    key = "".join(pieces)
    assert inside(key) in ([], [Path(key)])


@settings(deadline=None)
@given(key=st.text(max_size=40))
def test_no_text_lands_outside(key: str) -> None:
    assert inside(key) in ([], [Path(key)])


@settings(deadline=None)
@given(pieces=st.lists(PIECES, max_size=6), asset=st.lists(PIECES, max_size=4))
def test_no_template_lands_outside_whatever_the_asset(pieces: list[str], asset: list[str]) -> None:
    """An asset is 32 hex digits; were it anything else, this would hold all the same."""
    with suppress(ValidationError):
        template = TEMPLATE.validate_python("".join(pieces))
        key = template.format(
            account="a" * 32, asset="".join(asset), audio="he-aac", export_id=UUID(int=1)
        )
        assert inside(key) in ([], [Path(key)])


@pytest.mark.parametrize(
    "key",
    ["", ".", "/x", "a//b", "a/", "../x", "a/../b", "a\\..\\b", "a\0b", "a\nb", "x" * 1025],
)
def test_what_is_no_plain_relative_path_is_refused(key: str) -> None:
    assert inside(key) == []
    with pytest.raises(Transient, match="storage_unavailable"):
        Storage("s3://bucket").publish(b"film", key, content_type="video/mp4", check=lambda: None)
