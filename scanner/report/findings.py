"""What a reader in a hurry takes away: plain sentences with their numbers, the gravest first, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scanner.report.content import OFTEN, VERY_OFTEN, Content, RecallBand
from scanner.report.extractions import Extractions, ModelTotals
from scanner.report.leaks import ComparedSet, Leaks
from scanner.report.markup import Html, element, foreign, join
from scanner.report.numbers import count, counted, percent, share

Level = Literal["act", "look", "unknown", "fine"]
LEVELS: dict[Level, str] = {"act": "Act", "look": "Look", "unknown": "Not known", "fine": "Fine"}
"""Gravest first. Act: something came out, leaks, or was not found. Look: a risk that numbers alone do not settle."""
NAME_LIMIT = 60
CAPTION_LIMIT = 120
MAX_MODELS = MAX_SETS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One sentence, what it means, the command that goes on from it, and the section of the page that shows it."""

    level: Level
    headline: Html | str
    detail: Html | str = ""
    command: str = ""
    section: str = ""


def findings(content: Content, extracted: Extractions | None, leaks: Leaks | None, recall_asked: float) -> list[Finding]:
    """All that there is to say, by level; within a level models first, then other sets, duplicates and losses."""
    found = [
        *_models(extracted), *_sets(leaks), _risk(content), _redundancy(content), _verified(content),
        _search(content, recall_asked), _losses(content),
    ]  # fmt: skip
    order = list(LEVELS)
    return sorted(found, key=lambda finding: order.index(finding.level))


def show(found: Sequence[Finding], places: Mapping[str, str] | None = None) -> Html:
    """The list; each level is said in words, never by colour alone.

    ``places``: where the sections lie, by name, if not in this very page.
    """
    rows = join(
        element(
            "li",
            element("span", LEVELS[finding.level], class_="level"),
            element("div", element("p", _headline(finding, places or {}), class_="say"), _more(finding)),
            class_=f"finding {finding.level}",
        )
        for finding in found
    )
    return element("ul", rows, class_="findings")


def _headline(finding: Finding, places: Mapping[str, str]) -> Html:
    if not finding.section:
        return join([finding.headline])
    return element("a", finding.headline, href=places.get(finding.section, f"#{finding.section}"))


def _more(finding: Finding) -> Html:
    detail = element("p", finding.detail, class_="then") if finding.detail else None
    next_step = element("p", "Next: ", element("code", finding.command), class_="then") if finding.command else None
    return join([detail, next_step])


def _models(extracted: Extractions | None) -> Iterator[Finding]:
    if extracted is None:
        yield Finding(
            level="unknown", headline="No model was asked for what it remembers.",
            detail="What a model trained on this set has memorized stays a guess until one is asked.",
            command="scanner extract RUN --model MODEL",
        )  # fmt: skip
        return
    for model in extracted.totals[:MAX_MODELS]:
        yield _model(model)
    if len(extracted.totals) > MAX_MODELS:
        more = counted(len(extracted.totals) - MAX_MODELS, "more model was asked", "more models were asked")
        yield Finding(level="look", headline=f"{more}.", command="scanner query RUN report/verdict_totals", section="extractions")


def _model(model: ModelTotals) -> Finding:
    name = element("code", model.model_id[:12])
    tried = f"{counted(model.num_prompts, 'prompt')} tried: "
    if model.num_images:
        found = (
            f"{count(model.num_extracted)} gave the image that they stand beside, {count(model.num_retrieved)} another one, "
            f"{count(model.num_template)} what a template's images share."
        )
        headline = join(["Model ", name, f" gave back {counted(model.num_images, 'training image')}."])
        query = f"scanner query RUN extraction/verdicts --param limit={model.num_found}"
        return Finding(level="act", headline=headline, detail=tried + found, command=query, section="extractions")
    if model.num_found:
        found = f"{count(model.num_template)} gave what a template's images share, {count(model.num_suspected)} are suspected."
        headline = join(["Model ", name, " gave back no whole image, but something like one."])
        return Finding(level="look", headline=headline, detail=tried + found, section="extractions")
    headline = join(["Model ", name, " gave nothing back."])
    return Finding(
        level="fine", headline=headline, section="extractions",
        detail=f"{counted(model.num_prompts, 'prompt')} tried; others, or other attacks, may still find something.",
    )  # fmt: skip


def _sets(leaks: Leaks | None) -> Iterator[Finding]:
    if leaks is None:
        yield Finding(
            level="unknown", headline="The set was compared with no other.",
            detail="Whether test images are trained on, or images that must go are still here, was not looked at.",
            command="scanner leak RUN OTHER_RUN",
        )  # fmt: skip
        return
    hit = [compared for compared in leaks.sets if compared.num_right_found]
    for compared in hit[:MAX_SETS]:
        yield _set(compared)
    if len(hit) > MAX_SETS:
        more = counted(len(hit) - MAX_SETS, "more set has images here", "more sets have images here")
        yield Finding(level="act", headline=f"{more}.", command="scanner query RUN report/compared_sets", section="leaks")
    clean = len(leaks.sets) - len(hit)
    if clean:
        headline = f"Nothing of {counted(clean, 'other set')} was found here."
        yield Finding(level="fine", headline=headline, detail="As far as the search and its threshold see.", section="leaks")


def _set(compared: ComparedSet) -> Finding:
    what, found = "images to be taken down" if compared.role == "takedown" else "test images", compared.num_right_found
    headline = join([
        f"{count(found)} of {count(compared.num_right)} {what} of ", foreign(compared.other, limit=NAME_LIMIT),
        f" {'is' if found == 1 else 'are'} in this set ({share(found, compared.num_right)}).",
    ])  # fmt: skip
    kinds = [
        (compared.num_exact, f"{count(compared.num_exact)} equal"),
        (compared.num_near, counted(compared.num_near, "altered copy", "altered copies")),
        (compared.num_semantic, f"{count(compared.num_semantic)} of the same template"),
        (compared.num_unverified, f"{count(compared.num_unverified)} by hash or embedding alone"),
    ]
    here = counted(compared.num_left_found, "image of this set shows", "images of this set show")
    is_certain = compared.num_exact + compared.num_near > 0
    return Finding(
        level="act" if is_certain else "look", headline=headline, section="leaks",
        detail=f"{', '.join(text for number, text in kinds if number)}; {here} {'it' if found == 1 else 'them'}.",
        command=f"scanner query RUN report/leak_pairs --param limit={found}",
    )  # fmt: skip


def _risk(content: Content) -> Finding:
    risk = content.risk
    if not content.captions:
        return Finding(level="fine", headline="No caption stands under copies of one image.", section="captions")
    if risk.num_very_often:
        often = f"{_stand(risk.num_very_often)} under {VERY_OFTEN} or more copies of one image."
        more = " That is where most of what was extracted from Stable Diffusion lay (Carlini et al. 2023)."
    else:
        often = f"The most repeated caption stands under {counted(risk.most_repeated, 'copy', 'copies')} of one image."
        more = f" {_stand(risk.num_often)} under {OFTEN} or more."
    expected = f"{risk.expected_images:.1f}" if risk.expected_images >= 0.05 else "fewer than 0.1"
    first = join(["First of all: ", foreign(content.captions[0].caption, limit=CAPTION_LIMIT), "."])
    prior = f" The assumed curve expects {expected} images of the set to be memorized; only a model can tell."
    return Finding(
        level="look" if risk.num_often else "fine", headline=often, detail=join([first, more, prior]), section="groups",
        command="scanner query RUN risk/top_captions",
    )  # fmt: skip


def _stand(number: int) -> str:
    return f"{counted(number, 'caption') if number else 'None'} {'stand' if number > 1 else 'stands'}"


def _redundancy(content: Content) -> Finding:
    o = content.overview
    if not o.num_removable:
        return Finding(level="fine", headline="No two usable images are near-duplicates.", section="duplicates")
    plain = o.num_removable - o.num_removable_protected
    protected = ""
    if o.num_removable_protected:
        what = "blanks, cards, templates, lettering or drawings, which stay unless named"
        protected = f" {count(o.num_removable_protected)} more are {what}."
    return Finding(
        level="look",
        headline=f"{share(o.num_removable, o.num_ok)} of the usable images are redundant: {count(o.num_removable)} of "
        f"{count(o.num_ok)}.",
        detail=f"{count(plain)} are further copies of plain pictures.{protected}",
        command="scanner export RUN --dry-run", section="duplicates",
    )  # fmt: skip


def _verified(content: Content) -> Finding:
    grouped, unverified = content.overview.num_grouped, sum(row.num_unverified for row in content.classes)
    refuted = sum(row.num_refuted for row in content.classes)
    if not grouped:
        return Finding(level="fine", headline="There are no groups to verify.")
    if unverified:
        return Finding(
            level="look", headline=f"{share(unverified, grouped)} of the images in groups were matched by embedding alone.",
            detail=f"Pixels were not compared for {counted(unverified, 'image')}: a group may hold strangers.",
            section="duplicates",
        )  # fmt: skip
    return Finding(
        level="fine", headline="Every copy was compared with its original pixel by pixel.", section="duplicates",
        detail=f"{counted(refuted, 'image')} that only seemed alike left {'its group' if refuted == 1 else 'their groups'}."
        if refuted else "No stranger was found.",
    )  # fmt: skip


def _search(content: Content, asked: float) -> Finding:
    band = next((row for row in content.audit if row.measure == "neighbors" and row.band == "all"), None)
    if band is None or band.recall is None:
        why = "No sampled image has a neighbour." if band else "The search was not audited."
        return Finding(level="unknown", headline="How much the search misses is not known.", detail=why, section="search")
    return _recall(band, band.recall, asked)


def _recall(band: RecallBand, recall: float, asked: float) -> Finding:
    between = f"{percent(band.recall_low)} to {percent(band.recall_high)} with 95% confidence"
    checked = f"{between}, from {counted(band.num_rows, 'image')} compared with all others; {percent(asked)} was asked for."
    if recall < asked:
        return Finding(
            level="act", headline=f"The search finds only {percent(recall)} of an image's near-duplicates.",
            detail=f"{checked} Counts and groups are too small.", command="scanner scan SOURCE --out RUN --search join",
            section="search",
        )  # fmt: skip
    return Finding(
        level="fine", headline=f"The search finds {percent(recall)} of an image's near-duplicates.", detail=checked,
        section="search",
    )  # fmt: skip


def _losses(content: Content) -> Finding:
    o = content.overview
    if not o.num_unusable and not o.num_broken_shards:
        return Finding(level="fine", headline=f"All {counted(o.num_images, 'image')} could be used.", section="unusable")
    broken = ""
    if o.num_broken_shards:
        broken = f" {counted(o.num_broken_shards, 'shard')} ended early: what came after the break is not counted at all."
    return Finding(
        level="look",
        headline=f"{share(o.num_unusable, o.num_images)} of the images could not be used: {count(o.num_unusable)} of "
        f"{count(o.num_images)}.",
        detail=f"{counted(o.num_lossy_shards, 'shard')} of {count(o.num_shards)} lost something.{broken}",
        command=f"scanner query RUN hygiene/unreadable --param limit={o.num_unusable}" if o.num_unusable else "",
        section="unusable",
    )  # fmt: skip
