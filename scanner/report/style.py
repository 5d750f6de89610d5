"""The style sheet of the page: light, dark and paper; no fonts but the reader's own.

Every pair of colours that carries words has a contrast of 4.5 : 1 or more in each scheme (WCAG 2.2, 1.4.3); a test computes it.
"""

from __future__ import annotations

COLORS = """
:root {
  color-scheme: light dark;
  --page: #f6f7f8; --surface: #ffffff; --sunken: #eff1f3; --ink: #1a1d22; --muted: #565e69; --line: #dde1e6; --edge: #868e99;
  --accent: #24589f; --soft: #b9cce6; --wash: #e8eff8; --warn: #865000; --warn-wash: #fbf1e0;
  --act: #a3231b; --act-wash: #fbeae8; --fine: #1c6b3c; --fine-wash: #e6f3ea;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #121417; --surface: #1a1d21; --sunken: #23272d; --ink: #e8eaed; --muted: #a1a9b4; --line: #31363d; --edge: #737b86;
    --accent: #85b1f0; --soft: #3a5271; --wash: #202c3b; --warn: #e8b765; --warn-wash: #32291b;
    --act: #ff9a90; --act-wash: #3a2220; --fine: #7fcf9a; --fine-wash: #1b2f22;
  }
}
"""

_BASE = """
* { box-sizing: border-box; }
[hidden] { display: none !important; }
html { scroll-behavior: smooth; scroll-padding-top: 3.6rem; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  font-variant-numeric: tabular-nums; text-rendering: optimizeLegibility;
}
.masthead, .layout, footer, body > main, body > nav ul { max-width: 1180px; margin: 0 auto; padding: 0 24px; }
.masthead { padding-top: 32px; }
main:focus, .group:focus { outline: none; }
h1 { font-size: 28px; line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 6px; font-weight: 650; overflow-wrap: anywhere; }
h2 { font-size: 20px; letter-spacing: -0.01em; margin: 0 0 8px; font-weight: 650; }
h3 { font-size: 15px; margin: 0; font-weight: 600; overflow-wrap: anywhere; }
h3.sub { margin: 26px 0 10px; }
h4 { font-size: 12px; margin: 0 0 6px; font-weight: 600; color: var(--muted); }
p { margin: 0 0 10px; max-width: 84ch; }
a { color: var(--accent); text-underline-offset: 2px; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
code { font: 0.87em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
p code, .rest code { background: var(--sunken); padding: 1px 5px; border-radius: 4px; }
main > section { margin: 0 0 48px; }
.lede { color: var(--muted); margin-bottom: 2px; max-width: 110ch; }
.rest { color: var(--muted); font-size: 13px; margin: 10px 0 0; max-width: none; }
.none, .cut { color: var(--muted); font-style: italic; }
.code { font: 0.75em ui-monospace, Menlo, Consolas, monospace; color: var(--muted); border: 1px solid var(--line);
  border-radius: 3px; padding: 0 2px; margin: 0 1px; }
bdi, .key { overflow-wrap: anywhere; }
.key { color: var(--muted); }
.skip { position: absolute; left: 16px; top: -60px; background: var(--surface); padding: 10px 16px; z-index: 3;
  border: 2px solid var(--accent); border-radius: 6px; }
.skip:focus { top: 12px; }
nav { position: sticky; top: 0; z-index: 2; background: var(--page); border-bottom: 1px solid var(--line); margin: 18px 0 28px; }
nav ul { margin: 0; padding: 0; list-style: none; display: flex; gap: 0 20px; overflow-x: auto; scrollbar-width: thin; }
nav a { display: block; padding: 10px 0 9px; color: var(--muted); text-decoration: none; font-size: 14px; white-space: nowrap;
  border-bottom: 2px solid transparent; }
nav a:hover { color: var(--ink); text-decoration: underline; }
nav a[aria-current] { color: var(--ink); border-color: var(--accent); }
nav a:focus-visible { outline-offset: -2px; }
@media (min-width: 1340px) {
  .masthead, .layout, footer { max-width: 1400px; }
  .layout { display: grid; grid-template-columns: 178px minmax(0, 1140px); gap: 36px; margin-top: 30px; }
  html { scroll-padding-top: 1.2rem; }
  nav { align-self: start; top: 20px; border: 0; margin: 0; max-height: calc(100vh - 40px); overflow-y: auto; }
  nav ul { display: block; overflow: visible; }
  nav a { white-space: normal; padding: 4px 0 4px 12px; border: 0; border-left: 2px solid var(--line); line-height: 1.35; }
  footer { padding-left: 238px; }
}
.notice { background: var(--warn-wash); border-left: 3px solid var(--warn); padding: 8px 14px; border-radius: 0 6px 6px 0;
  margin: 0 0 14px; max-width: none; }
footer { color: var(--muted); font-size: 13px; padding-bottom: 48px; }
"""

_OVERVIEW = """
.findings { list-style: none; margin: 0; padding: 0; background: var(--surface); border: 1px solid var(--line);
  border-radius: 10px; overflow: hidden; }
.finding { display: grid; grid-template-columns: 92px minmax(0, 1fr); gap: 4px 16px; padding: 12px 18px 12px 15px;
  border-left: 4px solid var(--mark); }
.finding + .finding { border-top: 1px solid var(--line); }
.finding p { max-width: 92ch; margin: 0; }
.finding.act { --mark: var(--act); --wash: var(--act-wash); }
.finding.look { --mark: var(--warn); --wash: var(--warn-wash); }
.finding.fine { --mark: var(--fine); --wash: var(--fine-wash); }
.finding.unknown { --mark: var(--edge); --wash: var(--sunken); }
.level { justify-self: start; align-self: start; background: var(--wash); color: var(--mark); border-radius: 99px;
  padding: 1px 11px; font-size: 12.5px; font-weight: 620; white-space: nowrap; margin-top: 1px; }
.finding.unknown .level { color: var(--muted); }
.finding .say { font-weight: 600; }
.say a { color: inherit; text-decoration: none; }
.say a:hover, .say a:focus-visible { text-decoration: underline; }
.then { color: var(--muted); font-size: 13.5px; }
.then bdi { color: var(--ink); }
.lead { font-size: 17px; line-height: 1.45; margin: 0 0 16px; max-width: 76ch; }
.figures { display: grid; grid-template-columns: repeat(5, 1fr); gap: 1px; background: var(--line);
  border: 1px solid var(--line); border-radius: 10px; overflow: hidden; margin: 0; }
.figures div { background: var(--surface); padding: 13px 16px; display: flex; flex-direction: column; }
.figures dt { color: var(--muted); font-size: 13px; }
.figures dd { margin: 0; }
.figures .main { font-size: 24px; line-height: 1.25; font-weight: 620; letter-spacing: -0.01em; }
.figures .note { color: var(--muted); font-size: 13px; }
@media (max-width: 760px) { .figures { grid-template-columns: repeat(2, 1fr); } }
@media (max-width: 560px) { .finding { grid-template-columns: minmax(0, 1fr); } }
"""

_FIGURES = """
.pair { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(400px, 100%), 1fr)); gap: 20px; }
.panel { background: var(--surface); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px; }
.panel + .panel, .pair + .panel, .panel + .pair, .panel + p, section > p + .pair, .rest + .panel { margin-top: 20px; }
.pair > .panel { margin-top: 0; }
.panel > h3 + p { margin-top: 10px; }
.cause { color: var(--muted); font-size: 13px; }
.chart { width: 100%; height: auto; display: block; margin: 10px 0 4px; }
.chart text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--muted); text-anchor: middle; }
.chart .end { text-anchor: end; }
.chart .start { text-anchor: start; }
.chart .value { fill: var(--ink); paint-order: stroke; stroke: var(--surface); stroke-width: 4px; stroke-linejoin: round; }
.chart .grid { stroke: var(--line); stroke-width: 1; }
.chart .axis { stroke: var(--muted); stroke-width: 1; }
.chart .mark { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 3 3; }
.chart .bar { fill: var(--accent); }
.chart .bar.soft { fill: var(--soft); }
.chart .curve { stroke: var(--accent); stroke-width: 2; fill: none; }
.chart circle.curve { fill: var(--accent); stroke: var(--surface); stroke-width: 1.5; }
.chart .curve.soft { stroke: var(--edge); stroke-dasharray: 5 4; }
.chart circle.curve.soft { fill: var(--edge); stroke: var(--surface); stroke-dasharray: none; }
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
.num + :not(.num) { padding-left: 14px; }
td:not(.num), th:not(.num) { min-width: 7.5em; }
.sweep td { white-space: nowrap; }
.group td:nth-child(2) { min-width: 9.5em; }
tbody th { color: var(--ink); font-weight: 450; font-size: inherit; }
tr.used > * { background: var(--wash); }
.tag { display: inline-block; border: 1px solid var(--edge); border-radius: 99px; padding: 0 9px; font-size: 12px;
  color: var(--muted); white-space: nowrap; text-decoration: none; }
.tag.warn { color: var(--warn); border-color: currentColor; }
.tag.act { color: var(--act); border-color: currentColor; background: var(--act-wash); }
"""

_GALLERIES = """
.tools { background: var(--surface); border: 1px solid var(--line); border-radius: 10px; padding: 14px 20px; margin-top: 14px; }
.fields { display: flex; flex-wrap: wrap; gap: 10px 16px; align-items: end; }
.fields > div { flex: 1 1 150px; max-width: 260px; }
.fields label { display: block; font-size: 12.5px; color: var(--muted); margin-bottom: 3px; }
.fields select, .fields input, .fields button { font: inherit; font-size: 14px; color: var(--ink); background: var(--surface);
  border: 1px solid var(--edge); border-radius: 6px; padding: 6px 9px; min-height: 36px; }
.fields select, .fields input { width: 100%; }
.fields button { color: var(--accent); cursor: pointer; padding: 6px 14px; }
.told { font-size: 13px; color: var(--muted); margin: 10px 0 0; }
.told b { color: var(--ink); }
#filter-none { margin: 6px 0 0; }
.groups { display: grid; grid-template-columns: minmax(0, 1fr); gap: 16px; margin-top: 16px; }
.group { background: var(--surface); border: 1px solid var(--line); border-radius: 10px; padding: 16px 20px 14px; min-width: 0; }
.evidence { grid-template-columns: repeat(auto-fill, minmax(min(520px, 100%), 1fr)); }
.evidence figure, .evidence .frame { width: 74px; }
.evidence .frame { height: 74px; }
.evidence .strip { gap: 10px 8px; }
.group:target { border-color: var(--accent); box-shadow: 0 0 0 1px var(--accent); }
.group > header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 14px; margin-bottom: 4px; }
.group > header + .strip { margin-top: 12px; }
.rank { color: var(--muted); font-weight: 500; margin-right: 8px; }
.facts { color: var(--muted); font-size: 13.5px; display: flex; flex-wrap: wrap; gap: 0 16px; margin: 0; padding: 0;
  list-style: none; flex: 1 0 100%; }
.facts b { color: var(--ink); }
.risk { font-size: 13.5px; white-space: nowrap; margin-left: auto; }
.risk b { font-weight: 620; }
.reason { font-size: 13.5px; color: var(--muted); margin: 0 0 12px; max-width: none; }
.reason b { color: var(--ink); font-weight: 600; }
.columns { display: grid; grid-template-columns: minmax(0, 3.1fr) minmax(0, 1fr); gap: 22px; }
@media (max-width: 820px) { .columns { grid-template-columns: minmax(0, 1fr); gap: 14px; } }
.strip { display: flex; flex-wrap: wrap; gap: 12px 10px; margin: 0; padding: 0; list-style: none; align-items: flex-start; }
figure { margin: 0; width: 88px; }
figure.wide { width: 128px; }
.frame { position: relative; width: 88px; height: 88px; background: var(--sunken); border-radius: 6px; display: flex;
  align-items: center; justify-content: center; overflow: hidden; }
.frame.wide { width: 128px; height: 128px; }
.frame img { max-width: 100%; max-height: 100%; width: auto; height: auto; display: block; }
.kept .frame { outline: 2px solid var(--accent); outline-offset: 1px; }
.gone { padding: 8px; font-size: 11px; line-height: 1.35; color: var(--muted); text-align: center; overflow: hidden;
  max-height: 100%; }
.copies { position: absolute; left: 0; right: 0; bottom: 0; background: var(--ink); color: var(--surface); font-size: 11px;
  line-height: 1.65; text-align: center; white-space: nowrap; font-weight: 600; }
figcaption { font-size: 12px; line-height: 1.35; color: var(--muted); margin-top: 5px; }
figcaption b { color: var(--ink); font-weight: 600; }
figcaption bdi { color: var(--ink); }
figcaption .key bdi { color: inherit; }
.said { margin: 0; padding: 0; list-style: none; font-size: 14px; line-height: 1.4; }
.said li { display: grid; grid-template-columns: 44px minmax(0, 1fr); gap: 10px; padding: 3px 0; }
.n { text-align: right; font-weight: 600; }
.n::after { content: ""; display: block; height: 3px; border-radius: 2px; margin-top: 1px;
  background: linear-gradient(to left, var(--accent) var(--share), var(--sunken) var(--share)); }
.more { font-size: 13px; color: var(--muted); margin: 8px 0 0; }
.group > details { margin-top: 12px; border-top: 1px solid var(--line); padding-top: 10px; }
.why { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 2px 18px; margin: 0 0 12px; font-size: 13.5px; }
.why dt { color: var(--muted); }
.why dd { margin: 0; }
.blanks { display: flex; flex-wrap: wrap; gap: 16px; margin: 14px 0 0; padding: 0; list-style: none; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(128px, 1fr)); gap: 22px 18px; margin: 16px 0 0;
  padding: 0; list-style: none; }
.set { margin-top: 26px; }
.twins { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(310px, 100%), 1fr)); gap: 14px; margin: 10px 0 0;
  padding: 0; list-style: none; }
.twins > li { background: var(--surface); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px 14px; }
.sides { display: grid; grid-template-columns: 128px 128px; gap: 18px; }
.how { font-size: 13px; color: var(--muted); margin: 0 0 8px; }
dl.words { display: grid; grid-template-columns: minmax(120px, max-content) minmax(0, 76ch); gap: 6px 22px; margin: 10px 0 0; }
dl.words dt { font-weight: 600; max-width: 24ch; }
dl.words dd { margin: 0; color: var(--muted); }
@media (max-width: 640px) {
  .masthead, .layout, footer { padding-left: 16px; padding-right: 16px; }
  .chart text { font-size: 16px; }
  .group, .panel, .tools { padding-left: 14px; padding-right: 14px; }
  .risk { margin-left: 0; }
  .fields > div { max-width: none; flex-basis: 42%; }
  dl.words, .why { grid-template-columns: minmax(0, 1fr); }
  dl.words dd, .why dd { margin-bottom: 6px; }
  .sides { grid-template-columns: repeat(2, minmax(0, 128px)); gap: 12px; }
  .sides figure, .sides .frame { width: 100%; }
}
"""

_PRINT = """
@media print {
  :root { --page: #fff; --surface: #fff; --sunken: #f1f2f3; --ink: #000; --muted: #444; --line: #ccc; --edge: #777;
    --accent: #24589f; --soft: #b9cce6; --wash: #e8eff8; --warn: #865000; --warn-wash: #fbf1e0; --act: #a3231b;
    --act-wash: #fbeae8; --fine: #1c6b3c; --fine-wash: #e6f3ea; color-scheme: light; }
  @page { margin: 14mm 12mm; }
  body { font-size: 10pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  nav, .skip, .tools, details:not([open]), #settings:not(:has([open])) { display: none !important; }
  .masthead, .layout, footer { display: block; max-width: none; padding: 0; margin: 0; }
  .layout { margin-top: 14px; }
  main > section { margin-bottom: 22px; }
  .group, .panel, tr, figure, .figures div, .finding, .twins > li, .tiles > li { break-inside: avoid; }
  h2, h3, caption, .sub, .how { break-after: avoid; }
  .figures, .lead { break-inside: avoid; }
  .groups, .twins { display: block; }
  .group, .twins > li { margin-bottom: 10px; padding: 10px 14px; }
  .group figure, .group .frame { width: 50px; }
  .group .frame { height: 50px; }
  .strip { gap: 8px 5px; }
  .copies { font-size: 6.5pt; }
  figcaption { font-size: 7.5pt; }
  .said, .reason { font-size: 8.5pt; }
  .scroll { overflow: visible; }
  .figures { grid-template-columns: repeat(5, 1fr); }
  .columns { grid-template-columns: minmax(0, 2.4fr) minmax(0, 1fr); gap: 16px; }
  .finding { grid-template-columns: 80px minmax(0, 1fr); }
  table { font-size: 8.5pt; }
  td:not(.num), th:not(.num) { min-width: 0; }
}
"""

STYLE = COLORS + _BASE + _OVERVIEW + _FIGURES + _GALLERIES + _PRINT
