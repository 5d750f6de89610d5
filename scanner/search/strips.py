"""What is compared in one cell, cut into pieces of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scanner.search import tiles
from scanner.search.cells import Cells


@dataclass(frozen=True, kw_only=True, slots=True)
class Strip:
    """Rows at home in a cell, and some of the columns that they meet: places from ``own`` on in the cell, then its guests.

    Attributes:
        row, num_rows: places of the rows.
        own: first place among the columns: that of the rows themselves where they are active.
        guest: first of the guests among the columns.
        first, last: of the columns.
    """

    cell: int
    row: int
    num_rows: int
    own: int
    guest: int
    first: int
    last: int

    @property
    def num_pairs(self) -> int:
        """Comparisons: of the square on the diagonal half, without the diagonal itself."""
        square = max(0, min(self.num_rows, self.last) - self.first) if self.own == self.row else 0
        return self.num_rows * (self.last - self.first) - square * (square + 1) // 2


def strips_of(cells: Cells, cell: int) -> Iterator[Strip]:
    """Rows that were there before meet active ones, at home or guests; active rows meet those after them, and all guests."""
    most = tiles.STRIP_TILES * tiles.TILE_COLUMNS
    start, stop, active = int(cells.starts[cell]), int(cells.starts[cell + 1]), int(cells.active_starts[cell])
    guest, last_guest = int(cells.guest_starts[cell]), int(cells.guest_starts[cell + 1])
    for first, last, first_guest in ((start, active, int(cells.active_guests[cell])), (active, stop, guest)):
        for row in range(first, last, tiles.TILE_ROWS):
            num_rows = min(tiles.TILE_ROWS, last - row)
            own = max(row, active)
            num_columns = stop - own + last_guest - first_guest
            for column in range(0, num_columns, most):
                yield Strip(
                    cell=cell, row=row, num_rows=num_rows, own=own, guest=first_guest, first=column,
                    last=min(column + most, num_columns),
                )  # fmt: skip
