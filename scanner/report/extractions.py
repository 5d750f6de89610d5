"""What models gave back: the verdicts of extraction with their pictures, and how often the same test is wrong."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scanner.core.shares import Share
from scanner.core.sql import connect, find_query, run_query
from scanner.core.store import Store
from scanner.report.figures import Bar, bar_chart
from scanner.report.markup import Html, element, foreign, join, plain
from scanner.report.numbers import count, counted
from scanner.report.tables import columns, rest, table

if TYPE_CHECKING:
    import duckdb

NUM_SHOWN = 60
FRAME = 96
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
    """A row of ``extraction/verdicts``, with JPEGs as ``data:`` URIs: the training image and some generations by seed."""

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
    prompt_id: int
    model_id: str
    training: str = ""
    generations: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Extractions:
    """Of all models of a run: what is shown, totals by model and verdict, strata of duplicate counts, controls, cost."""

    found: tuple[Found, ...]
    num_found: int
    by_count: tuple[dict[str, Any], ...]
    controls: tuple[dict[str, Any], ...]
    cost: tuple[dict[str, Any], ...]


def read_extractions(store: Store, *, is_redacted: bool = False) -> Extractions | None:
    """None where nothing was extracted yet."""
    if store.manifest("extractions") is None:
        return None
    with connect(store) as connection:
        rows = _rows(connection, "extraction/verdicts", limit=NUM_SHOWN)
        by_count, cost = _rows(connection, "extraction/by_duplicate_count"), _rows(connection, "extraction/cost")
        controls, kept = _rows(connection, "extraction/control_rates"), _rows(connection, "extraction/kept_images")
    paths: dict[tuple[str, int], list[tuple[int, str]]] = {}
    for image in kept:
        paths.setdefault((image["model_id"], image["prompt_id"]), []).append((image["seed"], image["image_path"]))
    verdicts = store.read("extractions", ["verdict"])["verdict"].to_pylist()
    found = []
    for row in rows:
        place = ("evidence", row["model_id"][:16], str(row["prompt_id"]), f"training-{row['image_id']}.png")
        pictures = [
            (seed, _jpeg(store.get(*path.split("/")), is_redacted=is_redacted))
            for seed, path in paths.get((row["model_id"], row["prompt_id"]), [])
        ]
        found.append(Found(**row, training=_jpeg(store.get(*place), is_redacted=is_redacted), generations=tuple(pictures)))
    return Extractions(
        found=tuple(found), num_found=len(verdicts) - verdicts.count("none"), by_count=tuple(by_count), controls=tuple(controls),
        cost=tuple(cost),
    )  # fmt: skip


def extractions(content: Extractions) -> Html:
    """The section: figures first, then every verdict with its pictures."""
    return join([_figures(content), _gallery(content)])


def _figures(content: Extractions) -> Html:
    models = sorted({row["model_id"] for row in content.cost})
    lines = []
    for row in content.controls:
        share = Share(num_hits=row["num_extracted"] + row["num_retrieved"], num_trials=row["num_controls"])
        low, high = share.interval
        share_of = f"{100 * share.value:.1f} %, with 95 % confidence {100 * low:.1f} to {100 * high:.1f} %"
        says = (
            f": of {counted(share.num_trials, 'control')}, which should give nothing, an image came out of "
            f"{count(share.num_hits)} ({share_of}), a template out of {count(row['num_template'])}. Each is listed by "
        )
        flagged = element("code", "scanner query RUN extraction/controls_flagged")
        model = element("code", row["model_id"][:12])
        lines.append(element("p", "Model ", model, says, flagged, "; some are leaks of another caption's image."))
    lines += [element("p", element("code", row["model_id"][:12]), ": ", _cost(row)) for row in content.cost]
    charts = [_by_count(model_id, [row for row in content.by_count if row["model_id"] == model_id]) for model_id in models]
    return join([*lines, *charts])


def _cost(row: dict[str, Any]) -> str:
    passes = row["prefilter_passes"] + row["confirm_passes"]
    spent = f"{counted(row['num_prompts'], 'prompt')}, {counted(row['num_generations'], 'image')}, {count(passes)} forward passes"
    return spent + (
        f", {row['times_cheaper']:,.0f} times fewer than 500 images of every prompt." if row["times_cheaper"] else "."
    )


def _by_count(model_id: str, rows: Sequence[dict[str, Any]]) -> Html | None:
    if not rows:
        return None
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
        x_label=f"images of the group, from; calibration prompts of {model_id[:12]}",
        y_label="share of prompts extracted",
    )
    return element("div", chart, class_="panel sweep")


def _gallery(content: Extractions) -> Html:
    if not content.found:
        return element("p", "No prompt got a verdict.", class_="rest")
    limit = content.num_found
    note = rest(len(content.found), content.num_found, "prompts with a verdict", f"extraction/verdicts --param limit={limit}")
    return join([note, element("div", join(_card(found) for found in content.found), class_="groups")])


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
    head = element(
        "header", element("h3", foreign(found.prompt, limit=200)), element("ul", join(map(_item, facts)), class_="facts")
    )
    beside = element("p", "The training image's caption: ", foreign(found.image_caption, limit=200)) if found.image_id else None
    ids = table(columns("Prompt", "Image", "Model"), [(str(found.prompt_id), str(found.image_id), found.model_id[:12])])
    again = None
    if found.generations:
        again = element("p", element("code", f"scanner replay RUN {found.prompt_id} --seed {found.generations[0][0]}"))
    details = element("details", element("summary", "Which image, and how to make it again"), beside, ids, again)
    return element("article", head, element("ul", join(map(_item, pictures)), class_="strip"), details, class_="group")


def _item(content: Html | str) -> Html:
    return element("li", content)


def _figure(uri: str, label: str, caption: str | None) -> Html:
    if not uri:
        frame = element("div", element("span", "not kept", class_="gone"), class_="frame")
    else:
        alt = f"{label}: {plain(caption, limit=140)}" if caption else label
        frame = element("div", element("img", src=uri, width=FRAME, alt=alt), class_="frame")
    return element("figure", frame, element("figcaption", label), class_="kept" if label == "training image" else None)


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
    scale = 2 * FRAME / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    smooth = is_redacted or scale < 1
    image = image.resize(size, Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _rows(connection: duckdb.DuckDBPyConnection, name: str, **parameters: int | str) -> list[dict[str, Any]]:
    cursor = run_query(connection, find_query(name), parameters)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
