"""Page ``settings``: what the run was told and what it ran with."""

from __future__ import annotations

from scanner import __version__
from scanner.report.markup import Html, element
from scanner.report.serve.layout import Page, Site, nothing
from scanner.report.serve.params import Params
from scanner.report.serve.reader import View
from scanner.report.settings import settings as parts_of


def settings(view: View, params: Params, site: Site) -> Page:
    """``run.yaml``, without what may be a secret."""
    embedded = view.manifests.get("embeddings")
    parts = {**view.store.read_run(), "embeddings": dict(embedded.metadata) if embedded else {}}
    # A page of its own has room to show what the report folds away.
    shown = Html(parts_of(parts).replace("<details>", "<details open>"))
    content = element("div", shown, nothing(f"Served by trainscan {__version__}."), class_="settings")
    return Page(title="Settings and versions", here="settings", content=content)
