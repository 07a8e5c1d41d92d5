// Runs the exported file in the runtime that will run it, and compares it with the folded graph: layer by layer on the same
// input, and end to end.

import { difference } from "../evaluate/difference.ts";
import { addDistance, type Distance, distanceOf, noDistance, type OutputDistance } from "../evaluate/distance.ts";
import type { ModelFile } from "../evaluate/model-file.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import { consumers, type Graph, producers } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { writeOnnx } from "../onnx/write.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import type { Folded, FoldedLayer } from "../quantizers/fold.ts";
import { onlyReader } from "../quantizers/linear-layers.ts";
import { boundsOf, isQuantizer, quantizerOf } from "../quantizers/quantizer.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withProgram } from "../run/with-program.ts";
import { cutUnit } from "../units/cut-unit.ts";
import type { Exported } from "./qdq.ts";

/** Opens a file in the runtime as a user would open it: default optimizations. */
export type OpenDeployed = (bytes: Uint8Array, options?: { readonly threads: number }) => Promise<ModelFile>;

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

/** A graph, what it was exported to, and the file's bytes. */
export interface ExportedGraph {
  readonly folded: Folded;
  readonly exported: Exported;
  readonly bytes: Uint8Array;
}

/** What an export is verified with. */
export interface VerificationRun {
  readonly batches: readonly ReadonlyMap<string, Tensor>[];
  readonly open: OpenDeployed;
  readonly context: Context;
}

export async function verifyExport(
  { folded, exported, bytes }: ExportedGraph,
  { batches, open, context }: VerificationRun,
): Promise<Verification> {
  const spans = folded.layers.map((layer) => spanOf(folded.graph, layer));
  const watched = [...new Set([...folded.graph.outputs, ...spans.flatMap(({ input, output }) => [input, output])])];
  const graph = removeDeadNodes({
    ...folded.graph,
    outputs: watched.filter((value) => !folded.graph.inputs.includes(value)),
  });
  const outputs = folded.graph.outputs.map((name) => ({ name, distance: noDistance() }));
  let samples = 0;
  const steps = spans.map(() => 0);
  const opened: ModelFile[] = [];
  const keep = async (file: Promise<ModelFile>): Promise<ModelFile> => {
    opened.push(await file);
    return file;
  };
  try {
    const deployed = await keep(open(bytes));
    const layers: ModelFile[] = [];
    for (const span of spans) layers.push(await keep(openLayer(exported, span, open)));
    const options = signalOf(context);
    await withProgram(graph, context, async (program) => {
      for (const [index, inputs] of batches.entries()) {
        const values = new Map([...inputs, ...(await program.run(inputs, options))]);
        samples += compareEndToEnd(outputs, values, await deployed.run(inputs));
        for (const [i, span] of spans.entries())
          steps[i] = Math.max(steps[i], await compareLayer(span, values, layers[i]));
        context.onProgress?.({ phase: "verify", done: index + 1, total: batches.length });
      }
    });
  } finally {
    await Promise.all(opened.map((file) => file.dispose()));
  }
  return {
    samples,
    outputs: outputs.map(({ name, distance }) => distanceOf(name, distance)),
    layers: spans.map(({ layer }, i) => ({ name: layer.name, maxSteps: steps[i] })),
  };
}

/** Throws VERIFICATION naming every threshold missed, and the layers and outputs where. `scores`: the output of class scores, if any. */
export function checkVerification(verification: Verification, scores: string | undefined): void {
  const problems: string[] = [];
  for (const { name, maxSteps } of verification.layers)
    if (!(maxSteps <= thresholds.maxSteps))
      problems.push(
        `layer "${name}" differs by ${maxSteps.toFixed(2)} steps given the same input (at most ${thresholds.maxSteps})`,
      );
  for (const { name, sqnrDb, agreement } of verification.outputs) {
    if (!(sqnrDb >= thresholds.sqnrDb))
      problems.push(`output "${name}" is at ${sqnrDb.toFixed(1)} dB SQNR (at least ${thresholds.sqnrDb})`);
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

/** One thread each: a session per layer, all open at once. */
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
function compareEndToEnd(
  outputs: readonly { readonly name: string; readonly distance: Distance }[],
  folded: ReadonlyMap<string, Tensor>,
  deployed: ReadonlyMap<string, Tensor>,
): number {
  for (const { name, distance } of outputs)
    addDistance(distance, tensorNamed(folded, name), tensorNamed(deployed, name));
  return tensorNamed(folded, outputs[0].name).shape[0];
}
