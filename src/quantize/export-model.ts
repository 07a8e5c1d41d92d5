// From the trained graph to a verified file.

import { addDistance, distanceOf, noDistance } from "../evaluate/distance.ts";
import { type ExportedFile, type ExportFormat, type ExportSource, sizeOfFile } from "../export/format.ts";
import { exportFormats, type FormatName, writeFormat } from "../export/formats.ts";
import { checkVerification, type Verification, type VerificationRun } from "../export/verify.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import { type Graph, producers } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor } from "../ir/tensor.ts";
import type { WrittenFile } from "../methods/method.ts";
import { opsetFor, writeOnnx } from "../onnx/write.ts";
import { isQuantized, type RunOptions } from "../options/run-options.ts";
import { floatOutputs } from "../passes/class-scores.ts";
import { roundHalf } from "../passes/half-precision.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { foldQuantizers } from "../quantizers/fold.ts";
import { withHalfScales } from "../quantizers/half-scales.ts";
import { placementOf } from "../quantizers/quantize-options.ts";
import { withShortNames } from "../quantizers/short-names.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withFewRuns } from "../run/with-few-runs.ts";
import { arraysOf } from "../run/with-program.ts";
import type { FormattedJob, QuantizeJob } from "./job.ts";

export interface Written {
  /** First the one that runtimes open. */
  readonly files: readonly ExportedFile[];
  /** Absent for a float model. */
  readonly quantized?: ExportSource & { readonly format: ExportFormat };
}

/** Products of floats and of weights in groups have a kernel of their own. */
function formatOf(
  { activations, groupSize }: RunOptions["quantize"],
  given: ExportFormat | undefined,
): readonly [name: string, ExportFormat] {
  if (given && activations === "float") return ["onnx", given];
  const name: FormatName = activations === "float" && groupSize !== "whole" ? "matMulNBits" : "qdq";
  return [name, exportFormats[name]];
}

/** The graph with the scales of weights that its file stores: what is exported, and what the file is verified against. */
export function withStoredScales({ options, format }: Pick<FormattedJob, "options" | "format">, graph: Graph): Graph {
  if (!isQuantized(options)) return graph;
  const [, { scaleType }] = formatOf(options.quantize, format);
  return scaleType === undefined ? graph : withHalfScales(graph);
}

/** A model in float stays ONNX, as it came. */
const floatFileName = "model.onnx";

/** The model as a file, not yet verified. Also run before training, so that what cannot be written fails early. */
export function writeModel(
  { model: { origin }, options: run, format: given }: Pick<FormattedJob, "model" | "options" | "format">,
  trained: Graph,
): Written {
  const { storage } = run.quantize;
  const placement = placementOf(run.quantize);
  const graph = origin.half ? roundHalf(trained, origin.half) : trained;
  if (!isQuantized(run))
    return {
      files: [{ name: floatFileName, bytes: writeOnnx({ graph, origin }, { opset: opsetFor(graph, origin.opset) }) }],
    };
  const [name, format] = formatOf(run.quantize, given);
  const folded = foldQuantizers(graph, placement === "runtime" ? "int32" : "float");
  const source: ExportSource = { folded: given ? folded : withShortNames(folded, graph), origin, storage };
  return { files: writeFormat(name, format, source), quantized: { ...source, format } };
}

/** The same weights in other formats. */
export const othersOf = ({ quantized }: Written): readonly ExportedFile[] =>
  quantized?.format.others?.(quantized) ?? [];

export const sizeOfFiles = ({ files }: Written): number => files.reduce((sum, file) => sum + sizeOfFile(file), 0);

/** Bits are those that the integers in the file need. */
export function whatWasWritten(written: Written): WrittenFile {
  const { graph, layers = [] } = written.quantized?.folded ?? {};
  const integers = new Set(layers.map((layer) => layer.integers));
  return {
    bytes: sizeOfFiles(written),
    weights: [...integers].flatMap((name) => {
      const value = graph?.constants.get(name);
      return value ? [{ count: sizeOf(value.shape), bits: bitsNeeded(value) }] : [];
    }),
  };
}

/** Of whole numbers in the ranges of weights: symmetric ones have no −2^(b − 1). */
function bitsNeeded(integers: Tensor): number {
  const largest = Float64Array.from(numbersOf(integers)).reduce((most, q) => Math.max(most, Math.abs(q)), 0);
  return Math.ceil(Math.log2(largest + 1)) + (integers.dtype === "int8" ? 1 : 0);
}

/** How near the exported file comes to what was trained. */
export interface ModelVerification extends Verification {
  /** The folded graph's outputs against the trained graph's: the worst output's SQNR, dB. */
  readonly foldingSqnrDb: number;
}

/** What folding must keep, dB: float biases are exact but for values that round the other way, int32 biases are rounded. */
export const foldingThresholds = { inputs: 15, runtime: 3 } as const;

/** What an export is verified against. */
interface VerifiedAgainst {
  readonly trained: Graph;
  /** The output of class scores, if any. */
  readonly scores: string | undefined;
  readonly samples: readonly ReadonlyMap<string, Tensor>[];
}

/** Throws VERIFICATION where the folded graph differs from the trained one, or the file in ONNX Runtime from the folded graph. */
export async function verifyModel(
  { files, quantized }: Written,
  job: Pick<QuantizeJob, "openDeployed" | "options">,
  { trained, scores, samples }: VerifiedAgainst,
  context: Context,
): Promise<ModelVerification | undefined> {
  if (!quantized) return undefined;
  const outputs = computedFloats(trained);
  const totals = outputs.map((name) => ({ name, distance: noDistance() }));
  const verify = (see?: VerificationRun["see"]): Promise<Verification> => {
    const run = { batches: samples, open: job.openDeployed, context, ...(see ? { see } : {}) };
    return quantized.format.verify(quantized, files, run);
  };
  const compared = removeDeadNodes({ ...trained, outputs });
  const verification =
    outputs.length === 0
      ? await verify()
      : await withFewRuns(compared, context, (program) =>
          verify(async (inputs, folded, spare) => {
            const expected = await program.run(inputs, { ...signalOf(context), spare });
            for (const { name, distance } of totals)
              addDistance(distance, outputOf(expected, name), outputOf(folded, name));
            return arraysOf(expected);
          }),
        );
  const folding = totals.map(({ name, distance }) => distanceOf(name, distance));
  for (const { name, sqnrDb } of folding)
    checkFolding(name, sqnrDb, foldingThresholds[placementOf(job.options.quantize)]);
  checkVerification(verification, scores);
  return { ...verification, foldingSqnrDb: Math.min(...folding.map(({ sqnrDb }) => sqnrDb)) };
}

function outputOf(values: ReadonlyMap<string, Tensor>, name: string): Tensor {
  const found = values.get(name);
  assert(found, `verification lacks output "${name}"`);
  return found;
}

const computedFloats = (graph: Graph): readonly string[] => {
  const made = producers(graph);
  return floatOutputs(graph).filter((output) => made.has(output));
};

function checkFolding(output: string, sqnrDb: number, least: number): void {
  if (sqnrDb >= least) return;
  throw new FrostbitError(
    "VERIFICATION",
    `Folded into integers, the model's output "${output}" is at ${sqnrDb.toFixed(1)} dB SQNR to the trained one (at least ${least}). At 4 bits and fewer, --placement inputs keeps biases exact; --layers can leave a layer in more bits or in float.`,
  );
}
