"""How often images repeat, and what another threshold would have called a repetition."""

from __future__ import annotations

from collections.abc import Sequence

from scanner.report.content import Bin, ClassTotals, SweepRow
from scanner.report.figures import Bar, Line, bar_chart, line_chart, range_labels
from scanner.report.markup import Html, element, foreign, join
from scanner.report.numbers import compact, count, percent, share
from scanner.report.tables import columns, command, table


def duplicates(bins: Sequence[Bin], sweep: Sequence[SweepRow], threshold: float | None, threshold_reason: str = "") -> Html:
    """Both charts side by side, the sweep's numbers below."""
    num_images = sum(b.num_images for b in bins)
    used = next((k for k, row in enumerate(sweep) if threshold is not None and abs(row.threshold - threshold) < 1e-9), None)
    panels = element(
        "div",
        _panel("histogram", "How often images repeat", _histogram(bins)),
        _panel("sweep", "What the threshold decides", _sweep_chart(sweep, threshold, num_images)),
        class_="pair",
    )
    why = element("p", "Why this threshold: ", foreign(threshold_reason, limit=600), class_="rest") if threshold_reason else None
    return join([panels, _sweep_table(sweep, used), why])


def classes(rows: Sequence[ClassTotals]) -> Html | None:
    """What the groups are, and which of them nothing should delete unasked."""
    if not rows:
        return None
    cells = [
        (
            row.class_.replace("_", " "),
            count(row.num_groups),
            count(row.num_images),
            count(row.num_removable),
            count(row.largest_group),
            count(row.num_refuted),
            count(row.num_unverified),
            "kept unless named" if row.is_protected else "",
        )
        for row in rows
    ]
    heads = columns("Class", "#Groups", "#Images", "#Removable", "#Largest", "#Refuted", "#Unverified", "When cleaning up")
    source = element("p", command("report/classes"), class_="rest")
    return element("div", table(heads, cells, caption="Groups by what their pictures are"), source, class_="panel")


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
        x_label="duplicate count, the image itself included",
        y_label="images (logarithmic)",
        scale="log",
    )
    rows = [(count(low) if low == high else f"{count(low)} to {count(high)}", count(known.get(low, 0))) for low, high in bounds]
    numbers = table(columns("#Duplicate count", "#Images"), rows, caption="Images by duplicate count")
    source = element("p", command("groups/duplicate_histogram"), class_="rest")
    return join([chart, element("details", element("summary", "As a table"), numbers, source)])


def _sweep_chart(rows: Sequence[SweepRow], threshold: float | None, num_images: int) -> Html:
    if not rows or not num_images:
        return element("p", "No threshold was swept.", class_="rest")
    lines = [
        Line(
            label="in a group", is_emphasised=False, points=[(row.threshold, row.num_grouped / num_images) for row in rows]
        ),
        Line(label="removed if each group keeps one", points=[(row.threshold, row.num_removable / num_images) for row in rows]),
    ]  # fmt: skip
    return line_chart(
        lines,
        name="sweep",
        title="Images that another threshold would call duplicates",
        description="; ".join(
            f"at {row.threshold:g} {share(row.num_grouped, num_images)} in a group, "
            f"{share(row.num_removable, num_images)} removable"
            for row in rows
        ),
        x_label="similarity threshold (cosine)",
        y_label="share of the embedded images",
        marked=threshold,
        marked_label="" if threshold is None else f"used: {threshold:g}",
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
            percent(row.removable_share or 0),
            "used for all else on this page" if k == used else "",
        )
        for k, row in enumerate(rows)
    ]
    heads = columns("#Threshold", "#Groups", "#Images in groups", "#Largest group", "#Pairs", "#Removable", "#Share", "Note")
    source = element("p", command("groups/threshold_sweep"), class_="rest")
    made = table(heads, cells, used=used, caption="Groups as the search joins them, before verification takes strangers out")
    return element("div", made, source, class_="panel sweep")
