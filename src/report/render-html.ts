// One page of a report: no scripts, nothing loaded from elsewhere.
import { accuracyChart, latencyChart, lossChart, sizeChart, sqnrChart, trainedChart } from "./charts.ts";
import { formatBytes } from "./format-bytes.ts";
import { formatDigits } from "./format-digits.ts";
import { type Html, html, trusted } from "./html.ts";
import type { LayerReport, Report } from "./report.ts";

const style = `
:root { color-scheme: light dark; --page: #fff; --card: #f6f8fa; --text: #1a2330; --muted: #5b6675; --line: #d5dbe3;
  --series-1: #2f6fde; --series-2: #d9662b; --series-3: #2a9461; --series-4: #8a53c9; }
@media (prefers-color-scheme: dark) { :root { --page: #10151c; --card: #19212b; --text: #e6ebf2; --muted: #98a4b5; --line: #323d4b;
  --series-1: #6ea3ff; --series-2: #ff9a61; --series-3: #5ccf97; --series-4: #b98cf0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 16px; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 8px 0; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 0 0 8px; }
p { margin: 4px 0; } .muted { color: var(--muted); }
.tiles { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); margin: 16px 0; }
.charts { columns: 2 420px; column-gap: 16px; } .charts .card { break-inside: avoid; margin: 0 0 16px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px; min-width: 0; }
.tile strong { display: block; font-size: 1.4rem; font-variant-numeric: tabular-nums; }
.note { border-left: 4px solid var(--series-2); padding: 4px 12px; margin: 8px 0; }
svg { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; } section, details { margin: 16px 0; } summary { cursor: pointer; font-weight: 600; }
table { border-collapse: collapse; width: 100%; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 4px 8px; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; } td.text { overflow-wrap: anywhere; min-width: 12ch; }
`;

const decimals = (value: number | null, digits: number, unit = ""): string =>
  value === null ? "–" : `${value.toFixed(digits)}${unit}`;
const ratio = (part: number, all: number): string => (all === 0 ? "–" : `${((100 * part) / all).toFixed(1)} %`);
const grouped = (value: number): string => value.toLocaleString("en-US");

const tile = (label: string, value: string, more: string): Html =>
  html`<div class="card tile"><span class="muted">${label}</span><strong>${value}</strong><span class="muted">${more}</span></div>`;

function tiles(report: Report): Html {
  const { top1, sizeBytes, latencyMs, training, peakMemoryMb, seconds } = report;
  const lost = top1.float === null || top1.deployed === null ? "" : `float ${decimals(top1.float, 2)} %`;
  const batch = latencyMs.deployed.batch256;
  return html`<div class="tiles">
${tile("top-1, deployed", decimals(top1.deployed, 2, " %"), lost)}
${tile("size", formatBytes(sizeBytes.quantized), `${(sizeBytes.float / Math.max(1, sizeBytes.quantized)).toFixed(2)} times smaller than ${formatBytes(sizeBytes.float)}`)}
${tile("batch of 256", `${formatDigits(batch)} ms`, `float ${formatDigits(latencyMs.float.batch256)} ms`)}
${tile("weights trained", ratio(training.weights.trained, training.weights.all), `${ratio(training.blocks.trained, training.blocks.all)} of the blocks`)}
${tile("time", `${seconds.total.toFixed(0)} s`, `${peakMemoryMb.toFixed(0)} MB at most`)}
</div>`;
}

const chart = (title: string, what: string, svg: Html): Html =>
  html`<section class="card"><h2>${title}</h2>${svg}<p class="muted">${what}</p></section>`;

function charts(report: Report): Html {
  const { training, layers, top1 } = report;
  const parts: Html[] = [];
  if (Object.values(top1).some((value) => value !== null))
    parts.push(
      chart(
        "Accuracy",
        `Top-1 on ${grouped(report.data.testSamples)} test samples. The axis need not start at 0.`,
        accuracyChart(report),
      ),
    );
  if (training.lossCurve.length > 0)
    parts.push(
      chart("Loss", `Over ${grouped(training.samples)} samples, ${grouped(training.steps)} steps.`, lossChart(report)),
    );
  if (layers.length > 0) {
    const [title, more] =
      training.steps > 0 ? ["What trained", ", and the share of its weights that trained"] : ["Importance", ""];
    parts.push(chart(title, `Mean weight magnitude of a layer's channels${more}.`, trainedChart(report)));
  }
  parts.push(chart("Size", "The files as they lie on disk.", sizeChart(report)));
  const latencies = html`<p>batch of 1</p>${latencyChart(report, "batch1")}<p>batch of 256</p>${latencyChart(report, "batch256")}`;
  parts.push(chart("Latency", "Median in ONNX Runtime.", latencies));
  if (layers.some((layer) => layer.sqnrDb !== null))
    parts.push(
      chart(
        "Noise per layer",
        "Outputs of the exported file against the float model's; more is better.",
        sqnrChart(report),
      ),
    );
  return html`<div class="charts">${parts}</div>`;
}

const layerRow = (layer: LayerReport): Html =>
  html`<tr><td class="text">${layer.name}</td><td>${layer.op}</td><td>${layer.weightShape.join(" × ")}</td>
<td class="number">${layer.weightBits ?? "float"}</td><td class="number">${layer.activationBits ?? "float"}</td>
<td class="number">${decimals(layer.sqnrDb, 1)}</td><td class="number">${decimals(layer.maxSteps, 2)}</td>
<td class="number">${layer.blocks.trained} / ${layer.blocks.all}</td><td class="number">${ratio(layer.weights.trained, layer.weights.all)}</td></tr>`;

const layerTable = (
  layers: readonly LayerReport[],
): Html => html`<details><summary>Layers</summary><div class="scroll"><table>
<thead><tr><th>layer</th><th>operator</th><th>weight</th><th class="number">weight bits</th><th class="number">activation bits</th>
<th class="number">SQNR dB</th><th class="number">difference, steps</th><th class="number">channels trained</th><th class="number">weights trained</th></tr></thead>
<tbody>${layers.map(layerRow)}</tbody></table></div></details>`;

/** The channels of one layer, the most important darkest: how often each trained. */
function channelRow({ name, importance, channelsTrained }: LayerReport): Html {
  const most = Math.max(...importance, Number.MIN_VALUE);
  const cell = (i: number): string => {
    const x = i * 4;
    const strength = (importance[i] / most).toFixed(3);
    const trained = channelsTrained[i] ?? 0;
    const mark = `<rect x="${x}" y="${(20 - 20 * trained).toFixed(2)}" width="3" height="${(20 * trained).toFixed(2)}" fill="var(--series-2)"/>`;
    return `<rect x="${x}" y="24" width="3" height="12" fill="var(--series-1)" fill-opacity="${strength}"/>${trained > 0 ? mark : ""}`;
  };
  const cells = importance.map((_, i) => cell(i)).join("");
  const width = Math.max(1, importance.length * 4);
  return html`<tr><td class="text">${name}</td><td>${trusted(
    `<svg viewBox="0 0 ${width} 36" preserveAspectRatio="none" style="height:36px" role="img" aria-label="channels">${cells}</svg>`,
  )}</td></tr>`;
}

const channelTable = (layers: readonly LayerReport[]): Html =>
  html`<details><summary>Channels</summary><p class="muted">One column per output channel. Below: importance, darker is more. Above: the share of the steps in which it trained.</p>
<table><tbody>${layers.filter(({ importance }) => importance.length > 0).map(channelRow)}</tbody></table></details>`;

function printOption(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "–");
}

const pairs = (title: string, entries: readonly (readonly [string, string])[]): Html =>
  html`<details><summary>${title}</summary><table><tbody>${entries.map(
    ([key, value]) => html`<tr><td>${key}</td><td class="text">${value}</td></tr>`,
  )}</tbody></table></details>`;

function verification({ verification: v }: Report): Html {
  if (!v) return html``;
  return pairs("Verification in ONNX Runtime", [
    ["samples", grouped(v.samples)],
    [
      "SQNR of folding",
      v.foldingSqnrDb === null
        ? "no difference"
        : `${v.foldingSqnrDb.toFixed(1)} dB (at least ${v.thresholds.foldingSqnrDb})`,
    ],
    [
      "SQNR of the outputs",
      v.sqnrDb === null ? "no difference" : `${v.sqnrDb.toFixed(1)} dB (at least ${v.thresholds.sqnrDb})`,
    ],
    [
      "argmax agreement",
      v.argmaxAgreement === null
        ? "the model gives no class scores"
        : `${(100 * v.argmaxAgreement).toFixed(2)} % (at least ${100 * v.thresholds.argmaxAgreement})`,
    ],
    ["largest difference of a layer", `${v.maxSteps.toFixed(2)} steps (at most ${v.thresholds.maxSteps})`],
  ]);
}

const printAgreement = (agreement: number | null): string =>
  agreement === null ? "" : `, ${(100 * agreement).toFixed(2)} % agree`;

/** Where there is no accuracy: what each stage makes of the float model's outputs. */
function fidelity({ fidelity: stages, data }: Report): Html {
  if (!stages) return html``;
  const rows = Object.entries(stages).flatMap(([stage, outputs]) =>
    outputs.map(
      ({ name, sqnrDb, agreement }) =>
        [
          `${stage}: ${name}`,
          `${sqnrDb === null ? "no difference" : `${sqnrDb.toFixed(1)} dB`}${printAgreement(agreement)}`,
        ] as const,
    ),
  );
  return html`<section class="card"><h2>Against the float model</h2><table><tbody>${rows.map(
    ([key, value]) => html`<tr><td>${key}</td><td class="text">${value}</td></tr>`,
  )}</tbody></table><p class="muted">SQNR of the outputs over ${grouped(data.testSamples)} test samples; more is better.</p></section>`;
}

function details(report: Report): Html {
  const { input, output, versions, machine, seconds } = report;
  return html`${layerTable(report.layers)}${channelTable(report.layers)}${verification(report)}
${pairs("Options", [...Object.entries(report.options).map(([key, value]) => [key, printOption(value)] as const), ["seed", String(report.seed)]])}
${pairs("Run", [
  ["input", `${input.path}, ${formatBytes(input.sizeBytes)}, SHA-256 ${input.sha256}`],
  ["output", `${output.path}, ${formatBytes(output.sizeBytes)}, SHA-256 ${output.sha256}`],
  [
    "data",
    `${report.data.name}: ${grouped(report.data.trainSamples)} training samples, ${grouped(report.data.testSamples)} test samples${report.data.heldOut ? ", held out of the training data" : ""}`,
  ],
  ["machine", `${machine.processor}, ${machine.platform}, ${machine.threads} threads`],
  [
    "versions",
    Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(", "),
  ],
  [
    "seconds",
    `calibration ${seconds.calibration.toFixed(1)}, training ${seconds.training.toFixed(1)}, evaluation ${seconds.evaluation.toFixed(1)}, in all ${seconds.total.toFixed(1)}`,
  ],
  ["written", report.createdAt],
])}`;
}

/** The report as a self-contained page, the same bytes for the same report. */
export function renderHtml(report: Report): string {
  const page = html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${report.title}</title><style>${trusted(style)}</style></head><body>
<h1>${report.title}</h1><p class="muted">${report.method} on the ${report.engine} engine, ${report.precision}, seed ${report.seed}</p>
${report.notes.map((note) => html`<p class="note">${note}</p>`)}
${tiles(report)}${fidelity(report)}${charts(report)}${details(report)}
</body></html>
`;
  return page.html;
}
