"""The tools of the gallery, filter and order, as form controls that one small script drives.

The script is the only one that the page may run: the content policy knows it by its digest, so no other text can become one.
Without it the controls are not there and the gallery is whole.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from scanner.report.groups import Group
from scanner.report.markup import Html, element, join
from scanner.report.numbers import count

LIST_ID = "group-list"
"""Of the element whose children are the groups; each has ``data-class``, ``data-kinds`` and the numbers to sort by."""

_ORDERS = (
    ("rank", "risk, highest first"),
    ("images", "images, most first"),
    ("captions", "different captions, most first"),
    ("same", "images under one caption, most first"),
    ("similarity", "similarity, lowest first"),
)

SCRIPT = """
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const tools = byId("group-tools"), list = byId("group-list");
  if (tools && list) {
    const cards = [...list.children];
    const text = new Map(cards.map((card) => {
      const said = card.querySelector(".said");
      return [card, (said ? said.textContent : "").toLowerCase()];
    }));
    const number = (card, name) => Number(card.dataset[name]);
    const ascending = (name) => (a, b) => number(a, name) - number(b, name) || number(a, "rank") - number(b, "rank");
    const descending = (name) => (a, b) => number(b, name) - number(a, name) || number(a, "rank") - number(b, "rank");
    const orders = {
      rank: ascending("rank"), similarity: ascending("similarity"),
      images: descending("images"), captions: descending("captions"), same: descending("same"),
    };
    const fields = ["class", "kind", "images", "text", "order"].map((name) => byId("filter-" + name));
    const [klass, kind, images, words, order] = fields;
    const apply = () => {
      const wanted = words.value.trim().toLowerCase(), least = Number(images.value) || 0;
      let shown = 0;
      for (const card of cards) {
        const fits = (!klass.value || card.dataset.class === klass.value)
          && (!kind.value || card.dataset.kinds.split(" ").includes(kind.value))
          && number(card, "images") >= least && text.get(card).includes(wanted);
        card.hidden = !fits;
        shown += fits ? 1 : 0;
      }
      list.append(...[...cards].sort(orders[order.value]));
      byId("filter-shown").textContent = shown.toLocaleString("en");
      byId("filter-none").hidden = shown > 0;
    };
    const reset = () => {
      for (const field of fields) field.value = field.tagName === "SELECT" ? field.options[0].value : "";
      apply();
    };
    for (const field of fields) field.addEventListener("input", apply);
    byId("filter-reset").addEventListener("click", reset);
    const reveal = () => {
      const target = byId(decodeURIComponent(location.hash.slice(1)));
      if (target && target.hidden && cards.includes(target)) { reset(); target.scrollIntoView(); }
    };
    addEventListener("hashchange", reveal);
    tools.hidden = false;
    apply();
  }
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const seen = new Set();
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) seen[entry.isIntersecting ? "add" : "delete"](entry.target.id);
    const now = [...links.keys()].find((id) => seen.has(id));
    for (const [id, link] of links) {
      if (id === now) link.setAttribute("aria-current", "location"); else link.removeAttribute("aria-current");
    }
  }, { rootMargin: "-70px 0px -60% 0px" });
  for (const section of document.querySelectorAll("main > section")) watch.observe(section);
})();
"""

SCRIPT_DIGEST = "sha256-" + base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode("ascii")
"""As a content policy names it."""


def controls(groups: Sequence[Group], *, has_text: bool = True) -> Html:
    """Filter and order for these groups; hidden until the script is there to answer. ``has_text``: captions can be searched."""
    classes = sorted({group.class_ for group in groups})
    kinds = [kind for kind in ("exact", "near", "semantic", "unverified") if any(kind in kinds_of(group) for group in groups)]
    number = element("input", id="filter-images", type="number", min="0", step="1", inputmode="numeric")
    words = element("input", id="filter-text", type="search", autocomplete="off")
    fields = [
        _choice("class", "Class", [("", "any class"), *((name, name.replace("_", " ")) for name in classes)]),
        _choice("kind", "Has copies of kind", [("", "any kind"), *((name, name) for name in kinds)]),
        _labelled("images", "Images, at least", number),
        _labelled("text", "Words in a caption shown", words, is_hidden=not has_text),
        _choice("order", "Order by", _ORDERS),
        element("button", "Show all", type="button", id="filter-reset"),
    ]
    told = element(
        "p", element("b", count(len(groups)), id="filter-shown"), f" of {count(len(groups))} groups on this page",
        role="status", class_="told",
    )  # fmt: skip
    none = element("p", "No group on this page fits. Choose less, or ask the whole run by SQL.", id="filter-none", hidden="")
    return element(
        "div", element("div", join(fields), class_="fields"), told, none,
        id="group-tools", class_="tools", role="search", aria_label="Filter and order the groups", hidden="",
    )  # fmt: skip


def data_of(group: Group, position: int) -> dict[str, str | int]:
    """The attributes of a group's card that the script reads; ``position`` is the group's place by risk, from 0."""
    return {
        "data_rank": position, "data_class": group.class_, "data_kinds": " ".join(kinds_of(group)),
        "data_images": group.num_images, "data_captions": group.num_distinct_captions, "data_same": group.num_same_caption,
        "data_similarity": f"{group.lowest_similarity:.6f}",
    }  # fmt: skip


def kinds_of(group: Group) -> list[str]:
    """Kinds of its copies, the representative itself left out: it is always equal to itself."""
    return [kind.kind for kind in group.kinds if kind.kind != "exact" or kind.num_images > 1]


def _choice(name: str, label: str, options: Sequence[tuple[str, str]]) -> Html:
    shown = join(element("option", text, value=value) for value, text in options)
    return _labelled(name, label, element("select", shown, id=f"filter-{name}"))


def _labelled(name: str, label: str, box: Html, *, is_hidden: bool = False) -> Html:
    return element("div", element("label", label, for_=f"filter-{name}"), box, hidden="" if is_hidden else None)
