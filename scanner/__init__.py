"""Find the duplicates of an image–caption training set before a model memorizes them, and rank the risk."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from scanner.core.run import Run

__version__ = "0.1.0"


def open(
    url: str | os.PathLike[str],
    *,
    other: str | os.PathLike[str] = "",
    memory: str = "4GB",
    threads: int = 0,
    scratch: str = "",
) -> Run:
    """A run, to be asked in SQL: ``scanner.open("run").query("risk/top_captions", limit=20).df()``.

    Args:
        url: folder of the run, local or any fsspec URL.
        other: a second run, for queries that compare two.
        memory: what DuckDB may take, such as 4GB; more is spilled to ``scratch``.
        threads: 0 for one a core.
        scratch: local folder to spill to; that of the system by default.

    Raises:
        StoreError: there is no run at ``url`` or ``other``, or it is damaged.
    """
    from scanner.core.run import Run

    return Run(url, other=other, memory=memory, threads=threads, scratch=scratch)
