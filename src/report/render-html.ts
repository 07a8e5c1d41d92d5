// The page of a report.
import { accuracyName } from "../evaluate/metrics.ts";
import { accuracyChart, latencyChart, lossChart, sizeChart, trainedChart } from "./charts.ts";
import { decibelChart } from "./decibel-chart.ts";
import { formatBytes } from "./format-bytes.ts";
import { formatDigits } from "./format-digits.ts";
import { type Html, html } from "./html.ts";
import { ladderSection } from "./ladder-section.ts";
import { channelCards, channelKey, histogramCards, leftOut, rangeKey } from "./layer-cards.ts";
import { chart, decimals, details, grouped, page, pairs, ratio, section, table, tile } from "./page.ts";
import type { LayerReport, Report } from "./report.ts";
import { unitSection } from "./unit-section.ts";
import { widthSection } from "./width-section.ts";

/** What came of it, in a sentence. */
function lead({ top1, sizeBytes }: Report): Html {
  const { float, ptq, deployed } = top1;
  const size = sizeInWords(sizeBytes);
  if (float === null || deployed === null) return html`<p class="lead">The model is ${size}.</p>`;
  const lost = float - deployed;
  const against =
    Math.abs(lost) < 0.005 ? "as good as" : `${Math.abs(lost).toFixed(2)} points ${lost > 0 ? "below" : "above"}`;
  return html`<p class="lead">The model is ${size} and, in ONNX Runtime, ${against} the float model${wonBack(float, ptq, deployed)}.</p>`;
}

function sizeInWords({ float, quantized }: Report["sizeBytes"]): string {
  const ratio = float / Math.max(1, quantized);
  if (ratio >= 1.05) return `${ratio.toFixed(1)} times smaller`;
  return ratio > 1 / 1.05 ? "as large as before" : `${(1 / ratio).toFixed(1)} times larger`;
}

function wonBack(float: number, ptq: number | null, deployed: number): string {
  if (ptq === null || float - ptq < 0.1 || deployed <= ptq) return "";
  const share = (100 * (deployed - ptq)) / (float - ptq);
  return `: training won back ${share.toFixed(0)} % of the ${(float - ptq).toFixed(2)} points that rounding costs`;
}

/** The accuracy, or the error against measured values, or the worst output's distance to the float model. */
function qualityTile({ top1, metrics, fidelity }: Report): Html {
  const { float, deployed } = metrics;
  if (deployed?.metric)
    return tile(
      `${deployed.metric.name}, deployed`,
      digits(deployed.metric.value),
      `float ${digits(float?.metric?.value ?? null)}`,
    );
  if (deployed?.labels === "values")
    return tile("RMSE, deployed", digits(deployed.rmse), float ? `float ${digits(float.rmse)}` : "");
  const outputs = fidelity?.["deployed"] ?? [];
  if (top1.deployed === null && outputs.length > 0) {
    const worst = Math.min(...outputs.map(({ sqnrDb }) => sqnrDb ?? Number.POSITIVE_INFINITY));
    return tile("SQNR, deployed", Number.isFinite(worst) ? `${worst.toFixed(1)} dB` : "no difference", "to float");
  }
  const name = deployed ? accuracyName(deployed) : "top-1";
  return tile(
    `${name}, deployed`,
    decimals(top1.deployed, 2, " %"),
    top1.float === null ? "" : `float ${decimals(top1.float, 2)} %`,
  );
}

const digits = (value: number | null): string => (value === null ? "–" : formatDigits(value));

const batchTitles = { batch1: "batch of 1", batch256: "batch of 256" } as const;

/** The largest batch that was timed. */
const timedBatch = ({ latencyMs }: Report): keyof typeof batchTitles =>
  latencyMs.deployed.batch256 === null ? "batch1" : "batch256";

function tiles(report: Report): Html {
  const { sizeBytes, latencyMs, training, peakMemoryMb, seconds } = report;
  const batch = timedBatch(report);
  return html`<div class="tiles">
${qualityTile(report)}
${tile("size", formatBytes(sizeBytes.quantized), `float ${formatBytes(sizeBytes.float)}`)}
${tile(batchTitles[batch], `${digits(latencyMs.deployed[batch])} ms`, `float ${digits(latencyMs.float[batch])} ms`)}
${tile("weights trained", ratio(training.weights.trained, training.weights.all), `${ratio(training.blocks.trained, training.blocks.all)} of the blocks`)}
${tile("time", `${seconds.total.toFixed(0)} s`, `${grouped(Math.round(peakMemoryMb))} MB at most`)}
</div>`;
}

function accuracyCaption({ data, training, metrics }: Report): string {
  const { float, deployed } = metrics;
  const name = deployed ? accuracyName(deployed) : "top-1";
  const of = deployed && deployed.meanIou !== null ? "all positions of " : "";
  const overlap =
    deployed && deployed.meanIou !== null
      ? ` Mean IoU: float ${decimals(float?.meanIou ?? null, 2, " %")}, deployed ${decimals(deployed.meanIou, 2, " %")}.`
      : "";
  const trained = training.steps > 0 ? " trained: its quantizers simulated;" : "";
  return `${name[0].toUpperCase()}${name.slice(1)} on ${of}${grouped(data.testSamples)} test samples. ptq: rounded, not trained;${trained} quantized: integer weights, normalization folded; deployed: the file in ONNX Runtime. Dashed: float.${overlap}`;
}

function results(report: Report): Html {
  const { training, top1, latencyMs } = report;
  const isScored = Object.values(top1).some((value) => value !== null);
  const batch = timedBatch(report);
  const charts = [...new Set(["batch1", batch] as const)].map(
    (each) => html`<span class="muted">${batchTitles[each]}</span>${latencyChart(report, each)}`,
  );
  const share = (latencyMs.deployed[batch] ?? 0) / Math.max(Number.MIN_VALUE, latencyMs.float[batch] ?? 0);
  return html`<div class="charts">
${isScored ? chart("Accuracy", accuracyCaption(report), accuracyChart(report)) : html`${errors(report)}${fidelity(report)}`}
${training.lossCurve.length > 0 ? chart("Loss", `Over ${grouped(training.samples)} samples, in ${grouped(training.steps)} steps.`, lossChart(report)) : ""}
<div class="stack">${chart("Size", "The files as stored on disk.", sizeChart(report))}
${chart("Latency", `Medians in ONNX Runtime; a ${batchTitles[batch]} takes ${share.toFixed(2)} times the float model's time.`, html`${charts}`)}</div>
</div>`;
}

const noiseChart = (layers: readonly LayerReport[]): Html =>
  decibelChart({
    id: "sqnr",
    title: "Noise",
    label: "Signal to quantization noise per layer",
    layers: layers.map(({ name, sqnrDb: value }) => ({ name, value })),
    caption: (worst) =>
      `SQNR of each layer's output in the exported graph against the float model, dB; more is better, and the noise of all layers before adds up. Lowest: ${worst}.`,
  });

const sensitivityChart = ({ layers, sensitivitySamples }: Report): Html =>
  decibelChart({
    id: "sensitivity",
    title: "Sensitivity",
    label: "Sensitivity per layer",
    layers: layers.map(({ name, sensitivityDb: value }) => ({ name, value })),
    marked: (count) => Math.min(3, Math.ceil(count / 4)),
    caption: (worst) =>
      `SQNR of the model's output with this layer alone quantized, dB, on ${grouped(sensitivitySamples)} samples; the lower, the more the layer costs. Most sensitive: ${worst}.`,
  });

function layerCharts(report: Report): Html {
  const { layers, training } = report;
  if (layers.length === 0) return html``;
  const isTrained = training.steps > 0;
  return section(
    "Layers",
    "In the order in which the model computes them.",
    html`<div class="charts">${noiseChart(layers)}${sensitivityChart(report)}
${chart(
  isTrained ? "What trained" : "Importance",
  `Mean weight magnitude of a layer's channels, relative to the layer where it is the largest${isTrained ? ", and the share of its weights that trained at all" : ""}.`,
  trainedChart(report),
)}</div>`,
  );
}

function channels({ layers, training }: Report): Html {
  if (layers.length === 0) return html``;
  const isTrained = training.steps > 0;
  return section(
    "Channels",
    html`Importance of each output channel, its mean weight magnitude, from the most important to the least${isTrained ? html`: ${channelKey()}` : ""}.${leftOut(layers.length)}`,
    channelCards(layers),
  );
}

function distributions({ layers, sensitivitySamples }: Report): Html {
  if (layers.length === 0) return html``;
  const bits = ({ weightBits, activationBits }: LayerReport): string =>
    `${weightBits ?? "float"} / ${activationBits ?? "float"} bits`;
  const cards = layers.map((layer) => ({
    name: layer.name,
    detail: bits(layer),
    weights: layer.weightHistogram,
    inputs: layer.inputHistogram,
  }));
  return section(
    "Weights and activations",
    html`${rangeKey()}, for weights the narrowest and the widest channel's. Inputs of each layer on ${grouped(sensitivitySamples)} test samples.${leftOut(layers.length)}`,
    histogramCards(cards),
  );
}

const channelsTrained = ({ channelsTrained: shares }: LayerReport): string =>
  `${shares.filter((share) => share > 0).length} / ${shares.length}`;

const layerTable = (layers: readonly LayerReport[]): Html =>
  details(
    "Layers in figures",
    table<LayerReport>(
      [
        { title: "layer", kind: "name", of: ({ name }) => name },
        ...(layers.some(({ name, node }) => node !== "" && node !== name)
          ? [{ title: "node", kind: "name" as const, of: ({ node }: LayerReport) => node }]
          : []),
        { title: "operator", kind: "name", of: ({ op }) => op },
        { title: "weight", kind: "name", of: ({ weightShape }) => weightShape.join(" × ") },
        { title: "weight bits", kind: "number", of: ({ weightBits }) => weightBits ?? "float" },
        { title: "input bits", kind: "number", of: ({ activationBits }) => activationBits ?? "float" },
        { title: "SQNR, dB", kind: "number", of: ({ sqnrDb }) => decimals(sqnrDb, 1) },
        { title: "sensitivity, dB", kind: "number", of: ({ sensitivityDb }) => decimals(sensitivityDb, 1) },
        { title: "difference, steps", kind: "number", of: ({ maxSteps }) => decimals(maxSteps, 2) },
        { title: "channels trained", kind: "number", of: channelsTrained },
        { title: "weights trained", kind: "number", of: ({ weights }) => ratio(weights.trained, weights.all) },
      ],
      layers,
    ),
  );

function printOption(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "–");
}

type Options = Report["options"];

const printOptions = (options: Options): [string, string][] =>
  Object.entries(options).map(([key, value]) => [key, printOption(value)]);

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

/** By a metric of the user's own. */
function ownMetric({ metrics, data }: Pick<Report, "metrics" | "data">): Html {
  const rows = Object.entries(metrics).flatMap(([stage, { metric }]) => (metric ? [{ stage, ...metric }] : []));
  const [{ name, higherIsBetter }] = rows;
  return chart(
    name,
    `Over ${grouped(data.testSamples)} test samples; ${higherIsBetter ? "more" : "less"} is better.`,
    table<(typeof rows)[number]>(
      [
        { title: "stage", kind: "name", of: ({ stage }) => stage },
        { title: name, kind: "number", of: ({ value }) => digits(value) },
      ],
      rows,
    ),
  );
}

/** Against measured values. */
function errors({ metrics, data }: Report): Html {
  const rows = Object.entries(metrics).map(([stage, { rmse, mae }]) => ({ stage, rmse, mae }));
  if (rows.length === 0) return html``;
  if (metrics["deployed"]?.metric) return ownMetric({ metrics, data });
  return chart(
    "Against the labels",
    `Error of the output over ${grouped(data.testSamples)} test samples, in the labels' unit; less is better.`,
    table<(typeof rows)[number]>(
      [
        { title: "stage", kind: "name", of: ({ stage }) => stage },
        { title: "RMSE", kind: "number", of: ({ rmse }) => digits(rmse) },
        { title: "MAE", kind: "number", of: ({ mae }) => digits(mae) },
      ],
      rows,
    ),
  );
}

/** Where there is no accuracy: what each stage makes of the float model's outputs. */
function fidelity({ fidelity: stages, data }: Report): Html {
  if (!stages) return html``;
  const rows = Object.entries(stages).flatMap(([stage, outputs]) => outputs.map((output) => ({ stage, ...output })));
  return chart(
    "Against the float model",
    `SQNR of the outputs over ${grouped(data.testSamples)} test samples; more is better.`,
    table<(typeof rows)[number]>(
      [
        { title: "stage", kind: "name", of: ({ stage }) => stage },
        { title: "output", kind: "text", of: ({ name }) => name },
        {
          title: "SQNR, dB",
          kind: "number",
          of: ({ sqnrDb, agreement }) =>
            sqnrDb === null ? ((agreement ?? 1) < 1 ? "–" : "no difference") : sqnrDb.toFixed(1),
        },
        {
          title: "agree",
          kind: "number",
          of: ({ agreement }) => (agreement === null ? "–" : `${(100 * agreement).toFixed(2)} %`),
        },
      ],
      rows,
    ),
  );
}

function moreDetails(report: Report, sha256: string | undefined): Html {
  const { input, output, versions, machine, seconds, methods } = report;
  return html`<h2>Details</h2>${report.layers.length > 0 ? layerTable(report.layers) : ""}${verification(report)}
${pairs("Options", [...printOptions(report.options), ["seed", String(report.seed)]])}
${methods.map(({ method, options }, i) => (Object.keys(options).length === 0 ? html`` : pairs(`Options of method ${i + 1}, ${method}`, printOptions(options))))}
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
  ...(sha256 === undefined ? [] : [["report.json", `SHA-256 ${sha256}`] as const]),
])}`;
}

/** The report as a self-contained page, the same bytes for the same report. `sha256`: of the file that has the report, which the page then states. */
export const renderHtml = (report: Report, sha256?: string): string =>
  page(
    report.title,
    html`<h1>${report.title}</h1>
<p class="muted">${report.methods.map(({ method }) => method).join(", then ")} on the ${report.engine} engine, ${report.precision}, seed ${report.seed}</p>
${lead(report)}${report.notes.map((note) => html`<p class="note">${note}</p>`)}
${tiles(report)}${results(report)}${ladderSection(report)}${layerCharts(report)}${widthSection(report)}${unitSection(report)}${channels(report)}${distributions(report)}${moreDetails(report, sha256)}`,
  );
