"""What a planted set holds, row by row, by arithmetic alone: no list of rows is ever built.

Rows are numbered section by section (groups of copies, mirrored copies, templates, traps, placeholders, blanks, outliers, one
broken file, and the rest, which occur once), then shuffled by a computed permutation into the places at which they are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal

import numpy as np

from scanner.core.errors import ConfigError
from scanner.lab.copies import ALTERATIONS
from scanner.lab.shuffle import Shuffle

COPY_COUNTS = (2, 4, 8, 16, 32, 64, 128, 256)
REGIMES = ("same", "varied")
COPY_KINDS = ("exact", *ALTERATIONS)
GROUPS_A_COUNT = 4
"""Of each k in a unit: same and varied captions, exact copies alone and kinds dealt in turn. Half as many at the largest k."""
MIN_IMAGES = 200
MIRROR_EVERY = 4
"""Of so many pictures that are copied, one has a mirrored copy besides."""
TEMPLATE_SHARE, TEMPLATE_ROWS = 0.12, 50
LARGE_FAMILY_EVERY, LARGE_FAMILY = 6, 4
"""Every sixth family has four times the members: some hundreds in a set of thousands."""
TRAP_IMAGES = 6
DEFAULT_COPIED_SHARE = 0.4

Layout = Literal["webdataset", "folder"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedImage:
    """One row to be.

    Attributes:
        planted_id: the picture; equal for its copies.
        copy: 0 is the source file itself; unique with ``planted_id``.
        kind: ``exact``, a name in ``copies.ALTERATIONS``, ``mirror``, ``unique``, ``template``, ``placeholder``, ``blank``,
            ``outlier`` or ``broken``.
        k: rows of the picture, mirrored ones not counted.
        regime: of captions: ``same`` or ``varied`` for copies, ``trap`` (one caption on different pictures), ``template``,
            ``single``.
        family: of a template member, the family's number; of a trap, the number of its caption; -1 elsewhere.
    """

    planted_id: int
    copy: int
    kind: str
    k: int
    regime: str
    family: int = -1


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The schedule of a set.

    Args:
        num_images: rows, at least 200.
        seed: of the shuffle; drawing uses it too.
        copied_share: of the rows, at most so many are copies in groups of k = 2, 4 ... 256; small sets stop at a smaller k.

    Raises:
        ConfigError: a number out of range.
    """

    num_images: int
    seed: int
    copied_share: float = DEFAULT_COPIED_SHARE

    def __post_init__(self) -> None:
        if self.num_images < MIN_IMAGES:
            raise ConfigError(
                f"A planted set of {self.num_images} images is too small.", next_step=f"Take at least {MIN_IMAGES}."
            )
        if self.seed < 0:
            raise ConfigError(f"Seed {self.seed} is negative.", next_step="Take 0 or more.")
        if not 0 < self.copied_share <= 0.75:
            raise ConfigError(
                f"A share of {self.copied_share:g} copies is not possible.", next_step="Take more than 0 and at most 0.75."
            )

    @cached_property
    def unit(self) -> tuple[tuple[int, str, bool], ...]:
        """k, regime and whether all copies are exact, of the groups that are planted together; repeated ``num_units`` times."""
        budget = self.copied_share * self.num_images
        groups: list[tuple[int, str, bool]] = []
        for count in COPY_COUNTS:
            times = GROUPS_A_COUNT // 2 if count == COPY_COUNTS[-1] else GROUPS_A_COUNT
            added = [(count, REGIMES[i % 2], (i // 2 + i) % 2 == 0) for i in range(times)]
            if groups and sum(k for k, _, _ in groups + added) > budget:
                break
            groups += added
        return tuple(groups)

    @cached_property
    def unit_rows(self) -> int:
        return sum(k for k, _, _ in self.unit)

    @cached_property
    def num_units(self) -> int:
        return max(1, int(self.copied_share * self.num_images / self.unit_rows))

    @cached_property
    def num_groups(self) -> int:
        return self.num_units * len(self.unit)

    @cached_property
    def families(self) -> tuple[int, ...]:
        """Members of each template family."""
        rows = int(TEMPLATE_SHARE * self.num_images)
        number = max(2, rows // TEMPLATE_ROWS)
        weights = [LARGE_FAMILY if i % LARGE_FAMILY_EVERY == 0 else 1 for i in range(number)]
        return tuple(max(3, rows * weight // sum(weights)) for weight in weights)

    @cached_property
    def sections(self) -> dict[str, int]:
        """Rows of each section, in the order of their numbers."""
        n = self.num_images
        sections = {
            "copies": self.num_units * self.unit_rows,
            "mirror": -(-self.num_groups // MIRROR_EVERY),
            "template": sum(self.families),
            "trap": TRAP_IMAGES * max(1, n // 500),
            "placeholder": max(3, n // 150),
            "blank": max(3, n // 100),
            "outlier": max(2, n // 200),
            "broken": 1,
        }
        left = n - sum(sections.values())
        if left < 0:
            raise ConfigError(
                f"{n} images with {self.copied_share:.0%} copies leave no room for the rest.", next_step="Take fewer copies."
            )
        return sections | {"unique": left}

    @cached_property
    def num_placeholder_designs(self) -> int:
        return max(1, min(6, self.sections["placeholder"] // 3))

    @cached_property
    def num_pictures(self) -> int:
        """Planted ids run below this; held-out captions take those from here on."""
        sections = self.sections
        return self.num_groups + self.num_placeholder_designs + sum(
            sections[name] for name in ("template", "trap", "blank", "outlier", "broken", "unique")
        )  # fmt: skip

    @cached_property
    def shuffle(self) -> Shuffle:
        return Shuffle(self.num_images, seed=self.seed)

    @cached_property
    def _starts(self) -> dict[str, int]:
        return dict(zip(self.sections, accumulate(self.sections.values(), initial=0), strict=False))

    @cached_property
    def _unit_starts(self) -> list[int]:
        return list(accumulate((k for k, _, _ in self.unit), initial=0))

    @cached_property
    def _family_starts(self) -> list[int]:
        return list(accumulate(self.families, initial=0))

    def row(self, index: int) -> PlannedImage:
        """The row of number ``index``, before the shuffle."""
        section = next(name for name in reversed(self._starts) if index >= self._starts[name])
        i = index - self._starts[section]
        if section == "copies":
            return self._copy(i)
        if section == "mirror":
            group = i * MIRROR_EVERY
            k, regime, _ = self.unit[group % len(self.unit)]
            return PlannedImage(planted_id=group, copy=k, kind="mirror", k=k, regime=regime)
        first_id = self.num_groups
        if section == "placeholder":
            design = i % self.num_placeholder_designs
            k = (self.sections["placeholder"] - design - 1) // self.num_placeholder_designs + 1
            return PlannedImage(
                planted_id=first_id + design, copy=i // self.num_placeholder_designs, kind="placeholder", k=k, regime="varied"
            )
        first_id += self.num_placeholder_designs
        for name in ("template", "trap", "blank", "outlier", "broken", "unique"):
            if name == section:
                break
            first_id += self.sections[name]
        family = -1
        if section == "template":
            family = int(np.searchsorted(self._family_starts, i, side="right")) - 1
        elif section == "trap":
            family = i // TRAP_IMAGES
        kind = "unique" if section == "trap" else section
        regime = section if section in ("template", "trap") else "single"
        return PlannedImage(planted_id=first_id + i, copy=0, kind=kind, k=1, regime=regime, family=family)

    def _copy(self, i: int) -> PlannedImage:
        number, inside = divmod(i, self.unit_rows)
        g = int(np.searchsorted(self._unit_starts, inside, side="right")) - 1
        k, regime, is_exact = self.unit[g]
        copy = inside - self._unit_starts[g]
        kind = "exact"
        if copy and not is_exact:
            # Dealt in turn over all groups that are not exact, so that every kind occurs equally often.
            before = sum(count - 1 for count, _, exact in self.unit[:g] if not exact)
            a_unit = sum(count - 1 for count, _, exact in self.unit if not exact)
            kind = COPY_KINDS[(number * a_unit + before + copy - 1) % len(COPY_KINDS)]
        return PlannedImage(planted_id=number * len(self.unit) + g, copy=copy, kind=kind, k=k, regime=regime)

    def source_index(self, row: PlannedImage, index: int) -> int:
        """Number of the row that holds the source file of ``row``; ``index`` itself where it is its own."""
        if row.copy == 0:
            return index
        if row.kind == "placeholder":
            return self._starts["placeholder"] + row.planted_id - self.num_groups
        number, g = divmod(row.planted_id, len(self.unit))
        return self._starts["copies"] + number * self.unit_rows + self._unit_starts[g]

    def rows(self, start: int, stop: int) -> Iterator[tuple[PlannedImage, int]]:
        """The rows at places ``start`` to ``stop``, and for each the place of its source file."""
        indices = self.shuffle.index_at(np.arange(start, min(stop, self.num_images))).tolist()
        rows = [self.row(index) for index in indices]
        sources = self.shuffle.place_of(np.array([self.source_index(r, i) for r, i in zip(rows, indices, strict=True)], np.int64))
        yield from zip(rows, sources.tolist(), strict=True)
