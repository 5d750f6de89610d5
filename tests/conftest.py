"""Small sets for tests."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.forkserver import ensure_running

import pytest
from pictures import draw, encoded, sample, write_tar


def pytest_configure() -> None:
    """Triton's kernels run on the CPU, which must be said before anything imports triton (torchvision does).

    ``TRITON_INTERPRET=0 pytest tests/search`` on a machine with a GPU runs the same tests on it.
    """
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session", autouse=True)
def decoders() -> None:
    """The server that decoding workers are forked from, started with what they import: it is one a process, the first wins."""
    from scanner.images.prepare import PRELOAD

    multiprocessing.set_forkserver_preload(list(PRELOAD))
    ensure_running()


@pytest.fixture(scope="module")
def one_thread():
    """For networks so small that threads only wait for one another."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def shards(tmp_path):
    """Three tars of eight images: image 0 of each is the same file, image 1 the same picture as JPEG, image 2 is broken."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for s in range(3):
        members = []
        for i in range(8):
            image, extension = draw(i if i < 2 else 100 * s + i), "png"
            data = encoded(image)
            if i == 1:
                data, extension = encoded(image, "JPEG", quality=95 - 10 * s), "jpg"
            if i == 2:
                data = data[: len(data) // 2]
            members += sample(
                f"{s}{i}", data, f"a picture {i}" if i < 2 else f"a picture {s} {i}", extension, url=f"https://h{s}.org/{i}"
            )
        write_tar(folder / f"{s:05d}.tar", members)
    return folder
