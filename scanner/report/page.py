"""The page: one HTML file that asks nothing of any network and runs no script but its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from scanner.core.config import PriorConfig
from scanner.report import filters, sections
from scanner.report.content import Content
from scanner.report.duplicates import classes, duplicates
from scanner.report.extractions import Extractions, extractions
from scanner.report.findings import findings, show
from scanner.report.gallery import Gallery
from scanner.report.leaks import Leaks, leakage
from scanner.report.markup import Html, element, foreign, join, plain
from scanner.report.numbers import count, counted
from scanner.report.outliers import outliers
from scanner.report.settings import redacted, settings
from scanner.report.style import STYLE
from scanner.report.tables import rest
from scanner.report.thumbnails import Thumbnail

CONTENT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    f"script-src '{filters.SCRIPT_DIGEST}'; base-uri 'none'; form-action 'none'"
)
"""Has the browser refuse what escaping already keeps out: any script but that of the filters, and anything from anywhere."""

_WORDS = (
    ("Image", "one row of the set; two rows with the same file are two images."),
    ("Near-duplicate", "another image whose embedding has at least the threshold's cosine to this one's."),
    ("Group", "images joined by chains of near-duplicates, less those whose pixels show another picture."),
    ("Kept", "the representative, which stands for its group: best resolution, then longest caption, then lowest id."),
    ("Similarity", "cosine to the representative, cut after four digits; the figure under each picture."),
    ("Equal, byte-equal", "the same file, byte for byte."),
    ("Kind", "exact: bytes or pixels equal to the representative's. Near: the same picture altered. Semantic: another picture in "
     "the same template. Unverified: only the search has compared them."),
    ("Template, placeholder, text, vector graphic", "what a group is, where pixels tell: one layout with a region that varies, a "
     "card in place of a missing picture, lettering, a drawing of few flat colours. Not to be deleted without a look."),
    ("Risk score", "expected probability that a model trained on this set can be made to emit the image by its caption: an "
     "assumed curve in the number of images with that caption. It orders groups; it is no measurement of a model."),
    ("Blank", "a near-constant image, as servers send in place of one that is gone. Marked, and never ranked."),
    ("Outlier score", "1 less the cosine to the nearest of some k-means centres: high for what resembles nothing else."),
    ("Leak", "an image of another set that this one holds too: a test image that is trained on, or one that should be gone."),
    ("Extracted, retrieved", "a model asked with a caption gave back an image that the caption stands beside, or another one."),
    ("Caption family", "captions of many groups that differ in one word or in numbers: the template of a shop or an archive."),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class PageFacts:
    """What the page says of the run as a whole.

    Attributes:
        title: heading.
        run: where the run lies, shown without secrets.
        written_at: date and time, as shown.
        encoder: what made the embeddings.
        threshold: cosine of a near-duplicate; None where the run does not say.
        threshold_reason: where it comes from.
        prior: the curve behind the risk score.
        recall_asked: share of its neighbours that an image was to find.
        settings: parts of ``run.yaml`` by name.
        warnings: what a reader must know before the figures.
        given_back: what a model gave back of a group, by group_id: the strongest verdict.
        is_redacted: words and pictures of the set are hidden, and ``run`` is not said.
    """

    title: str
    run: str
    written_at: str
    encoder: str
    threshold: float | None
    threshold_reason: str
    prior: PriorConfig
    recall_asked: float
    settings: Mapping[str, object]
    warnings: tuple[str, ...]
    given_back: Mapping[int, str] = field(default_factory=dict)
    is_redacted: bool = False


class _Section(NamedTuple):
    id: str
    heading: str
    content: Html


def render(
    content: Content,
    thumbnails: Mapping[int, Thumbnail],
    facts: PageFacts,
    extracted: Extractions | None = None,
    leaks: Leaks | None = None,
) -> Html:
    """The whole document.

    Args:
        content: of the scan.
        thumbnails: by image_id, of every image that ``content`` and ``leaks`` show.
        facts: of the run as a whole.
        extracted: where a model was asked for what it remembers.
        leaks: where the run was compared with other sets.
    """
    gallery = Gallery(
        thumbnails=thumbnails, prior=facts.prior, num_ranked=content.overview.num_ranked_groups, given_back=facts.given_back
    )
    parts = [_Section("overview", "Overview", _overview(content, facts, extracted, leaks))]
    if extracted is not None:
        parts.append(_Section("extractions", "What models gave back", extractions(extracted)))
    if leaks is not None:
        parts.append(_Section("leaks", "Leakage between sets", leakage(leaks, thumbnails)))
    parts += [
        _Section("groups", "Groups by risk", _ranked(content, gallery, facts)),
        _Section("captions", "Top captions", sections.captions(content)),
        _Section("outliers", "Outliers", outliers(content.outliers, thumbnails, content.overview.num_ok)),
        _Section("duplicates", "Duplicates and threshold", _duplicates(content, facts)),
    ]
    if content.blank_groups:
        parts.append(_Section("blank", "Blank groups", _blank(content, gallery)))
    parts += [
        _Section("families", "Caption families", sections.families(content)),
        _Section("unusable", "Images not used", sections.unusable(content)),
        _Section("shards", "Health of shards", sections.shards(content)),
        _Section("search", "What the search missed", sections.audit(content.audit)),
        _Section("settings", "Settings and versions", settings(facts.settings)),
        _Section("words", "Words used here", _words()),
    ]
    links = join(element("li", element("a", part.heading, href=f"#{part.id}")) for part in parts)
    body = element(
        "body",
        element("a", "Skip to the content", href="#main", class_="skip"),
        _masthead(facts),
        element(
            "div",
            element("nav", element("ul", links), aria_label="Sections"),
            element("main", join(_section(part) for part in parts), id="main", tabindex=-1),
            class_="layout",
        ),
        _footer(facts),
        element("script", Html(filters.SCRIPT)),
    )
    return join([Html("<!doctype html>\n"), element("html", _head(facts), body, lang="en")])


def _head(facts: PageFacts) -> Html:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=CONTENT_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{plain(facts.title, limit=120)}: duplicates and memorization risk"),
        element("style", Html(STYLE)),
    )


def _masthead(facts: PageFacts) -> Html:
    threshold = f", near-duplicates from cosine {facts.threshold:g}" if facts.threshold is not None else ""
    hidden = " Redacted: pictures and words of the set are hidden." if facts.is_redacted else ""
    return element(
        "header",
        element("h1", foreign(facts.title, limit=200)),
        element("p", f"Duplicates and memorization risk. Written {facts.written_at}.{hidden}", class_="lede"),
        element("p", "Encoder ", foreign(facts.encoder, limit=200), threshold, ".", class_="lede"),
        class_="masthead",
    )


def _overview(content: Content, facts: PageFacts, extracted: Extractions | None, leaks: Leaks | None) -> Html:
    """What to know in a minute, then the figures."""
    said = show(findings(content, extracted, leaks, facts.recall_asked))
    judge = element(
        "p", "To judge the run by a policy, with an exit code for CI: ", element("code", "scanner check RUN"),
        ". To look at all of it, with search: ", element("code", "scanner serve RUN"), ".", class_="rest",
    )  # fmt: skip
    figures = join([element("h3", "In figures", class_="sub"), sections.overview(content.overview)])
    warnings = join(element("p", foreign(warning, limit=600), class_="notice") for warning in facts.warnings)
    return join([_lead(content), warnings, said, judge, figures])


def _lead(content: Content) -> Html:
    """The set in a sentence: how many images, how many of them repeat another."""
    o = content.overview
    used = "all of them could be used" if o.num_ok == o.num_images else f"{count(o.num_ok)} of them could be used"
    if not o.num_removable:
        repeated = ", and none repeats another."
    else:
        left = f"one image of each kept, {count(o.num_ok - o.num_removable)} would be left."
        repeated = f". {count(o.num_removable)} of these repeat another, in {counted(o.num_groups, 'group')}; {left}"
    return element("p", element("b", counted(o.num_images, "image")), f": {used}{repeated}", class_="lead")


def _duplicates(content: Content, facts: PageFacts) -> Html:
    charts = duplicates(content.histogram, content.sweep, facts.threshold, facts.threshold_reason)
    return join([charts, classes(content.classes)])


def _section(part: _Section) -> Html:
    heading = element("h2", part.heading, id=f"{part.id}-title")
    return element("section", heading, part.content, id=part.id, aria_labelledby=f"{part.id}-title")


def _ranked(content: Content, gallery: Gallery, facts: PageFacts) -> Html:
    total = content.overview.num_ranked_groups
    if not total:
        return element("p", "No two usable images are near-duplicates at this threshold.", class_="rest")
    how = (
        "First come the groups that a model is likeliest to memorize: those with most images under one and the same caption. "
        "Of each you see the representative (framed: the one to keep), then the files least like it, so that a "
        "wrong match shows; files that are equal to the byte are one picture with a count."
    )
    note = rest(len(content.groups), total, "groups, by risk", f"groups/top_groups --param limit={total}")
    tools = filters.controls(content.groups, has_text=not facts.is_redacted) if content.groups else None
    return join([element("p", how), note, tools, gallery.cards(content.groups)])


def _blank(content: Content, gallery: Gallery) -> Html:
    total = content.overview.num_blank_groups
    how = "Near-constant pictures: marked, not ranked. A model that emits one gives nothing away."
    note = rest(len(content.blank_groups), total, "blank groups", f"groups/top_groups --param class=blank --param limit={total}")
    return join([element("p", how), gallery.blanks(content.blank_groups), note])


def _words() -> Html:
    return element("dl", join(join([element("dt", word), element("dd", means)]) for word, means in _WORDS), class_="words")


def _footer(facts: PageFacts) -> Html:
    run = "the folder of the run" if facts.is_redacted else element("code", foreign(redacted(facts.run), limit=300))
    sql, tables = element("code", 'scanner sql RUN "select …"'), element("code", "scanner tables")
    return element(
        "footer",
        element(
            "p",
            "In the commands RUN stands for ",
            run,
            ". ",
            sql,
            " answers any other question; ",
            tables,
            " explains every column.",
        ),
        element(
            "p", "This file holds all that it shows: it loads nothing, and runs no script but the one that filters the groups."
        ),
    )
