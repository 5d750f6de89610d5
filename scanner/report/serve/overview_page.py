"""Page ``./``: the run in a minute: what to do first, figures, the riskiest groups, thresholds, and what the search missed."""

from __future__ import annotations

from scanner.core.schemas import TABLES
from scanner.report import sections
from scanner.report.content import (
    OFTEN,
    VERY_OFTEN,
    Bin,
    ClassTotals,
    Content,
    Overview,
    Reason,
    RecallBand,
    RiskTotals,
    SweepRow,
    TopCaption,
)
from scanner.report.duplicates import classes, duplicates
from scanner.report.extractions import Extractions, ModelTotals
from scanner.report.findings import findings, show
from scanner.report.leaks import ComparedSet, Leaks
from scanner.report.markup import Html, element, foreign, join
from scanner.report.numbers import count, counted
from scanner.report.serve.groups_page import cards_of
from scanner.report.serve.layout import Page, Site, filters, link, nothing, search_field, section, threshold_of
from scanner.report.serve.params import Params
from scanner.report.serve.reader import View
from scanner.report.stage import pairs_warning, recall_asked
from scanner.report.tables import columns, table

NUM_GROUPS = 3
_PLACES = {
    "extractions": "extractions",
    "leaks": "leaks",
    "groups": "groups",
    "captions": "captions",
    "unusable": "unusable",
    "shards": "shards",
    "duplicates": "#duplicates",
    "search": "#search",
}
"""Pages, or sections of this one, that show what a finding is about."""


def overview(view: View, params: Params, site: Site) -> Page:
    """What the report says at its head, from the tables as they are now; of an unfinished run, which tables there are."""
    lede = _lede(view, site)
    tables = section("tables", "Tables", _tables(view))
    missing = [name for name in ("group_risk", "prompts", "audit", "thresholds") if not view.has(name)]
    if missing:
        text = f"The scan has not come to its end: table {missing[0]} is not there yet. What is there can be looked at."
        return Page(title="Overview", here="./", lede=lede, content=join([element("p", text, class_="notice"), tables]))
    content = _content(view)
    warnings = (sections.broken_warning(content), pairs_warning(view.manifests.get("pairs")))
    found = findings(content, _extractions(view), _leaks(view), recall_asked(view.store.read_run(), site.config))
    repeated = duplicates(content.histogram, content.sweep, threshold_of(view), site.config.neighbors.threshold_reason)
    return Page(
        title="Overview",
        here="./",
        lede=lede,
        content=join([
            join(element("p", text, class_="notice") for text in warnings if text),
            show(found, _PLACES),
            filters("captions", search_field("q", "Search captions of groups", ""), button="Search"),
            section("figures", "In figures", sections.overview(content.overview)),
            section("riskiest", "Riskiest groups", _riskiest(view, site)),
            section("duplicates", "Duplicates and threshold", repeated, classes(content.classes)),
            section("search", "What the search missed", sections.audit(content.audit)),
            tables,
        ]),
    )  # fmt: skip


def _content(view: View) -> Content:
    """What findings and charts are made of; galleries have pages of their own."""
    return Content(
        overview=Overview(**view.rows("report/overview")[0]),
        risk=RiskTotals(**view.rows("report/risk_totals", often=OFTEN, very_often=VERY_OFTEN)[0]),
        classes=tuple(ClassTotals(class_=row.pop("class"), **row) for row in view.rows("report/classes")),
        histogram=tuple(Bin(**row) for row in view.rows("groups/duplicate_histogram")),
        sweep=tuple(SweepRow(**row) for row in view.rows("groups/threshold_sweep")),
        audit=tuple(RecallBand(**row) for row in view.rows("hygiene/recall_by_band")),
        captions=tuple(TopCaption(**row) for row in view.rows("risk/top_captions", limit=1)),
        reasons=tuple(Reason(**row) for row in view.rows("report/unusable_reasons", limit=1)),
        groups=(), blank_groups=(), outliers=(), families=(), shards=(),
    )  # fmt: skip


def _extractions(view: View) -> Extractions | None:
    if not view.has("extractions"):
        return None
    totals = tuple(ModelTotals(**row) for row in view.rows("report/verdict_totals"))
    return Extractions(found=(), totals=totals, by_count=(), controls=(), cost=())


def _leaks(view: View) -> Leaks | None:
    """None where the run was compared with nothing: a table without rows says the same as none."""
    sets = tuple(ComparedSet(**row) for row in view.rows("report/compared_sets")) if view.has("comparisons", "leaks") else ()
    return Leaks(sets=sets, pairs=()) if sets else None


def _lede(view: View, site: Site) -> Html:
    embedded = view.manifests.get("embeddings")
    encoder = str((embedded.metadata.get("encoder") if embedded else None) or site.config.encoder.name)
    told = "embeddings of the source itself" if encoder == "ready" else encoder
    threshold = threshold_of(view)
    near = f"; near-duplicates from cosine {threshold:g}" if threshold is not None else ""
    return join(["Duplicates and memorization risk. Encoder ", foreign(told, limit=200), near, "."])


def _riskiest(view: View, site: Site) -> Html:
    given: dict[str, int | str] = {"class": "ranked", "caption": "", "limit": NUM_GROUPS}
    rows = view.rows("serve/groups_page", **given)
    if not rows:
        return nothing("No two usable images are near-duplicates at this threshold.")
    more = element("p", link(f"All {counted(rows[0]['num_fitting'], 'group')}", "groups"), class_="rest")
    return join([element("div", cards_of(rows, view, site, level=3), class_="groups"), more])


def _tables(view: View) -> Html:
    rows = [
        (element("code", name), TABLES[name].grain, count(manifest.num_rows), count(len(manifest.parts)))
        for name, manifest in view.manifests.items()
    ]
    return element(
        "div", table(columns("Table", "Holds", "#Rows", "#Parts"), rows, caption="Tables of the run"), class_="panel wordy"
    )
