"""Page ``extractions``: what models gave back, each verdict with the training image and images that were generated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from scanner.report.markup import Html, element, join
from scanner.report.numbers import count, counted, percent
from scanner.report.serve.layout import (
    Page,
    Site,
    choice_field,
    filters,
    frame,
    last_page,
    link,
    nothing,
    pager,
    url,
    values,
    words,
)
from scanner.report.serve.params import Params
from scanner.report.serve.reader import View
from scanner.report.tables import columns, command, table

NUM_PROMPTS = 20
NUM_GENERATED = 6
VERDICTS = (
    ("any", "any"),
    ("extracted", "extracted"),
    ("retrieved", "retrieved"),
    ("template", "template"),
    ("suspected", "suspected"),
)
_MEANS = {
    "extracted": "gave back an image that its caption stands beside",
    "retrieved": "gave back another training image",
    "template": "gave back what the images of a template have in common",
    "suspected": "repeats itself, or comes near an image, without the other",
}
_ABOUT = "Prompts that a model answered with what it was trained on, the strongest evidence first."


def extractions(view: View, params: Params, site: Site) -> Page:
    """Prompts with a verdict."""
    verdict = params.choice("verdict", values(VERDICTS))
    page = params.whole("page", default=1, low=1, high=last_page(NUM_PROMPTS))
    rows = view.rows("serve/extractions_page", verdict=verdict, limit=NUM_PROMPTS, offset=(page - 1) * NUM_PROMPTS)
    form = filters("extractions", choice_field("verdict", "Verdict", VERDICTS, verdict), is_set=verdict != "any")
    rates = _control_rates(view)
    if not rows:
        empty = nothing("No prompt got a verdict." if page == 1 else "There are no more.")
        return Page(title="What models gave back", here="extractions", lede=_ABOUT, content=join([rates, form, empty]))
    kept = defaultdict(list)
    if view.has("generations"):
        ids = ",".join(sorted({str(row["prompt_id"]) for row in rows}))
        for image in view.rows("serve/kept_generations", prompt_ids=ids, files=NUM_GENERATED):
            kept[image["model_id"], image["prompt_id"]].append(image)
    total = rows[0]["num_fitting"]
    query = f"extraction/verdicts --param limit={total}"
    chosen: dict[str, str | int] = {"verdict": verdict}
    above, below = pager(
        "extractions", chosen, page=page, size=NUM_PROMPTS, total=total, what="prompts with a verdict", query=query
    )
    cards = join(_card(row, kept[row["model_id"], row["prompt_id"]], site) for row in rows)
    content = join([rates, form, above, element("div", cards, class_="groups"), below])
    return Page(title="What models gave back", here="extractions", lede=_ABOUT, content=content)


def _control_rates(view: View) -> Html | None:
    rows = view.rows("extraction/control_rates")
    if not rows:
        return None
    cells = [
        (
            element("code", row["model_id"][:12]),
            count(row["num_controls"]),
            count(row["num_extracted"] + row["num_retrieved"]),
            count(row["num_template"]),
        )
        for row in rows
    ]
    heads = columns("Model", "#Controls that measure", "#Gave back an image all the same", "#Gave back a template")
    listed = element("p", "Each is listed by ", command("extraction/controls_flagged"), class_="rest")
    return element(
        "div",
        table(heads, cells, caption="How often the same test says so of captions that should give nothing"),
        listed,
        class_="panel wordy",
    )


def _card(row: Mapping[str, Any], generated: Sequence[Mapping[str, Any]], site: Site) -> Html:
    told: list[Html | str] = [
        element("b", row["verdict"]),
        _MEANS.get(row["verdict"], ""),
        f"{count(row['clique_size'])} of {counted(row['num_generations'], 'image')} agree",
    ]
    if row["l2"] is not None:
        told.append(f"l2 {row['l2']:.3f}" + (f" ({row['tier']})" if row["tier"] else ""))
    if row["ratio"] is not None:
        told.append(f"ratio {row['ratio']:.2f}")
    if row["mask_share"] is not None:
        told.append(f"the same in {percent(row['mask_share'])} of the area")
    if row["lanes"]:
        told.append(f"caption on {counted(row['num_caption_images'], 'image')}; {row['lanes']}")
    header = element(
        "header",
        element("h2", words(row["prompt"], limit=300)),
        element("ul", join(element("li", fact) for fact in told), class_="facts"),
    )
    pictures = []
    if row["image_id"] is not None and row["key"] is not None:
        picture = frame(site, row, alt=f"Training image {row['image_id']}", side=116)
        pictures.append(element("figure", picture, element("figcaption", element("b", "training image")), class_="kept"))
    pictures += [_generated(image) for image in generated]
    strip = element("ul", join(element("li", picture) for picture in pictures), class_="strip big")
    beside = None
    if row["image_caption"] is not None:
        beside = element("p", "The training image's caption: ", words(row["image_caption"], limit=300), class_="quote")
    where = [f"prompt {row['prompt_id']} of model ", element("code", row["model_id"][:12])]
    if row["image_group_id"] is not None:
        where += ["; ", link("the image's group", "group", id=row["image_group_id"])]
    if generated:
        where += ["; again by ", element("code", f"scanner replay RUN {row['prompt_id']} --seed {generated[0]['seed']}")]
    return element("article", header, strip, beside, element("p", *where, class_="rest"), class_="group")


def _generated(image: Mapping[str, Any]) -> Html:
    source = url("generated", {"id": image["generation_id"]})
    label = f"seed {image['seed']}"
    picture = element("img", src=source, alt=f"Generated, {label}", width=116, loading="lazy", decoding="async")
    return element("figure", element("a", picture, href=source, class_="frame"), element("figcaption", label))
