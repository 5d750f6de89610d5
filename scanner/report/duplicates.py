"""How often images repeat, and what another threshold would have called a repetition."""

from __future__ import annotations

from collections.abc import Sequence

from scanner.report.content import Bin, SweepRow
from scanner.report.figures import Bar, bar_chart, range_labels
from scanner.report.markup import Html, element, join
from scanner.report.numbers import compact, count, percent
from scanner.report.tables import columns, command, table


def duplicates(bins: Sequence[Bin], sweep: Sequence[SweepRow], threshold: float | None) -> Html:
    """Both charts side by side, the sweep's numbers below."""
    used = next((k for k, row in enumerate(sweep) if threshold is not None and abs(row.threshold - threshold) < 1e-9), None)
    panels = element(
        "div",
        _panel("histogram", "How often images repeat", _histogram(bins)),
        _panel("sweep", "What the threshold decides", _sweep_chart(sweep, used)),
        class_="pair",
    )
    return join([panels, _sweep_table(sweep, used)])


def _panel(name: str, heading: str, content: Html) -> Html:
    return element(
        "div",
        element("h3", heading, id=f"{name}-heading"),
        content,
        class_="panel",
        role="group",
        aria_labelledby=f"{name}-heading",
    )


def _histogram(bins: Sequence[Bin]) -> Html:
    """Bins of powers of two, empty ones included."""
    if not bins:
        return element("p", "No image was embedded.", class_="rest")
    known = {b.duplicates_from: b.num_images for b in bins}
    bounds = [(1 << k, (2 << k) - 1) for k in range(max(known).bit_length())]
    bars = [
        Bar(label=label, value=known.get(low, 0), text=compact(known.get(low, 0)), is_emphasised=low > 1)
        for label, (low, _) in zip(range_labels(bounds), bounds, strict=True)
    ]
    total = sum(known.values())
    description = f"{count(total - known.get(1, 0))} of {count(total)} embedded images have a near-duplicate"
    chart = bar_chart(
        bars,
        name="histogram",
        title="Images by duplicate count",
        description=f"{description}; the highest bin starts at {count(max(known))}.",
        x_label="duplicate count: images within the threshold, the image itself included",
        y_label="images (logarithmic)",
        scale="log",
    )
    rows = [(count(low) if low == high else f"{count(low)} to {count(high)}", count(known.get(low, 0))) for low, high in bounds]
    numbers = table(columns("#Duplicate count", "#Images"), rows)
    source = element("p", command("groups/duplicate_histogram"), class_="rest")
    return join([chart, element("details", element("summary", "As a table"), numbers, source)])


def _sweep_chart(rows: Sequence[SweepRow], used: int | None) -> Html:
    if not rows:
        return element("p", "No threshold was swept.", class_="rest")
    bars = [
        Bar(label=f"{row.threshold:g}", value=row.num_removable, text=percent(row.removable_share or 0), is_emphasised=k == used)
        for k, row in enumerate(rows)
    ]
    return bar_chart(
        bars,
        name="sweep",
        title="Images removable at each threshold",
        description="; ".join(f"at {row.threshold:g}: {count(row.num_removable)}" for row in rows),
        x_label="similarity threshold (cosine); in full colour: the one that was used",
        y_label="images removed if each group keeps one, and their share",
    )


def _sweep_table(rows: Sequence[SweepRow], used: int | None) -> Html | None:
    if not rows:
        return None
    cells = [
        (
            f"{row.threshold:g}",
            count(row.num_groups),
            count(row.num_grouped),
            count(row.largest_group),
            count(row.num_pairs),
            count(row.num_removable),
            "used for all else on this page" if k == used else "",
        )
        for k, row in enumerate(rows)
    ]
    heads = columns("#Threshold", "#Groups", "#Images in groups", "#Largest group", "#Pairs", "#Removable", "Note")
    source = element("p", command("groups/threshold_sweep"), class_="rest")
    return element("div", table(heads, cells, used=used), source, class_="panel sweep")
