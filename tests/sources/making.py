"""Small sources for the tests: the bytes of an image do not matter to a source, so they are short and distinct."""

from __future__ import annotations

import io
import tarfile

from scanner.core.errors import BrokenShardError


def image(i: int) -> bytes:
    return b"\xff\xd8\xff image " + str(i).encode() * (i % 7 + 1)


def tar_bytes(members: list[tuple[str, bytes]], *, format: int = tarfile.USTAR_FORMAT, mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=format) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def read_broken(source, shard=None):
    """The samples before the break, and the message of the ``BrokenShardError`` that must end them."""
    samples = []
    try:
        for sample in source.samples(shard or source.shards()[0]):
            samples.append(sample)  # noqa: PERF402 (those before the error are wanted)
    except BrokenShardError as error:
        return samples, error.message
    raise AssertionError(f"no BrokenShardError after {len(samples)} samples")


def put(url: str, data: bytes) -> str:
    """Writes a file at any fsspec URL, its folders made."""
    import fsspec

    fs, path = fsspec.core.url_to_fs(url)
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    with fs.open(path, "wb") as file:
        file.write(data)
    return url
