// One small card per layer: its channels, and the distributions of its weights and inputs.
import { type Html, html } from "./html.ts";
import { grouped } from "./page.ts";
import type { HistogramReport } from "./report.ts";
import { channelChart, histogramChart, histogramLegend } from "./small-charts.ts";

/** Many layers would make the page slow to open. */
const maxLayers = 120;

const swatch = (variable: string): Html => html`<span class="key" style="background:var(${variable})"></span>`;

const head = (name: string, more: string): Html =>
  html`<div class="head"><span title="${name}">${name}</span><span class="muted">${more}</span></div>`;

export interface ChannelCard {
  readonly name: string;
  readonly importance: readonly number[];
  readonly channelsTrained: readonly number[];
}

export function channelCards(layers: readonly ChannelCard[]): Html {
  const shown = layers.filter(({ importance }) => importance.length > 0).slice(0, maxLayers);
  const card = ({ name, importance, channelsTrained }: ChannelCard): Html => {
    const trained = channelsTrained.filter((share) => share > 0).length;
    const count = trained > 0 ? `${grouped(trained)} of ${grouped(importance.length)}` : grouped(importance.length);
    return html`<div class="layer">${head(name, count)}${channelChart(name, importance, channelsTrained)}</div>`;
  };
  return html`<div class="card layers">${shown.map(card)}</div>`;
}

export const channelKey = (): Html =>
  html`${swatch("--series-2")} trained, the stronger the more of the steps; ${swatch("--frozen")} never trained`;

export interface HistogramCard {
  readonly name: string;
  readonly detail: string;
  readonly weights: HistogramReport | null;
  readonly inputs: HistogramReport | null;
}

export function histogramCards(layers: readonly HistogramCard[]): Html {
  const isPair = layers.some(({ weights, inputs }) => weights && inputs);
  const one = (name: string, what: "weights" | "inputs", histogram: HistogramReport | null): Html =>
    histogram === null
      ? html``
      : html`<div>${isPair ? html`<span class="muted">${what}</span>` : ""}${histogramChart(`the ${what} of ${name}`, histogram)}<div class="ends">${histogramLegend(histogram)}</div></div>`;
  const card = ({ name, detail, weights, inputs }: HistogramCard): Html =>
    html`<div class="layer">${head(name, detail)}<div class="${weights && inputs ? "pair" : ""}">${one(name, "weights", weights)}${one(name, "inputs", inputs)}</div></div>`;
  return html`<div class="card layers${isPair ? " wide" : ""}">${layers.slice(0, maxLayers).map(card)}</div>`;
}

export const rangeKey = (): Html =>
  html`${swatch("--series-1")} values, heights as square roots of counts; ${swatch("--series-2")} what the quantizer can represent`;

/** Why a section shows fewer layers than there are; "" where it shows all. */
export const leftOut = (layers: number): string =>
  layers > maxLayers ? ` The first ${maxLayers} of ${grouped(layers)} layers.` : "";
