"""Images read again: what cannot be had is counted with its reason, and what is another picture now is told."""

from __future__ import annotations

import pytest

from scanner.core.errors import SourceError
from scanner.sources.base import ImageRef
from scanner.sources.originals import FileRef, Originals


class Held:
    embedding_dim = None

    def __init__(self, answer: bytes | Exception) -> None:
        self.answer = answer

    def read(self, ref: ImageRef) -> bytes:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Ready(Held):
    embedding_dim = 512


def file(**seen) -> FileRef:
    ref = ImageRef(shard_url="a.tar", row=0, key="k")
    return FileRef(image_id=0, dataset="set", ref=ref, **{"sha256": None, "phash": None, **seen})


@pytest.mark.parametrize(
    ("sources", "reason"),
    [
        ({}, "source set is not at hand"),
        ({"set": Ready(b"")}, "source set holds embeddings, not images"),
        ({"set": Held(SourceError("gone.", next_step="Scan."))}, "gone."),
        ({"set": Held(OSError("disk"))}, "OSError: disk"),
    ],
)
def test_why_a_file_cannot_be_had(sources, reason):
    originals = Originals(sources)
    assert originals.read(file()) is None
    assert (originals.num_failed, originals.last_failure) == (1, reason)


def test_a_file_that_can():
    originals = Originals({"set": Held(b"data"), "other": Ready(b"")})
    assert originals.read(file()) == b"data"
    assert originals.num_failed == 0
    assert originals.has_images
    assert not Originals({"set": Ready(b"")}).has_images
    assert not Originals({}).has_images


def test_what_counts_as_the_picture_that_was_scanned():
    scanned = file(sha256=b"a" * 32, phash=0b1111)
    assert scanned.is_as_scanned(b"a" * 32, None)
    assert scanned.is_as_scanned(b"b" * 32, 0b1110), "another version of a decoder"
    assert not scanned.is_as_scanned(b"b" * 32, (1 << 64) - 1)
    assert file(sha256=b"a" * 32).is_as_scanned(b"b" * 32, 1), "nothing to judge by"
