"""The style sheet of the page: light, dark and paper; no fonts but the reader's own."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f7f7f5; --surface: #ffffff; --sunken: #f1f2f3; --ink: #1b1e23; --muted: #5b636e; --line: #dfe2e6;
  --accent: #2b62ad; --soft: #b9cce6; --wash: #e8eff8; --warn: #8f5200; --warn-wash: #fbf1e0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #131519; --surface: #1b1e23; --sunken: #24282e; --ink: #e7e9ec; --muted: #9ca5b0; --line: #31363d;
    --accent: #79a9ee; --soft: #38506f; --wash: #212d3d; --warn: #e5b25d; --warn-wash: #33291a;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 3.5rem; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  font-variant-numeric: tabular-nums; text-rendering: optimizeLegibility;
}
main, .masthead, footer { max-width: 1180px; margin: 0 auto; padding: 0 24px; }
.masthead { padding-top: 36px; }
h1 { font-size: 28px; line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 6px; font-weight: 650; overflow-wrap: anywhere; }
h2 { font-size: 20px; letter-spacing: -0.01em; margin: 0 0 4px; font-weight: 650; }
h3 { font-size: 15px; margin: 0; font-weight: 600; }
h4 { font-size: 12px; margin: 0 0 6px; font-weight: 600; color: var(--muted); }
p { margin: 0 0 10px; max-width: 84ch; }
a { color: var(--accent); text-underline-offset: 2px; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
code { font: 0.87em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
p code, .rest code { background: var(--sunken); padding: 1px 5px; border-radius: 4px; }
section { margin: 44px 0 0; }
.lede { color: var(--muted); margin-bottom: 4px; max-width: 110ch; }
.rest { color: var(--muted); font-size: 13px; margin: 10px 0 0; max-width: none; }
.none, .cut { color: var(--muted); font-style: italic; }
.code { font: 0.75em ui-monospace, Menlo, Consolas, monospace; color: var(--muted); border: 1px solid var(--line);
  border-radius: 3px;
  padding: 0 2px; margin: 0 1px; }
bdi { overflow-wrap: anywhere; }
nav { position: sticky; top: 0; z-index: 2; background: var(--page); border-bottom: 1px solid var(--line); margin-top: 18px; }
nav ul { max-width: 1180px; margin: 0 auto; padding: 0 24px; list-style: none; display: flex; gap: 4px 20px; overflow-x: auto; }
nav a { display: block; padding: 10px 0; color: var(--muted); text-decoration: none; font-size: 14px; white-space: nowrap; }
nav a:hover { color: var(--ink); text-decoration: underline; }
.notice { background: var(--warn-wash); border-left: 3px solid var(--warn); padding: 8px 14px; border-radius: 0 6px 6px 0;
  margin: 0 0 14px; max-width: none; }

.figures { display: grid; grid-template-columns: repeat(5, 1fr); gap: 1px; background: var(--line);
  border: 1px solid var(--line); border-radius: 10px; overflow: hidden; margin: 0; }
@media (max-width: 820px) { .figures { grid-template-columns: repeat(2, 1fr); } }
.figures div { background: var(--surface); padding: 14px 16px; display: flex; flex-direction: column; }
.figures dt { color: var(--muted); font-size: 13px; }
.figures dd { margin: 0; }
.figures .main { font-size: 25px; line-height: 1.25; font-weight: 620; letter-spacing: -0.01em; }
.figures .note { color: var(--muted); font-size: 13px; }

.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 20px; }
.panel { background: var(--surface); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px; }
.sweep { margin-top: 20px; }
.cause { color: var(--muted); font-size: 13px; }
.chart { width: 100%; height: auto; display: block; margin: 10px 0 4px; }
.chart text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--muted); text-anchor: middle; }
.chart .end { text-anchor: end; }
.chart .start { text-anchor: start; }
.chart .value { fill: var(--ink); paint-order: stroke; stroke: var(--surface); stroke-width: 4px; stroke-linejoin: round; }
.chart .grid { stroke: var(--line); stroke-width: 1; }
.chart .axis { stroke: var(--muted); stroke-width: 1; }
.chart .bar { fill: var(--accent); }
.chart .soft { fill: var(--soft); }

details > summary { cursor: pointer; color: var(--accent); font-size: 13px; width: fit-content; }
details > summary:hover { text-decoration: underline; }
details[open] > summary { margin-bottom: 8px; }

.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
caption { text-align: left; color: var(--muted); font-size: 13px; padding-bottom: 6px; }
th { text-align: left; color: var(--muted); font-weight: 550; font-size: 12.5px; vertical-align: bottom; }
th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child > * { border-bottom: 0; }
th:last-child, td:last-child { padding-right: 0; }
.num { text-align: right; white-space: nowrap; }
th.num { white-space: normal; }
td:not(.num), th:not(.num) { min-width: 7.5em; }
.sweep td { white-space: nowrap; }
tbody th { color: var(--ink); font-weight: 450; font-size: inherit; }
tr.used > * { background: var(--wash); }
.tag { display: inline-block; border: 1px solid var(--line); border-radius: 99px; padding: 0 8px; font-size: 12px;
  color: var(--muted); white-space: nowrap; }
.tag.warn { color: var(--warn); border-color: currentColor; }

.groups { display: grid; grid-template-columns: minmax(0, 1fr); gap: 16px; margin-top: 16px; }
.group { background: var(--surface); border: 1px solid var(--line); border-radius: 10px; padding: 16px 20px 14px; }
.group:target { border-color: var(--accent); box-shadow: 0 0 0 1px var(--accent); }
.group > header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 16px; margin-bottom: 12px; }
.rank { color: var(--muted); font-weight: 500; margin-right: 8px; }
.facts { color: var(--muted); font-size: 13.5px; display: flex; flex-wrap: wrap; gap: 0 16px; margin: 0; padding: 0;
  list-style: none; flex: 1; }
.risk { font-size: 13.5px; white-space: nowrap; }
.risk b { font-weight: 620; }
.columns { display: grid; grid-template-columns: minmax(0, 2.7fr) minmax(0, 1fr); gap: 24px; }
@media (max-width: 820px) { .columns { grid-template-columns: minmax(0, 1fr); gap: 14px; } }
.strip { display: flex; flex-wrap: wrap; gap: 12px 10px; margin: 0; padding: 0; list-style: none; align-items: flex-start; }
figure { margin: 0; width: 88px; }
.frame { position: relative; width: 88px; height: 88px; background: var(--sunken); border-radius: 6px; display: flex;
  align-items: center;
  justify-content: center; overflow: hidden; }
.frame img { max-width: 100%; max-height: 100%; width: auto; height: auto; display: block; }
.kept .frame { outline: 2px solid var(--accent); outline-offset: 1px; }
.gone { padding: 8px; font-size: 11px; line-height: 1.35; color: var(--muted); text-align: center; overflow: hidden;
  max-height: 100%; }
.copies { position: absolute; left: 0; right: 0; bottom: 0; background: var(--ink); color: var(--surface); font-size: 11px;
  line-height: 1.65; text-align: center; white-space: nowrap; font-weight: 600; opacity: 0.88; }
figcaption { font-size: 12px; line-height: 1.35; color: var(--muted); margin-top: 5px; }
figcaption b { color: var(--ink); font-weight: 600; }
.said { margin: 0; padding: 0; list-style: none; font-size: 14px; line-height: 1.4; }
.said li { display: grid; grid-template-columns: 44px minmax(0, 1fr); gap: 10px; padding: 3px 0; }
.n { text-align: right; font-weight: 600; }
.n::after { content: ""; display: block; height: 3px; border-radius: 2px; margin-top: 1px;
  background: linear-gradient(to left, var(--accent) var(--share), var(--sunken) var(--share)); }
.more { font-size: 13px; color: var(--muted); margin: 6px 0 0; }
.group > details { margin-top: 12px; border-top: 1px solid var(--line); padding-top: 10px; }
.why { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 2px 18px; margin: 0 0 12px; font-size: 13.5px; }
.why dt { color: var(--muted); }
.why dd { margin: 0; }
.blanks { display: flex; flex-wrap: wrap; gap: 16px; margin: 14px 0 0; padding: 0; list-style: none; }
dl.words { display: grid; grid-template-columns: max-content minmax(0, 76ch); gap: 6px 22px; margin: 10px 0 0; }
dl.words dt { font-weight: 600; }
dl.words dd { margin: 0; color: var(--muted); }
@media (max-width: 640px) {
  .facts { flex-basis: 100%; order: 3; }
  dl.words, .why { grid-template-columns: minmax(0, 1fr); }
  dl.words dd, .why dd { margin-bottom: 6px; }
  main, .masthead, footer, nav ul { padding-left: 16px; padding-right: 16px; }
}
footer { color: var(--muted); font-size: 13px; padding-top: 40px; padding-bottom: 48px; }

@media print {
  :root { --page: #fff; --surface: #fff; --sunken: #f1f2f3; --ink: #000; --muted: #444; --line: #ccc; --accent: #2b62ad;
  --soft: #b9cce6;
    --wash: #e8eff8; --warn: #8f5200; --warn-wash: #fbf1e0; color-scheme: light; }
  body { font-size: 10.5pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  nav { display: none; }
  .group, .panel, tr, figure, .figures { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; }
}
"""
