// Runs the exported file in the runtime that will run it, and compares it with the folded graph: layer by layer on the same
// input, and end to end.

import { affordableSamples, planFetches } from "../evaluate/batch-that-fits.ts";
import { difference } from "../evaluate/difference.ts";
import { addDistance, type Distance, distanceOf, noDistance, type OutputDistance } from "../evaluate/distance.ts";
import { fetchEach } from "../evaluate/fetch-each.ts";
import { countSamples, firstSamples, typedForOne } from "../evaluate/first-samples.ts";
import { lossOf } from "../evaluate/losses.ts";
import type { ModelFile } from "../evaluate/model-file.ts";
import type { TypedArray } from "../ir/dtype.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import { consumers, type Graph, producers } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { writeOnnx } from "../onnx/write.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import type { Folded, FoldedLayer } from "../quantizers/fold.ts";
import { onlyReader } from "../quantizers/linear-layers.ts";
import { boundsOf, isQuantizer, quantizerOf } from "../quantizers/quantizer.ts";
import { type Context, signalOf } from "../run/context.ts";
import { isLarge, sizesOf, withFewRuns } from "../run/with-few-runs.ts";
import { arraysOf } from "../run/with-program.ts";
import { cutUnit } from "../units/cut-unit.ts";
import type { Exported } from "./qdq.ts";

/** What a runtime opens: the bytes of a model's file, or where it is. */
export type OpenedModel = Uint8Array | string;

/** Opens a file in the runtime as a user would open it: default optimizations. What is not timed needs no `spinning` threads. */
export type OpenDeployed = (
  model: OpenedModel,
  options?: { readonly threads?: number; readonly spinning?: boolean },
) => Promise<ModelFile>;

/** What an export must reach, or the command fails. Written down in docs/internals/numerics.md with what was measured. */
export const thresholds = {
  /** Per layer, given the same input: steps of the layer's quantizer. */
  maxSteps: 1,
  /** End to end, against the folded graph: of every output. */
  sqnrDb: 15,
  argmaxAgreement: 0.95,
} as const;

/** One layer of the exported file, given the same input as in the folded graph. */
export interface LayerVerification {
  readonly name: string;
  /** Largest difference of the layer's output, in steps of the quantizer that it ends in, or that its own range and bits give. */
  readonly maxSteps: number;
}

/** How near the exported file in its runtime comes to the folded graph. */
export interface Verification {
  /** How many were run through both. */
  readonly samples: number;
  /** How many of them went through each layer. */
  readonly layerSamples: number;
  /** End to end, in the model's order. */
  readonly outputs: readonly OutputDistance[];
  /** In the model's order. */
  readonly layers: readonly LayerVerification[];
}

/** The values around a layer: what it reads before its quantizer, what it gives after bias, activation and quantizer. */
interface LayerSpan {
  readonly layer: FoldedLayer;
  readonly input: string;
  readonly output: string;
  /** The step of the quantizer that the span ends in. */
  readonly step: number | undefined;
}

/** A graph, what it was exported to, and the file. */
export interface ExportedGraph {
  readonly folded: Folded;
  readonly exported: Exported;
  readonly model: OpenedModel;
}

type Values = ReadonlyMap<string, Tensor>;

/** By output, an array of its size. */
type Spare = ReadonlyMap<string, TypedArray>;

/** What an export is verified with. */
export interface VerificationRun {
  readonly batches: readonly Values[];
  readonly open: OpenDeployed;
  readonly context: Context;
  /** Sees each batch, and what the folded graph gives for it. May write into arrays of `spare`, and gives those that it needs no more. */
  readonly see?: (inputs: Values, folded: Values, spare: Spare) => Promise<Spare>;
}

export async function verifyExport(exported: ExportedGraph, run: VerificationRun): Promise<Verification> {
  return { ...(await verifyOutputs(exported, run)), ...(await verifyLayers(exported, run)) };
}

type OutputVerification = Pick<Verification, "samples" | "outputs">;

async function verifyOutputs(
  { folded: { graph }, model }: ExportedGraph,
  { batches, open, context, see }: VerificationRun,
): Promise<OutputVerification> {
  const outputs = graph.outputs.map((name) => ({ name, distance: noDistance() }));
  const computed = graph.outputs.filter((output) => !graph.inputs.includes(output));
  let samples = 0;
  let deployed: ModelFile | undefined;
  let [own, others, sizes]: [Spare, Spare, string] = [new Map(), new Map(), ""];
  try {
    await withFewRuns(removeDeadNodes({ ...graph, outputs: computed }), context, async (program) => {
      for (const [index, inputs] of batches.entries()) {
        if (sizes !== sizesOf(inputs)) [own, others, sizes] = [new Map(), new Map(), sizesOf(inputs)];
        const folded = await program.run(inputs, { ...signalOf(context), spare: own });
        own = arraysOf(folded);
        const expected = new Map([...inputs, ...folded]);
        if (see) others = await see(inputs, expected, others);
        deployed ??= await open(model, { spinning: false });
        const actual = await deployed.run(inputs, undefined, others);
        others = arraysOf(actual);
        if (isLarge(graph)) {
          await deployed.dispose();
          deployed = undefined;
        }
        samples += compareOutputs(outputs, expected, actual);
        context.onProgress?.({ phase: "verify", done: index + 1, total: batches.length });
      }
    });
  } finally {
    await deployed?.dispose();
  }
  return { samples, outputs: outputs.map(({ name, distance }) => distanceOf(name, distance)) };
}

/** On the first samples, as many as what enters and leaves the layers fits into memory for; one layer's session at a time. */
async function verifyLayers(
  { folded, exported }: ExportedGraph,
  { batches: [first], open, context }: VerificationRun,
): Promise<Pick<Verification, "layers" | "layerSamples">> {
  const { graph } = folded;
  const spans = folded.layers.map((layer) => spanOf(graph, layer));
  const typed = typedForOne(graph, first);
  const most = affordableSamples(typed, countSamples(graph, first));
  const valuesOf = ({ input, output }: LayerSpan): readonly string[] => [input, output];
  const { samples, groups } = planFetches(typed, spans, valuesOf, most);
  const inputs = firstSamples(graph, first, samples);
  const maxSteps = new Map<LayerSpan, number>();
  for await (const [span, values] of fetchEach(graph, { groups, inputs, valuesOf }, context)) {
    if (context.signal?.aborted) throw new FrostbitError("ABORTED", "Verification was stopped.");
    maxSteps.set(span, await verifyLayer(exported, span, values, open));
    context.onProgress?.({ phase: "verify layers", done: maxSteps.size, total: spans.length });
  }
  const layers = spans.map((span) => ({ name: span.layer.name, maxSteps: maxSteps.get(span) ?? Number.NaN }));
  return { layers, layerSamples: countSamples(graph, inputs) };
}

async function verifyLayer(
  exported: Exported,
  span: LayerSpan,
  values: ReadonlyMap<string, Tensor>,
  open: OpenDeployed,
): Promise<number> {
  const layer = await openLayer(exported, span, open);
  try {
    return await compareLayer(span, values, layer);
  } finally {
    await layer.dispose();
  }
}

/** Throws VERIFICATION naming every threshold missed, and the layers and outputs where. `scores`: the output of class scores, if any. */
export function checkVerification(verification: Verification, scores: string | undefined): void {
  const problems: string[] = [];
  for (const { name, maxSteps } of verification.layers)
    if (!(maxSteps <= thresholds.maxSteps))
      problems.push(
        `layer "${name}" differs by ${maxSteps.toFixed(2)} steps given the same input (at most ${thresholds.maxSteps})`,
      );
  for (const output of verification.outputs) {
    const { name, sqnrDb, agreement } = output;
    const lost = lossOf(output);
    if (!(sqnrDb >= thresholds.sqnrDb))
      problems.push(`output "${name}" is at ${sqnrDb.toFixed(1)} dB SQNR (at least ${thresholds.sqnrDb})`);
    else if (lost !== undefined) problems.push(`output "${name}": ${lost}`);
    const isExact = sqnrDb === Number.POSITIVE_INFINITY;
    if (agreement !== undefined && (name === scores || isExact) && !(agreement >= thresholds.argmaxAgreement))
      problems.push(
        `output "${name}" agrees in ${(100 * agreement).toFixed(1)} % of ${verification.samples} samples (at least ${100 * thresholds.argmaxAgreement} %)`,
      );
  }
  if (problems.length > 0)
    throw new FrostbitError(
      "VERIFICATION",
      `The exported file does not do in ONNX Runtime what was trained: ${problems.join("; ")}. Run \`frostbit compare\` on the model and the exported file to see where they diverge.`,
    );
}

function spanOf(graph: Graph, layer: FoldedLayer): LayerSpan {
  const readers = consumers(graph);
  const producerOf = producers(graph);
  const node = graph.nodes.find(({ name }) => name === layer.node);
  assert(node, `folded layer "${layer.node}" is missing`);
  const before = producerOf.get(node.inputs[0]);
  let output = node.outputs[0];
  for (let next = onlyReader(graph, readers, output); next; next = onlyReader(graph, readers, output)) {
    const isBias = next.op === "Add" && next.inputs[0] === output && graph.constants.has(next.inputs[1]);
    if (!isBias && !["Relu", "Clip", "FakeQuantize"].includes(next.op)) break;
    output = next.outputs[0];
    if (isQuantizer(next)) break;
  }
  const end = producerOf.get(output);
  const scale = isQuantizer(end) ? graph.constants.get(quantizerOf(end).scale) : undefined;
  return {
    layer,
    input: isQuantizer(before) ? before.inputs[0] : node.inputs[0],
    output,
    step: scale && numbersOf(scale)[0],
  };
}

function openLayer(exported: Exported, { input, output }: LayerSpan, open: OpenDeployed): Promise<ModelFile> {
  const graph = cutUnit(exported.model.graph, [input], [output]);
  return open(writeOnnx({ ...exported.model, graph }, { opset: exported.opset }), { threads: 1 });
}

function tensorNamed(values: ReadonlyMap<string, Tensor>, name: string): Tensor {
  const found = values.get(name);
  assert(found, `verification lacks value "${name}"`);
  return found;
}

async function compareLayer(span: LayerSpan, values: ReadonlyMap<string, Tensor>, layer: ModelFile): Promise<number> {
  const expected = numbersOf(tensorNamed(values, span.output));
  const outputs = await layer.run(new Map([[span.input, tensorNamed(values, span.input)]]));
  const actual = numbersOf(tensorNamed(outputs, span.output));
  const step = span.step ?? rangeOf(expected) / boundsOf(span.layer.bits, false).high;
  const { largest } = difference(expected, actual);
  // A quantized output differs by whole steps; the division must not make 1.0000001 of one.
  return span.step === undefined ? largest / step : Math.round((largest / step) * 1000) / 1000;
}

function rangeOf(values: ArrayLike<number>): number {
  let min = 0;
  let max = 0;
  for (let i = 0; i < values.length; i++) {
    min = Math.min(min, values[i]);
    max = Math.max(max, values[i]);
  }
  return max - min || 1;
}

/** Adds a batch to every output's distance; gives how many samples it had. */
function compareOutputs(
  outputs: readonly { readonly name: string; readonly distance: Distance }[],
  folded: ReadonlyMap<string, Tensor>,
  deployed: ReadonlyMap<string, Tensor>,
): number {
  for (const { name, distance } of outputs)
    addDistance(distance, tensorNamed(folded, name), tensorNamed(deployed, name));
  return tensorNamed(folded, outputs[0].name).shape[0];
}
