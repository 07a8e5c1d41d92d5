// frostbit inspect: what a model consists of, and what can be quantized and trained.
import { basename } from "node:path";
import type { Command } from "commander";
import { z } from "zod";
import { argmax } from "../evaluate/score.ts";
import {
  checkSizes,
  type InspectedLayer,
  type Inspection,
  type LearnedConstant,
  type QuantizedLayer,
  type Refusal,
} from "../inspect/inspect-model.ts";
import { FrostbitError } from "../ir/errors.ts";
import { readModel } from "../node/read-model.ts";
import { writeAtomic } from "../node/storage.ts";
import { flagOf } from "../options/flag-of.ts";
import { withSizes } from "../passes/with-sizes.ts";
import { countedAt } from "../report/counted-at.ts";
import { formatBytes } from "../report/format-bytes.ts";
import { formatDigits } from "../report/format-digits.ts";
import { type Unit, unitKinds } from "../units/units.ts";
import { createCommand, type Session, type Values } from "./command.ts";
import { formatsTable, languageModelFormats } from "./inspect-formats.ts";
import { formatPlan, givenPlanOptions, planOf, planOptions } from "./inspect-plan.ts";
import { limitedInspection } from "./limited-inspection.ts";
import { addSchemaOptions, parseSchemaOptions } from "./options-from-schema.ts";
import { formatCount, formatTable } from "./table.ts";

const limits = z.object({
  maxMemory: z
    .number()
    .int()
    .min(200)
    .default(4000)
    .describe("MB of memory at which a model is given up, since a small file can describe a large one."),
  maxTime: z.number().min(1).optional().describe("Seconds after which a model is given up."),
});

const pageOptions = z.object({
  html: z
    .string()
    .optional()
    .describe("Also write a page to look at: layers, histograms of weights, what would be quantized."),
  sizes: z
    .record(z.string(), z.number().int().min(1))
    .optional()
    .describe(
      "What multiply-adds are counted at, and a plan is made for, by the name of an input's symbolic size (sequence=128); by default 64, of a plan none.",
    ),
  units: z
    .enum(unitKinds)
    .optional()
    .describe("Also name the units of this kind, which qdrop, brecq and their kin train one after the other."),
  ...limits.shape,
});

export function inspectCommand(): Command {
  const command = createCommand(
    "inspect",
    "Show a model's layers, sizes, operations and importance, and what can be quantized and trained; or the native engine's plan of a training step.",
    run,
  ).argument("<model>", "An ONNX file, or the folder of a language model.");
  return addSchemaOptions(addSchemaOptions(command, pageOptions), planOptions);
}

async function run([path]: readonly string[], values: Values, { print, note }: Session): Promise<void> {
  if (values["plan"] === true) {
    assertNoPageFlags(values);
    const { sizes = {} } = parseSchemaOptions(pageOptions, values);
    const { graph } = readModel(path);
    checkSizes(graph, sizes);
    const plan = await planOf(withSizes(graph, new Map(Object.entries(sizes))), values, note);
    return print({ model: path, ...plan }, formatPlan(path, plan));
  }
  assertPlanFlagsApply(values);
  const { html, sizes, units, maxMemory, maxTime } = parseSchemaOptions(pageOptions, values);
  const { opset, inspection } = await limitedInspection(
    path,
    { ...(sizes ? { sizes } : {}), ...(units ? { units } : {}) },
    {
      maxMemory,
      ...(maxTime === undefined ? {} : { maxTime }),
    },
  );
  if (html !== undefined) {
    const { renderInspection } = await import("../report/render-inspection.ts");
    await writeAtomic(html, renderInspection({ title: basename(path), opset, ...inspection }));
  }
  const written = html === undefined ? {} : { html };
  const formats = await languageModelFormats(path, inspection);
  const more = html === undefined ? [] : ["", `${html} shows the same with histograms of the weights.`];
  print({ model: path, opset, ...written, ...inspection, ...(formats && { formats }) }, [
    ...describe(path, opset, inspection),
    ...(formats ? ["", ...formatsTable(formats)] : []),
    ...more,
  ]);
}

function assertNoPageFlags(values: Values): void {
  if (values["html"] !== undefined) throw new FrostbitError("BAD_OPTION", "--plan has no page. Leave --html out.");
  const [flag] = ["units", "maxMemory", "maxTime"].filter((name) => values[name] !== undefined).map(flagOf);
  if (flag) throw new FrostbitError("BAD_OPTION", `${flag} does not belong to --plan. Leave it out.`);
}

function assertPlanFlagsApply(values: Values): void {
  const [flag] = givenPlanOptions(values);
  if (flag === undefined) return;
  throw new FrostbitError("BAD_OPTION", `${flag} belongs to --plan. Give --plan too, or leave it out.`);
}

function describe(path: string, opset: number, inspection: Inspection): readonly string[] {
  const { inputs, outputs, parameters, sizeBytes, multiplyAdds } = inspection;
  const counted = countedAt(inspection);
  const values = (list: Inspection["inputs"]): string =>
    list.map(({ name, dtype, shape }) => `${name} ${dtype} [${shape.join(", ")}]`).join("; ");
  return [
    `${path}, opset ${opset}`,
    `inputs: ${values(inputs)}`,
    `outputs: ${values(outputs)}`,
    `${formatCount(parameters)} parameters in ${formatBytes(sizeBytes)}, ${formatCount(multiplyAdds)} multiply-adds a sample${counted === "" ? "" : ` ${counted}`}`,
    "",
    ...(inspection.alreadyQuantized.length === 0 ? [] : [...quantizedTable(inspection.alreadyQuantized), ""]),
    ...(inspection.layers.length === 0 && inspection.alreadyQuantized.length > 0
      ? []
      : [...layerTable(inspection.layers), ""]),
    ...(inspection.learned.length === 0 ? [] : [...learnedTable(inspection.learned), ""]),
    ...operatorTable(inspection),
    ...refusals("Not quantized, they stay in float:", inspection.notQuantizable),
    ...refusals("Without a gradient; nothing trains through them:", inspection.notDifferentiable),
    ...(inspection.units ? ["", ...unitTable(inspection.units)] : []),
  ];
}

function layerTable(layers: readonly InspectedLayer[]): readonly string[] {
  if (layers.length === 0) return ["No layer can be quantized: none is a product with a constant weight."];
  const differ = layers.some(({ name, node }) => name !== node);
  const rows = layers.map(
    ({ name, node, op, weightShape, parameters, sizeBytes, multiplyAdds, importance, canTrain }) => [
      name,
      ...(differ ? [node] : []),
      op,
      weightShape.join("×"),
      formatCount(parameters),
      formatBytes(sizeBytes),
      formatCount(multiplyAdds),
      ...rangeOf(importance),
      canTrain ? "yes" : "no",
    ],
  );
  const header = [
    "layer",
    ...(differ ? ["node"] : []),
    "operator",
    "weight",
    "parameters",
    "size",
    "multiply-adds",
    "least",
    "mean",
    "most important channel",
    "trains",
  ];
  return formatTable(header, rows, [
    "left",
    ...(differ ? (["left"] as const) : []),
    "left",
    "left",
    "right",
    "right",
    "right",
    "right",
    "right",
    "right",
    "left",
  ]);
}

function quantizedTable(layers: readonly QuantizedLayer[]): readonly string[] {
  const rows = layers.map(({ name, op, weightShape, parameters, dtype, bits, sizeBytes, multiplyAdds }) => [
    name,
    op,
    weightShape.join("×"),
    formatCount(parameters),
    `${bits} in ${dtype}`,
    formatBytes(sizeBytes),
    formatCount(multiplyAdds),
  ]);
  const header = ["layer", "operator", "weight", "parameters", "bits", "size", "multiply-adds"];
  const table = formatTable(header, rows, ["left", "left", "left", "right", "left", "right", "right"]);
  return ["Already quantized:", ...table];
}

function learnedTable(constants: readonly LearnedConstant[]): readonly string[] {
  const rows = constants.map(({ name, shape, parameters, trainsIn }) => [
    name,
    shape.join("×"),
    formatCount(parameters),
    trainsIn.join(", "),
  ]);
  const header = ["learned besides layers and norms", "shape", "parameters", "trains in"];
  return formatTable(header, rows, ["left", "left", "right", "left"]);
}

function rangeOf(values: readonly number[]): readonly string[] {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const lowest = values.reduce((low, value) => Math.min(low, value), Number.POSITIVE_INFINITY);
  const channel = argmax(values, 0, values.length);
  return [formatDigits(lowest), formatDigits(mean), `${formatDigits(values[channel])} (${channel})`];
}

const unitTable = (units: readonly Unit[]): readonly string[] =>
  formatTable(
    ["unit", "layers", "reads", "is compared at"],
    units.map(({ name, layers, inputs, targets }) => [
      name,
      String(layers.length),
      inputs.join(", "),
      targets.join(", "),
    ]),
    ["left", "right", "left", "left"],
  );

const operatorTable = ({ operators }: Inspection): readonly string[] =>
  formatTable(
    ["operator", "nodes", "multiply-adds"],
    operators.map(({ op, count, multiplyAdds }) => [op, String(count), formatCount(multiplyAdds)]),
    ["left", "right", "right"],
  );

const refusals = (title: string, list: readonly Refusal[]): readonly string[] =>
  list.length === 0 ? [] : ["", title, ...list.map(({ node, op, reason }) => `  ${op} "${node}": ${reason}`)];
