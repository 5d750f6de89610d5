"""What axe would find: axe-core itself where ``SCANNER_AXE`` names its file, and the checks that matter here written out.

axe-core is no dependency (it is a script of its own licence): ``npm pack axe-core`` brings ``package/axe.min.js``.
"""

from __future__ import annotations

import os
from pathlib import Path

from browser import Browser

SERIOUS = ("serious", "critical")

AUDIT = r"""
const problems = [];
const say = (rule, node, more) => problems.push(`${rule}: ${node.outerHTML.slice(0, 110)} ${more || ""}`);
const seen = (node) => node.checkVisibility({ visibilityProperty: true, opacityProperty: true });
const named = (node) => {
  const by = (node.getAttribute("aria-labelledby") || "").split(" ").filter(Boolean).map((id) => document.getElementById(id));
  const label = node.id && document.querySelector(`label[for="${CSS.escape(node.id)}"]`);
  const pictured = [...node.querySelectorAll("img")].map((image) => image.alt).join(" ");
  return (by.map((other) => other ? other.textContent : "").join("") || node.getAttribute("aria-label")
    || (label && label.textContent) || node.getAttribute("alt") || node.textContent || pictured || "").trim();
};
// Names, labels, alternatives.
for (const node of document.querySelectorAll("a, button, input, select, img, svg, summary, nav, main > section, [role]"))
  if (!node.closest("[aria-hidden=true]") && !named(node)) say("no accessible name", node);
for (const node of document.querySelectorAll("[aria-labelledby], [aria-describedby]"))
  for (const id of (node.getAttribute("aria-labelledby") || node.getAttribute("aria-describedby")).split(" "))
    if (!document.getElementById(id)) say("names an element that is not there", node, id);
// Ids, language, title.
const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
for (const id of new Set(ids.filter((id, k) => ids.indexOf(id) !== k))) problems.push(`id twice: ${id}`);
if (!document.documentElement.lang) problems.push("no language");
if (!document.title.trim()) problems.push("no title");
// Headings in order, one first.
let before = 0;
for (const node of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
  const level = Number(node.tagName[1]);
  if (level > before + 1) say("heading skips a level", node);
  before = level;
}
if (document.querySelectorAll("h1").length !== 1) problems.push("not one h1");
// Landmarks: one main, everything in one, names that tell regions apart.
if (document.querySelectorAll("main").length !== 1) problems.push("not one main");
for (const node of document.body.children)
  if (!/^(HEADER|MAIN|NAV|FOOTER|SCRIPT)$/.test(node.tagName) && !node.matches("a.skip")
      && ![...node.children].every((child) => /^(MAIN|NAV)$/.test(child.tagName))) say("content outside of landmarks", node);
const regions = [...document.querySelectorAll("main > section")].map(named);
if (new Set(regions).size !== regions.length) problems.push("two regions of one name");
// Lists and tables.
for (const node of document.querySelectorAll("ul > :not(li), ol > :not(li), dl > :not(dt, dd, div)")) say("no list item", node);
for (const node of document.querySelectorAll("li")) if (!node.parentElement.matches("ul, ol")) say("item without a list", node);
for (const node of document.querySelectorAll("th")) if (!node.scope) say("header without a scope", node);
for (const node of document.querySelectorAll("table")) if (!node.caption) say("table without a caption", node);
// What scrolls can be reached by keyboard; what has the focus order of its own is not positive.
for (const node of document.querySelectorAll("*")) {
  const style = getComputedStyle(node);
  if (/(auto|scroll)/.test(style.overflowX) && node.scrollWidth > node.clientWidth + 1 && node !== document.documentElement
      && node.tabIndex < 0 && !node.querySelector("a, button, input, select, summary, [tabindex='0']"))
    say("scrolls and cannot be reached", node);
  if (node.tabIndex > 0) say("positive tabindex", node);
}
// Contrast of text, against the first ground below it that is not transparent.
const parse = (color) => {
  const numbers = color.match(/[\d.]+/g).map(Number);
  return { rgb: numbers.slice(0, 3), alpha: numbers.length > 3 ? numbers[3] : 1 };
};
const luminance = (rgb) => {
  const linear = rgb.map((part) => part / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const told = new Set();
for (let text = walker.nextNode(); text; text = walker.nextNode()) {
  const node = text.parentElement;
  if (!text.textContent.trim() || /^(SCRIPT|STYLE|TITLE|DESC|OPTION)$/i.test(node.tagName) || !seen(node)) continue;
  const style = getComputedStyle(node);
  const front = parse(node.closest("svg") ? style.fill : style.color);
  let ground = node, back = parse(getComputedStyle(document.body).backgroundColor);
  for (; ground; ground = ground.parentElement) {
    const found = parse(getComputedStyle(ground).backgroundColor);
    if (found.alpha === 1) { back = found; break; }
  }
  const [low, high] = [luminance(front.rgb), luminance(back.rgb)].sort((a, b) => a - b);
  const ratio = (high + 0.05) / (low + 0.05);
  const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
  if (ratio >= (large ? 3 : 4.5) || told.has(node.className)) continue;
  told.add(node.className);
  say("contrast", node, ratio.toFixed(2));
}
// Nothing is wider than the window.
if (document.documentElement.scrollWidth > innerWidth + 1)
  problems.push(`the page scrolls sideways: ${document.documentElement.scrollWidth} of ${innerWidth}`);
return problems;
"""


def problems(browser: Browser) -> list[str]:
    """What is wrong with the page that is open, one line each."""
    found = browser.run(AUDIT)
    assert isinstance(found, list)
    return [str(problem) for problem in found]


def axe_path() -> Path | None:
    """Where axe-core lies, if anywhere."""
    named = os.environ.get("SCANNER_AXE", "")
    return Path(named) if named and Path(named).is_file() else None


def axe_violations(browser: Browser, script: Path) -> list[str]:
    """Serious and critical findings of axe-core for the page that is open, one line each."""
    browser.run(script.read_text("utf-8") + "\nwindow.axe = axe;")
    found = browser.run_async(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, {resultTypes: ['violations']}).then("
        "(result) => done(result.violations.map((v) => [v.impact, v.id, v.help, v.nodes.slice(0, 3).map((n) => n.html)])),"
        "(error) => done([['critical', 'axe', String(error), []]]));"
    )
    return [f"{impact} {id_}: {text}: {nodes}" for impact, id_, text, nodes in found if impact in SERIOUS]
