"""Pages ``./`` and ``settings``: the figures of the run with what to look at first, and what it was told and ran with."""

from __future__ import annotations

from scanner import __version__
from scanner.core.schemas import TABLES
from scanner.report import sections
from scanner.report.content import Bin, Overview, RecallBand, SweepRow
from scanner.report.duplicates import duplicates
from scanner.report.markup import Html, element, foreign, join
from scanner.report.numbers import count, counted
from scanner.report.serve.groups_page import cards_of
from scanner.report.serve.layout import Page, Site, filters, link, nothing, search_field, section, threshold_of
from scanner.report.serve.params import Params
from scanner.report.serve.reader import View
from scanner.report.settings import settings as settings_section
from scanner.report.tables import columns, table

NUM_GROUPS = 3
_NEEDED = (
    "shards",
    "images",
    "neighbors",
    "thresholds",
    "audit",
    "group_risk",
    "group_captions",
    "group_evidence",
    "groups",
    "prompts",
)


def overview(view: View, params: Params, site: Site) -> Page:
    """Key figures, the riskiest groups, how often images repeat, and what the search missed."""
    lede = _lede(view, site)
    missing = [table for table in _NEEDED if not view.has(table)]
    if missing:
        told = element(
            "p",
            f"The scan has not come to its end: table {missing[0]} is not there yet. What is there can be looked at.",
            class_="notice",
        )
        return Page(title="Overview", here="./", lede=lede, content=join([told, section("tables", "Tables", _tables(view))]))
    figures = Overview(**view.rows("report/overview")[0])
    bins = [Bin(**row) for row in view.rows("groups/duplicate_histogram")]
    sweep = [SweepRow(**row) for row in view.rows("groups/threshold_sweep")]
    bands = [RecallBand(**row) for row in view.rows("hygiene/recall_by_band")]
    return Page(
        title="Overview",
        here="./",
        lede=lede,
        content=join([
            join(element("p", text, class_="notice") for text in _warnings(figures, view)),
            sections.overview(figures),
            filters("captions", search_field("q", "Search captions of groups", ""), button="Search"),
            section("riskiest", "Riskiest groups", _riskiest(view, site)),
            section("duplicates", "Duplicates", duplicates(bins, sweep, threshold_of(view))),
            section("search", "What the search missed", sections.audit(bands)),
            section("tables", "Tables", _tables(view)),
        ]),
    )  # fmt: skip


def _lede(view: View, site: Site) -> Html:
    embedded = view.manifests.get("embeddings")
    encoder = str((embedded.metadata.get("encoder") if embedded else None) or site.config.encoder.name)
    told = "embeddings of the source itself" if encoder == "ready" else encoder
    threshold = threshold_of(view)
    near = f"; near-duplicates from cosine {threshold:g}" if threshold is not None else ""
    return join(["Duplicates and memorization risk. Encoder ", foreign(told, limit=200), near, "."])


def _warnings(figures: Overview, view: View) -> list[str]:
    found = []
    if figures.num_broken_shards:
        found.append(f"{counted(figures.num_broken_shards, 'shard')} ended early; what was readable before the break is counted.")
    pairs = view.manifests.get("pairs")
    if pairs is not None and pairs.metadata.get("is_truncated"):
        found.append("Table pairs holds fewer pairs than there are (neighbors.max_pairs); counts and groups are not affected.")
    return found


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


def settings(view: View, params: Params, site: Site) -> Page:
    """``run.yaml``, without what may be a secret."""
    embedded = view.manifests.get("embeddings")
    parts = {**view.store.read_run(), "embeddings": dict(embedded.metadata) if embedded else {}}
    # A page of its own has room to show what the report folds away.
    shown = Html(settings_section(parts).replace("<details>", "<details open>"))
    content = element("div", shown, nothing(f"Served by trainscan {__version__}."), class_="settings")
    return Page(title="Settings and versions", here="settings", content=content)
