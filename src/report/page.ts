// What every page has: its frame, its style, and the parts that it is put together from.
import { type Html, html, trusted } from "./html.ts";

const style = `
:root { color-scheme: light dark; --page: #fff; --card: #f7f9fb; --text: #18212d; --muted: #5a6675; --line: #dbe1e8;
  --frozen: #a9b8cc; --series-1: #2f6fde; --series-2: #d9662b; --series-3: #2a9461; --series-4: #8a53c9; }
@media (prefers-color-scheme: dark) { :root { --page: #0f141b; --card: #171e27; --text: #e6ebf2; --muted: #9aa6b6; --line: #2d3846;
  --frozen: #4c5d75; --series-1: #6ea3ff; --series-2: #ff9a61; --series-3: #5ccf97; --series-4: #b98cf0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1280px; padding: 24px clamp(12px, 3vw, 32px) 48px; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; -webkit-text-size-adjust: 100%; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 40px 0 4px; } h3 { font-size: 1rem; margin: 0 0 8px; overflow-wrap: anywhere; }
p { margin: 4px 0; max-width: 80ch; } .muted { color: var(--muted); } .lead { font-size: 1.125rem; margin: 16px 0 0; }
.card p.muted { font-size: 0.875rem; margin: 8px 0 0; } .card > span.muted { font-size: 0.875rem; }
.tiles, .charts, .layers { display: grid; gap: 16px; margin: 16px 0; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(min(150px, 44%), 1fr)); }
@media (max-width: 480px) { .tiles > :last-child:nth-child(odd) { grid-column: 1 / -1; } }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); }
.stack { display: flex; flex-direction: column; gap: 16px; } .stack > :last-child { flex: 1; }
.layers { grid-template-columns: repeat(auto-fill, minmax(min(230px, 100%), 1fr)); gap: 16px 24px; }
.layers.wide { grid-template-columns: repeat(auto-fill, minmax(min(380px, 100%), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px; min-width: 0; }
.tile { padding: 12px 16px; font-size: 0.875rem; }
.tile strong { display: block; font-size: 1.5rem; line-height: 1.3; font-variant-numeric: tabular-nums; white-space: nowrap; }
.note { border-left: 4px solid var(--series-2); padding: 4px 12px; margin: 12px 0; }
.layer { min-width: 0; font-size: 0.8125rem; } .layer .head { display: flex; justify-content: space-between; gap: 8px; margin-bottom: 4px; }
.layer .head span:first-child { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-weight: 600; }
.layer .head .muted { white-space: nowrap; font-variant-numeric: tabular-nums; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; } .pair > div { min-width: 0; }
.ends { display: flex; justify-content: space-between; gap: 4px; color: var(--muted); font-size: 0.6875rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { display: block; width: 100%; height: auto; max-width: 480px; margin: 0 auto; }
svg.small { height: 48px; max-width: none; border-bottom: 1px solid var(--line); }
.key { display: inline-block; width: 0.8em; height: 0.8em; border-radius: 2px; vertical-align: -0.05em; }
.scroll { overflow-x: auto; } details { margin: 0; border-top: 1px solid var(--line); padding: 10px 0; }
details > :not(summary) { margin-top: 8px; } summary { cursor: pointer; font-weight: 600; }
table { border-collapse: collapse; width: 100%; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th { color: var(--muted); font-weight: 600; vertical-align: bottom; }
th, td { text-align: left; padding: 5px 10px 5px 0; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; white-space: nowrap; padding: 5px 0 5px 14px; }
td.text { overflow-wrap: anywhere; min-width: 12ch; } td.name { white-space: nowrap; }
`;

/** A self-contained page: no scripts, nothing loaded from elsewhere. */
export const page = (title: string, body: Html): string =>
  html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${title}</title><style>${trusted(style)}</style></head><body>
${body}
</body></html>
`.html;

export const tile = (label: string, value: string, more: string): Html =>
  html`<div class="card tile"><span class="muted">${label}</span><strong>${value}</strong><span class="muted">${more}</span></div>`;

/** `caption` says what one sees. */
export const chart = (title: string, caption: string | Html, svg: Html): Html =>
  html`<section class="card"><h3>${title}</h3>${svg}<p class="muted">${caption}</p></section>`;

export const section = (title: string, lead: string | Html, content: Html): Html =>
  html`<h2>${title}</h2><p class="muted">${lead}</p>${content}`;

export const details = (title: string, content: Html): Html =>
  html`<details><summary>${title}</summary>${content}</details>`;

export interface Column<Row> {
  readonly title: string;
  readonly kind: "text" | "name" | "number";
  readonly of: (row: Row) => Html | string | number;
}

/** Numbers are aligned on the right; a table wider than the page scrolls by itself. */
export const table = <Row>(columns: readonly Column<Row>[], rows: readonly Row[]): Html =>
  html`<div class="scroll"><table><thead><tr>${columns.map(({ title, kind }) => html`<th class="${kind}">${title}</th>`)}</tr></thead>
<tbody>${rows.map((row) => html`<tr>${columns.map(({ kind, of }) => html`<td class="${kind}">${of(row)}</td>`)}</tr>`)}</tbody></table></div>`;

export const pairs = (title: string, entries: readonly (readonly [string, string])[]): Html =>
  details(
    title,
    html`<table><tbody>${entries.map(([key, value]) => html`<tr><td>${key}</td><td class="text">${value}</td></tr>`)}</tbody></table>`,
  );

export const decimals = (value: number | null, digits: number, unit = ""): string =>
  value === null ? "–" : `${value.toFixed(digits)}${unit}`;
export const ratio = (part: number | null, all: number): string =>
  part === null || all === 0 ? "–" : `${((100 * part) / all).toFixed(1)} %`;
export const grouped = (value: number | null): string => (value === null ? "–" : value.toLocaleString("en-US"));
