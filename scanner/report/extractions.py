"""What models gave back: the verdicts of extraction with their pictures, and how often the same test is wrong."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scanner.core.errors import StoreError
from scanner.core.shares import Share
from scanner.core.sql import connect, query_rows
from scanner.core.store import Store
from scanner.report.figures import Bar, bar_chart
from scanner.report.markup import Html, element, foreign, join, plain
from scanner.report.numbers import count, counted
from scanner.report.tables import columns, rest, table

NUM_SHOWN = 60
"""Verdicts with pictures: of each the training image and up to five generations, about 8 kB each and never above 60 kB."""
FRAME = 74
"""Pixels of a frame on the page."""
_PIXELS = 192
"""Of the longer side of a picture, more than its frame: a reader may enlarge the page."""
_BLURRED = 6
"""Pixels that are left of a side where pictures are redacted."""
_MEANS = {
    "extracted": "gave back an image that its caption stands beside",
    "retrieved": "gave back another training image",
    "template": "gave back what the images of a template have in common",
    "suspected": "repeats itself, or comes near an image, without the other",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A row of ``extraction/verdicts``, with JPEGs as ``data:`` URIs: the training image and some generations by seed.

    ``position`` is that of the row, from 1. ``prompt_id`` is None where the page must not say: it is a digest of the caption.
    """

    verdict: str
    tier: str | None
    prompt: str
    lanes: str
    num_caption_images: int
    num_images: int
    l2: float | None
    ratio: float | None
    mask_share: float | None
    clique_size: int
    num_generations: int
    image_id: int | None
    image_caption: str | None
    prompt_id: int | None
    model_id: str
    position: int = 1
    training: str = ""
    generations: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelTotals:
    """A row of ``report/verdict_totals``: prompts by verdict, and different images that came out."""

    model_id: str
    num_prompts: int
    num_extracted: int
    num_retrieved: int
    num_template: int
    num_suspected: int
    num_images: int

    @property
    def num_found(self) -> int:
        """Prompts with any verdict."""
        return self.num_extracted + self.num_retrieved + self.num_template + self.num_suspected


@dataclass(frozen=True, kw_only=True, slots=True)
class Extractions:
    """Of all models of a run: what is shown, totals by model and verdict, strata of duplicate counts, controls, cost."""

    found: tuple[Found, ...]
    totals: tuple[ModelTotals, ...]
    by_count: tuple[dict[str, Any], ...]
    controls: tuple[dict[str, Any], ...]
    cost: tuple[dict[str, Any], ...]

    @property
    def num_found(self) -> int:
        return sum(model.num_found for model in self.totals)


def read_extractions(store: Store, *, is_redacted: bool = False) -> Extractions | None:
    """None where nothing was extracted yet."""
    if store.manifest("extractions") is None:
        return None
    with connect(store) as connection:
        rows = query_rows(connection, "extraction/verdicts", {"limit": NUM_SHOWN})
        totals = tuple(ModelTotals(**row) for row in query_rows(connection, "report/verdict_totals"))
        by_count, cost = query_rows(connection, "extraction/by_duplicate_count"), query_rows(connection, "extraction/cost")
        controls, kept = query_rows(connection, "extraction/control_rates"), query_rows(connection, "extraction/kept_images")
    paths: dict[tuple[str, int], list[tuple[int, str]]] = {}
    for image in kept:
        paths.setdefault((image["model_id"], image["prompt_id"]), []).append((image["seed"], image["image_path"]))
    found = []
    for position, row in enumerate(rows, 1):
        place = ("evidence", row["model_id"][:16], str(row["prompt_id"]), f"training-{row['image_id']}.png")
        training = _jpeg(store.get(*place), is_redacted=is_redacted)
        pictures = tuple(
            (seed, _jpeg(_kept(store, path), is_redacted=is_redacted))
            for seed, path in paths.get((row["model_id"], row["prompt_id"]), [])
        )
        found.append(Found(**row, position=position, training=training, generations=pictures))
    return Extractions(found=tuple(found), totals=totals, by_count=tuple(by_count), controls=tuple(controls), cost=tuple(cost))


def extractions(content: Extractions) -> Html:
    """The section: figures first, then every verdict with its pictures."""
    return join([_figures(content), _gallery(content)])


def _figures(content: Extractions) -> Html:
    cost = {row["model_id"]: row for row in content.cost}
    rows = [
        (
            element("code", model.model_id[:12]),
            count(model.num_prompts),
            count(model.num_images),
            count(model.num_extracted),
            count(model.num_retrieved),
            count(model.num_template),
            count(model.num_suspected),
            _cost(cost[model.model_id]) if model.model_id in cost else "",
        )
        for model in content.totals
    ]
    heads = columns(
        "Model", "#Prompts tried", "#Images given back", "#Extracted", "#Retrieved", "#Template", "#Suspected", "Spent"
    )  # fmt: skip
    totals = element("div", table(heads, rows, caption="What came out of each model"), class_="panel")
    controls = {row["model_id"]: row for row in content.controls}
    panels: list[Html] = []
    for model in content.totals:
        rows_of = [row for row in content.by_count if row["model_id"] == model.model_id]
        panels += [_by_count(model.model_id, rows_of)] if rows_of else []
        panels += [_controls(controls[model.model_id])] if model.model_id in controls else []
    return join([totals, element("div", *panels, class_="pair") if panels else None])


def _controls(row: dict[str, Any]) -> Html:
    share = Share(num_hits=row["num_extracted"] + row["num_retrieved"], num_trials=row["num_controls"])
    low, high = share.interval
    share_of = f"{100 * share.value:.1f}%, with 95% confidence {100 * low:.1f} to {100 * high:.1f}%"
    says = (
        f": of {counted(share.num_trials, 'control')}, which should give nothing, an image came out of "
        f"{count(share.num_hits)} ({share_of}), a template out of {count(row['num_template'])}. Each is listed by "
    )
    flagged = element("code", "scanner query RUN extraction/controls_flagged")
    model = element("code", row["model_id"][:12])
    text = element("p", "Model ", model, says, flagged, "; some are leaks of another caption's image.")
    return element("div", element("h3", "How far to trust it"), text, class_="panel")


def _cost(row: dict[str, Any]) -> str:
    passes = row["prefilter_passes"] + row["confirm_passes"]
    spent = f"{counted(row['num_generations'], 'image')}, {count(passes)} forward passes"
    return spent + (f", {row['times_cheaper']:,.0f} times fewer than 500 images of every prompt" if row["times_cheaper"] else "")


def _by_count(model_id: str, rows: Sequence[dict[str, Any]]) -> Html:
    bars = [
        Bar(
            label=count(row["least_images"]), value=row["extracted_share"],
            text=f"{row['num_extracted']} of {row['num_prompts']}", is_emphasised=row["num_extracted"] > 0,
        )
        for row in rows
    ]  # fmt: skip
    chart = bar_chart(
        bars,
        name=f"extracted-{model_id[:8]}",
        title="Prompts that gave their image back, by its duplicate count",
        description="; ".join(f"{bar.label}: {bar.text}" for bar in bars),
        x_label=f"images of the group, from; model {model_id[:12]}",
        y_label="share of prompts extracted",
    )
    return element("div", element("h3", "Does repetition matter?"), chart, class_="panel")


def _gallery(content: Extractions) -> Html:
    if not content.found:
        return element("p", "No prompt got a verdict.", class_="rest")
    limit = content.num_found
    note = rest(len(content.found), content.num_found, "prompts with a verdict", f"extraction/verdicts --param limit={limit}")
    return join([note, element("div", join(_card(found) for found in content.found), class_="groups evidence")])


def _card(found: Found) -> Html:
    pictures = [_figure(found.training, "training image", found.image_caption)]
    pictures += [_figure(uri, f"seed {seed}", None) for seed, uri in found.generations]
    facts: list[Html | str] = [
        element("b", found.verdict), _MEANS[found.verdict],
        f"{count(found.clique_size)} of {count(found.num_generations)} images agree",
    ]  # fmt: skip
    if found.l2 is not None:
        facts.append(f"l2 {found.l2:.3f}" + (f" ({found.tier})" if found.tier else ""))
    if found.ratio is not None:
        facts.append(f"ratio {found.ratio:.2f}")
    if found.mask_share is not None:
        facts.append(f"the same in {100 * found.mask_share:.0f} % of the area")
    facts.append(f"caption on {counted(found.num_caption_images, 'image')}; {found.lanes}")
    rank = element("span", f"#{count(found.position)}", class_="rank")
    head = element(
        "header", element("h3", rank, foreign(found.prompt, limit=200)), element("ul", join(map(_item, facts)), class_="facts")
    )
    strip = element("ul", join(map(_item, pictures)), class_="strip")
    return element("article", head, strip, _details(found), class_="group")


def _details(found: Found) -> Html:
    if found.prompt_id is None:
        return element("p", f"Row {count(found.position)} of extraction/verdicts.", class_="more")
    beside = element("p", "The training image's caption: ", foreign(found.image_caption, limit=200)) if found.image_id else None
    row = (str(found.prompt_id), "none" if found.image_id is None else str(found.image_id), found.model_id[:12])
    ids = table(columns("Prompt", "Image", "Model"), [row], caption="Ids in the tables")
    again = None
    if found.generations:
        again = element("p", element("code", f"scanner replay RUN {found.prompt_id} --seed {found.generations[0][0]}"))
    return element("details", element("summary", "Which image, and how to make it again"), beside, ids, again)


def _item(content: Html | str) -> Html:
    return element("li", content)


def _figure(uri: str, label: str, caption: str | None) -> Html:
    if not uri:
        frame = element("div", element("span", "not kept", class_="gone"), class_="frame")
    else:
        alt = f"{label}: {plain(caption, limit=140)}" if caption else label
        frame = element("div", element("img", src=uri, width=FRAME, alt=alt), class_="frame")
    return element(
        "figure", frame, element("figcaption", label.removesuffix(" image")), class_="kept" if label == "training image" else None
    )


def _kept(store: Store, path: str) -> bytes | None:
    """A generated image by the path that the table gives; None where that leads out of the run."""
    try:
        return store.get(*path.split("/"))
    except StoreError:
        return None


def _jpeg(data: bytes | None, *, is_redacted: bool) -> str:
    """A file that extraction wrote, small; empty where it is gone or damaged."""
    from PIL import Image, UnidentifiedImageError

    if data is None:
        return ""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
            image = opened.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError):
        return ""
    if is_redacted:
        image = image.resize((_BLURRED, _BLURRED), Image.Resampling.BOX)
    scale = _PIXELS / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    smooth = is_redacted or scale < 1
    image = image.resize(size, Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
