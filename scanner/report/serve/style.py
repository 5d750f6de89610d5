"""What the live pages add to the style sheet of the report: forms, walls of pictures, pages, an image with its facts."""

from __future__ import annotations

MORE = """
.live { --rim: var(--edge, var(--muted)); }
.skip { position: absolute; left: 16px; top: -60px; background: var(--surface); padding: 10px 16px; z-index: 3;
  border: 2px solid var(--accent); border-radius: 6px; }
.skip:focus { top: 12px; }
.masthead.live { padding-top: 20px; }
.brand { font-size: 16px; font-weight: 650; color: var(--ink); text-decoration: none; overflow-wrap: anywhere; }
nav a[aria-current] { color: var(--ink); font-weight: 600; }
main.live { min-width: 0; padding: 18px 0 40px; }
main.live:focus { outline: none; }
main.live > h1 { font-size: 24px; }
main.live > section { margin: 34px 0 0; }
main.live > section > h2 { margin-bottom: 10px; }

form.filters { display: flex; flex-wrap: wrap; gap: 10px 14px; align-items: end; margin: 16px 0 6px; padding: 14px 18px;
  background: var(--surface); border: 1px solid var(--line); border-radius: 10px; }
form.filters:not(:has(.wide)) { width: fit-content; }
.field { display: flex; flex-direction: column; gap: 3px; min-width: 0; max-width: 100%; }
.field.wide { flex: 1 1 240px; }
.field label { font-size: 12.5px; color: var(--muted); }
.filters input, .filters select, .filters button { font: inherit; font-size: 14px; color: var(--ink); background: var(--surface);
  border: 1px solid var(--rim); border-radius: 6px; padding: 6px 9px; min-height: 36px; max-width: 100%; }
.filters select { max-width: min(340px, 70vw); }
.filters input[type="number"] { width: 9em; }
.filters input[type="search"], .filters input[type="file"] { width: 100%; }
.filters button { background: var(--accent); border-color: var(--accent); color: var(--surface); font-weight: 600;
  padding: 6px 16px; cursor: pointer; }
.filters .reset { align-self: center; font-size: 13px; }

.pager { margin: 16px 0 0; display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: baseline; font-size: 13.5px;
  color: var(--muted); }
.pager a { padding: 4px 0; }

a.frame { color: inherit; text-decoration: none; }
a.frame:hover { box-shadow: 0 0 0 2px var(--soft); }
main.live > .lede { margin-bottom: 16px; }
.live .columns { margin-top: 10px; }
.group > header > h2 { font-size: 15px; letter-spacing: 0; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
.live h2 a, .live h3 a { color: inherit; text-decoration: none; }
.live h2 a:hover, .live h3 a:hover { text-decoration: underline; color: var(--accent); }
.wall { display: grid; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); gap: 20px 16px; margin: 16px 0 0; padding: 0;
  list-style: none; }
.wall figure, .wall .frame { width: 100%; }
.wall .frame { height: 150px; }
.wall figcaption { font-size: 12.5px; overflow-wrap: anywhere; }
.said-by { display: block; margin-top: 2px; line-height: 1.4; }
.said-by bdi { color: var(--ink); }
.strip.big figure { width: 116px; }
.strip.big .frame { width: 116px; height: 116px; }
.quote { margin: 12px 0 0; font-size: 14px; max-width: none; }
.said.live-said { font-size: 13.5px; }
.said.live-said li { grid-template-columns: minmax(1.6em, max-content) 44px minmax(0, 1fr); gap: 8px; align-items: baseline; }
.many { text-align: right; font-weight: 600; }
.share { display: block; width: 44px; height: 6px; border-radius: 2px; align-self: start; margin-top: 7px; }
.share .all { fill: var(--sunken); }
.share .part { fill: var(--accent); }

.detail { display: grid; grid-template-columns: minmax(0, 400px) minmax(0, 1fr); gap: 28px; align-items: start;
  margin-top: 16px; }
@media (max-width: 820px) { .detail { grid-template-columns: minmax(0, 1fr); } }
.detail figure, .detail .frame { width: 100%; }
.detail .frame { height: auto; min-height: 200px; }
.detail .frame img { max-height: 480px; }
.detail .quote { margin: 0 0 16px; font-size: 16px; }
.why dd { overflow-wrap: anywhere; }
.wordy { margin-top: 14px; }
.wordy th[scope="row"] { min-width: 17em; overflow-wrap: anywhere; }
.wordy td { overflow-wrap: anywhere; }
td figure, td .frame { width: 56px; }
td .frame { height: 56px; }
.by { display: flex; flex-wrap: wrap; gap: 18px; align-items: flex-start; margin-top: 16px; }
.by figure, .by .frame { width: 150px; }
.by .frame { height: 150px; }
.by > div { flex: 1 1 260px; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); gap: 16px; margin-top: 16px; }
.two form.filters { margin: 0; align-content: start; }
.two h2 { font-size: 15px; margin: 0; flex-basis: 100%; }
.failed { max-width: 70ch; margin-top: 12px; }
.settings tbody th { min-width: 17em; }
.settings details { margin: 10px 0; }
@media print { .filters, .pager, .skip { display: none; } }
"""
