// The page of `frostbit inspect`: a model before anything is done to it.
import type {
  InspectedLayer,
  InspectedValue,
  Inspection,
  LearnedConstant,
  QuantizedLayer,
  Refusal,
} from "../inspect/inspect-model.ts";
import type { Unit } from "../units/units.ts";
import { layerBars } from "./charts.ts";
import { countedAt } from "./counted-at.ts";
import { decibelChart } from "./decibel-chart.ts";
import { formatBytes } from "./format-bytes.ts";
import { formatDigits } from "./format-digits.ts";
import { type Html, html } from "./html.ts";
import { channelCards, histogramCards, leftOut } from "./layer-cards.ts";
import { chart, decimals, details, grouped, page, ratio, section, table, tile } from "./page.ts";

/** What the page is made of. */
export interface InspectionPage extends Inspection {
  readonly title: string;
  readonly opset: number;
}

const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

/** `3.57 M` */
function abbreviated(count: number): string {
  const [unit, size] = (
    [
      ["G", 1e9],
      ["M", 1e6],
      ["k", 1e3],
    ] as const
  ).find(([, least]) => count >= least) ?? ["", 1];
  return unit === "" ? String(count) : `${formatDigits(count / size)} ${unit}`;
}

/** With the weights of all layers that can be quantized in this number of bits, the rest unchanged. */
const sizeIn = ({ sizeBytes, layers }: InspectionPage, bits: number): number =>
  Math.round(
    sizeBytes -
      total(layers.map((layer) => layer.sizeBytes)) +
      (total(layers.map((layer) => layer.parameters)) * bits) / 8,
  );

const valueText = ({ name, dtype, shape }: InspectedValue): string => `${name}: ${dtype} [${shape.join(", ")}]`;

function lead({ layers, parameters, alreadyQuantized }: InspectionPage): string {
  if (layers.length === 0)
    return alreadyQuantized.length > 0
      ? `${alreadyQuantized.length} layers are quantized already; none is left.`
      : "No layer can be quantized: none is a product with a constant weight.";
  const share = ratio(total(layers.map((layer) => layer.parameters)), parameters);
  const trainable = layers.filter(({ canTrain }) => canTrain).length;
  return `${layers.length} layers can be quantized; they hold ${share} of the parameters. ${trainable === layers.length ? "All" : trainable} of them can train.`;
}

const tiles = (model: InspectionPage): Html => html`<div class="tiles">
${tile("parameters", abbreviated(model.parameters), grouped(model.parameters))}
${tile("multiply-adds a sample", abbreviated(model.multiplyAdds), countedAt(model) || grouped(model.multiplyAdds))}
${tile("tensors", formatBytes(model.sizeBytes), `opset ${model.opset}`)}
${model.layers.length > 0 ? tile("in 8 bits", formatBytes(sizeIn(model, 8)), "weights, without scales") : ""}
${model.layers.length > 0 ? tile("in 4 bits", formatBytes(sizeIn(model, 4)), "weights, without scales") : ""}
</div>`;

function costChart(model: InspectionPage, of: "parameters" | "multiplyAdds", title: string): Html {
  const layers = model.layers.map(({ name, [of]: value }) => ({ name, value: value ?? 0 }));
  const max = layers.reduce((most, { value }) => Math.max(most, value), 0);
  const marked = layers.filter(({ value }) => value === max).map(({ name }) => name);
  const named =
    marked.length > 3 ? `${marked.slice(0, 3).join(", ")} and ${marked.length - 3} more` : marked.join(", ");
  const caption = `Most in ${named}: ${marked.length > 1 ? "each " : ""}${ratio(max, model[of])} of all.`;
  return chart(title, caption, layerBars({ id: of, label: `${title} per layer`, layers, format: abbreviated, marked }));
}

const roundingChart = ({ layers }: InspectionPage): Html =>
  decibelChart({
    id: "rounding",
    title: "Rounding to 4 bits",
    label: "What rounding leaves per layer",
    layers: layers.map((layer) => ({ name: layer.name, value: roundedTo(layer, 4) })),
    caption: (worst) =>
      `SQNR of the weights, dB, with one scale per output channel; more is better. Lowest: ${worst}. Inputs are rounded too when the model is quantized.`,
  });

function layerCharts(model: InspectionPage): Html {
  if (model.layers.length === 0) return html``;
  return html`${section(
    "What would be quantized",
    "Layers in the order in which the model computes them.",
    html`<div class="charts">${costChart(model, "parameters", "Parameters")}${costChart(model, "multiplyAdds", "Multiply-adds")}${roundingChart(model)}</div>`,
  )}
${section(
  "Weights",
  `Histograms, heights as square roots of counts.${leftOut(model.layers.length)}`,
  histogramCards(
    model.layers.map(({ name, weightShape, weights }) => ({
      name,
      detail: weightShape.join(" × "),
      weights: { ...weights, counts: [...weights.counts], range: null },
      inputs: null,
    })),
  ),
)}
${section(
  "Channels",
  `Importance of each output channel, its mean weight magnitude, from the most important to the least: EfQAT trains the first.${leftOut(model.layers.length)}`,
  channelCards(model.layers.map((layer) => ({ ...layer, channelsTrained: [] }))),
)}`;
}

const roundedTo = ({ rounding }: InspectedLayer, bits: number): number | null =>
  rounding.find((entry) => entry.bits === bits)?.sqnrDb ?? null;

const layerTable = (layers: readonly InspectedLayer[]): Html =>
  table<InspectedLayer>(
    [
      { title: "layer", kind: "name", of: ({ name }) => name },
      { title: "node", kind: "name", of: ({ node }) => node },
      { title: "operator", kind: "name", of: ({ op }) => op },
      { title: "weight", kind: "name", of: ({ weightShape }) => weightShape.join(" × ") },
      { title: "parameters", kind: "number", of: ({ parameters }) => grouped(parameters) },
      { title: "size", kind: "number", of: ({ sizeBytes }) => formatBytes(sizeBytes) },
      { title: "multiply-adds", kind: "number", of: ({ multiplyAdds }) => grouped(multiplyAdds) },
      { title: "8 bits, dB", kind: "number", of: (layer) => decimals(roundedTo(layer, 8), 1) },
      { title: "4 bits, dB", kind: "number", of: (layer) => decimals(roundedTo(layer, 4), 1) },
      { title: "2 bits, dB", kind: "number", of: (layer) => decimals(roundedTo(layer, 2), 1) },
      { title: "trains", kind: "name", of: ({ canTrain }) => (canTrain ? "yes" : "no") },
    ],
    layers,
  );

const quantizedTable = (layers: readonly QuantizedLayer[]): Html =>
  table<QuantizedLayer>(
    [
      { title: "layer", kind: "name", of: ({ name }) => name },
      { title: "operator", kind: "name", of: ({ op }) => op },
      { title: "weight", kind: "name", of: ({ weightShape }) => weightShape.join(" × ") },
      { title: "parameters", kind: "number", of: ({ parameters }) => grouped(parameters) },
      { title: "bits", kind: "number", of: ({ bits, dtype }) => `${bits} in ${dtype}` },
      { title: "size", kind: "number", of: ({ sizeBytes }) => formatBytes(sizeBytes) },
      { title: "multiply-adds", kind: "number", of: ({ multiplyAdds }) => grouped(multiplyAdds) },
    ],
    layers,
  );

const learnedTable = (constants: readonly LearnedConstant[]): Html =>
  table<LearnedConstant>(
    [
      { title: "constant", kind: "text", of: ({ name }) => name },
      { title: "shape", kind: "name", of: ({ shape }) => shape.join(" × ") },
      { title: "parameters", kind: "number", of: ({ parameters }) => grouped(parameters) },
      { title: "trains in", kind: "name", of: ({ trainsIn }) => trainsIn.join(", ") },
    ],
    constants,
  );

const refusalTable = (refusals: readonly Refusal[]): Html =>
  table<Refusal>(
    [
      { title: "node", kind: "text", of: ({ node }) => node },
      { title: "operator", kind: "name", of: ({ op }) => op },
      { title: "why", kind: "text", of: ({ reason }) => reason },
    ],
    refusals,
  );

const unitTable = (units: readonly Unit[]): Html =>
  table<Unit>(
    [
      { title: "unit", kind: "name", of: ({ name }) => name },
      { title: "layers", kind: "text", of: ({ layers }) => layers.join(", ") },
      { title: "reads", kind: "text", of: ({ inputs }) => inputs.join(", ") },
      { title: "is compared at", kind: "text", of: ({ targets }) => targets.join(", ") },
    ],
    units,
  );

const operatorTable = ({ operators, multiplyAdds }: InspectionPage): Html =>
  table<InspectionPage["operators"][number]>(
    [
      { title: "operator", kind: "name", of: ({ op }) => op },
      { title: "nodes", kind: "number", of: ({ count }) => grouped(count) },
      { title: "multiply-adds", kind: "number", of: (row) => grouped(row.multiplyAdds) },
      { title: "of all", kind: "number", of: (row) => ratio(row.multiplyAdds, multiplyAdds) },
    ],
    operators,
  );

/** A self-contained page, the same bytes for the same model. */
export const renderInspection = (model: InspectionPage): string =>
  page(
    model.title,
    html`<h1>${model.title}</h1>
<p class="muted">${model.inputs.map(valueText).join("; ")} → ${model.outputs.map(valueText).join("; ")}</p>
<p class="lead">${lead(model)}</p>
${tiles(model)}${layerCharts(model)}
${model.notQuantizable.length > 0 ? section("What stays in float", "Products that cannot be quantized, and why.", refusalTable(model.notQuantizable)) : ""}
${model.notDifferentiable.length > 0 ? section("What stops training", "Operators without a gradient; nothing trains through them.", refusalTable(model.notDifferentiable)) : ""}
${model.learned.length > 0 ? section("Learned besides layers", "Embeddings, tokens, positions, slopes: ONNX does not mark what is learned, so that they are taken for it by where they stand.", learnedTable(model.learned)) : ""}
${model.alreadyQuantized.length > 0 ? section("Already quantized", "Layers whose weights the file holds as integers.", quantizedTable(model.alreadyQuantized)) : ""}
<h2>Details</h2>${model.layers.length > 0 ? details("Layers in figures", layerTable(model.layers)) : ""}${model.units ? details("Units", unitTable(model.units)) : ""}${details("Operators", operatorTable(model))}`,
  );
