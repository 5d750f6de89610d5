"""File names: which are images, which are tars, and what webdataset calls the key of a member."""

from __future__ import annotations

IMAGE_EXTENSIONS = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"})
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")


def extension(name: str) -> str:
    """The part after the last dot of the base name, in lower case; empty where there is none."""
    base = name.rpartition("/")[2]
    stem, dot, suffix = base.rpartition(".")
    return suffix.lower() if dot and stem else ""


def is_image_name(name: str) -> bool:
    return extension(name) in IMAGE_EXTENSIONS


def is_tar_name(name: str) -> bool:
    return name.lower().endswith(TAR_SUFFIXES)


def is_compressed_name(name: str) -> bool:
    return name.lower().endswith((".gz", ".tgz"))


def is_hidden(name: str) -> bool:
    """Any component of the relative path starts with a dot: a cache, a resource fork, a checkpoint folder."""
    return name.startswith(".") or "/." in name


def split_member(name: str) -> tuple[str, str]:
    """Key and extension of a tar member as webdataset splits them: at the first dot of the base name.

    ``a/b.seg.png`` is the member ``seg.png`` of sample ``a/b``. Both are empty where webdataset ignores the member: no
    dot, or nothing before it.
    """
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    if not dot or not stem:
        return "", ""
    return folder + slash + stem, suffix.lower()


def count_noun(count: int, noun: str, plural: str | None = None) -> str:
    """``1 shard``, ``4,896 images``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
