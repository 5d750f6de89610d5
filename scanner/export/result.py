"""What an export did, or would do, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from scanner.core.amounts import show_bytes
from scanner.export.deliveries import Delivery
from scanner.export.savings import Savings

MAX_RULES = 12
"""Rules that are listed, the commonest first; table ``keep`` has them all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleCount:
    """Images and bytes that one rule let stay or removed; ``rule`` is None where nothing had to be decided."""

    is_kept: bool
    rule: str | None
    num_images: int
    num_bytes: int
    sum_weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportResult:
    """Figures of one call.

    Attributes:
        rules: by fate, the commonest first.
        files: all that the export holds; none on a dry run.
        savings: at each swept threshold, on a dry run.
        unverified: swept thresholds below that of the scan, with what keeping one image of each component would remove.
        notes: what should be known.
    """

    url: str
    has_weights: bool
    scanned: float
    rules: list[RuleCount]
    files: list[Delivery]
    notes: list[str]
    seconds: float
    is_dry_run: bool = False
    savings: tuple[Savings, ...] = ()
    unverified: tuple[tuple[float, int], ...] = ()

    def as_dry_run(self, *, savings: Sequence[Savings], unverified: Sequence[tuple[float, int]]) -> ExportResult:
        """The same figures of a call that wrote nothing."""
        return replace(self, is_dry_run=True, savings=tuple(savings), unverified=tuple(unverified))

    def num_images(self, *, is_kept: bool) -> int:
        return sum(rule.num_images for rule in self.rules if rule.is_kept == is_kept)

    def num_bytes(self, *, is_kept: bool) -> int:
        return sum(rule.num_bytes for rule in self.rules if rule.is_kept == is_kept)

    def lines(self) -> list[str]:
        """Counts, rules, savings, files."""
        stay, go = self.num_images(is_kept=True), self.num_images(is_kept=False)
        share = go / (stay + go) if stay + go else 0.0
        out = [
            f"{stay:,} images stay ({show_bytes(self.num_bytes(is_kept=True))}), {go:,} go"
            f" ({show_bytes(self.num_bytes(is_kept=False))}, {share:.1%} of the images)"
        ]
        if self.has_weights:
            weight = sum(rule.sum_weight for rule in self.rules if rule.is_kept)
            out.append(f"with weights: those that stay count as {weight:,.1f} images")
        out += self._rule_lines(is_kept=False, title="go")
        out += self._rule_lines(is_kept=True, title="stay")
        out += self._saving_lines()
        out += self.notes
        if self.is_dry_run:
            out.append("Nothing was written.")
        elif self.files:
            out += [f"  {path}: {count:,} files, {show_bytes(size)}" for path, count, size in self._folders()]
            out.append(f"Written to {self.url} in {self.seconds:.1f} s; sha256sum -c SHA256SUMS checks the files.")
        return out

    def _rule_lines(self, *, is_kept: bool, title: str) -> Iterator[str]:
        told = [rule for rule in self.rules if rule.is_kept == is_kept and rule.rule is not None]
        for rule in told[:MAX_RULES]:
            yield f"  {title}: {rule.num_images:>9,} ({show_bytes(rule.num_bytes)}) by {_plain(rule.rule or '')}"
        if len(told) > MAX_RULES:
            yield f"  {title}: by {len(told) - MAX_RULES:,} rules more"

    def _saving_lines(self) -> Iterator[str]:
        if self.savings:
            yield "Because a copy stays, " + ("would weigh less:" if self.has_weights else "would go:")
        for one in self.savings:
            scanned = " (as scanned)" if one.threshold == self.scanned else ""
            yield f"  at {one.threshold:g}{scanned}: {one.num_removed:,} images, {show_bytes(one.num_bytes)}"
        for threshold, count in self.unverified:
            yield f"  at {threshold:g}: {count:,} images at most: nothing below the scan was verified; scan again at it"

    def _folders(self) -> Iterator[tuple[str, int, int]]:
        folders: dict[str, list[Delivery]] = {}
        for file in self.files:
            folders.setdefault(file.path.split("/")[0], []).append(file)
        for name, files in sorted(folders.items()):
            yield name, len(files), sum(file.num_bytes for file in files)


def _plain(text: str) -> str:
    """For a terminal: values of rules may come from anywhere."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
