// Whether what a run works on, its batch made free, computes what the model as given computes in ONNX Runtime at its own batch.
import { changeSamples, moveSamplesFrom } from "../data/batch-axis.ts";
import { batches } from "../data/batches.ts";
import { limit } from "../data/dataset.ts";
import { fixedBatchOf } from "../evaluate/batch-that-fits.ts";
import { difference, sqnrDb } from "../evaluate/difference.ts";
import { firstRows, fixedBatch, type ModelFile, padRows } from "../evaluate/model-file.ts";
import { batchAxes, inputTypes } from "../ir/batch-axes.ts";
import { FrostbitError } from "../ir/errors.ts";
import { describeNode, type Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withProgram } from "../run/with-program.ts";
import type { QuantizeJob } from "./job.ts";
import type { Subject } from "./subject.ts";

type Values = ReadonlyMap<string, Tensor>;

/** In dB: float32 added up in another order stays above 80, what half precision rounds above 40. */
const leastDb = 30;

/** Zeros that rounding makes of something have no SQNR. */
const smallest = 1e-6;

/** Throws BAD_MODEL, naming where they part. A model that ONNX Runtime does not load is noted. */
export async function checkGiven(job: QuantizeJob, subject: Subject, context: Context): Promise<void> {
  const given = await openGiven(job, context);
  if (!given) return;
  try {
    const samples = await samplesFor(job, subject, fixedBatch(given));
    const expected = await given.run(samples.given);
    const { float } = subject;
    const outputs = float.outputs.filter((output) => isComparable(float, output));
    const actual = await runFree(float, outputs, samples.free, context);
    const wrong = outputs.find((output) => !agrees(float, output, expected.get(output), actual.get(output)));
    if (wrong !== undefined) throw differs(wrong, await firstApart(job.model.graph, float, samples, context));
  } finally {
    await given.dispose();
  }
}

async function openGiven(job: QuantizeJob, context: Context): Promise<ModelFile | undefined> {
  try {
    return await job.openGiven?.();
  } catch (error) {
    if (!(error instanceof FrostbitError) || error.code !== "ENGINE") throw error;
    context.onNote?.(`The model as given could not be compared with what is quantized: ${error.message}`);
    return undefined;
  }
}

/** Batches of different sizes that start with the same samples. */
interface SameSamples {
  readonly given: Values;
  readonly free: Values;
}

/**
 * Where the batch was freed, half of it is run at once, or two samples of which the model as given takes one. The last sample is
 * repeated where there are too few.
 */
async function samplesFor(job: QuantizeJob, { float, test }: Subject, fixed = 2): Promise<SameSamples> {
  const count = Math.min(test.length, Math.max(2, fixed));
  const all = batches(limit(test, count), { batchSize: count, preprocess: job.preprocess });
  const { value: batch } = await all.next();
  await all.return();
  if (!batch) throw new FrostbitError("BAD_DATA", `"${test.name}" has no samples.`);
  const axes = batchAxes(inputTypes(float));
  const take = (wanted: number): Values =>
    changeSamples(batch.inputs, axes, (rows) => padRows(firstRows(rows, Math.min(wanted, count)), wanted));
  const freed = fixed === 1 ? 2 : Math.ceil(fixed / 2);
  return { given: take(fixed), free: take(fixedBatchOf(float) ?? freed) };
}

const runFree = (graph: Graph, outputs: readonly string[], inputs: Values, context: Context): Promise<Values> =>
  outputs.length === 0
    ? Promise.resolve(new Map())
    : withProgram(removeDeadNodes({ ...graph, outputs }), context, (program) => program.run(inputs, signalOf(context)));

/** The batch's axis in a value; −1 where it has none. */
function batchAxisOf(graph: Graph, value: string): number {
  const types = inputTypes(graph);
  const sizes = new Set([...batchAxes(types)].map(([input, axis]) => types.get(input)?.shape[axis]));
  return graph.values.get(value)?.shape.findIndex((size) => typeof size === "string" && sizes.has(size)) ?? -1;
}

const isComparable = (graph: Graph, value: string): boolean =>
  graph.values.get(value)?.dtype === "float32" && batchAxisOf(graph, value) >= 0 && !graph.inputs.includes(value);

/** On the samples that both have. */
function agrees(graph: Graph, value: string, expected: Tensor | undefined, actual: Tensor | undefined): boolean {
  if (expected?.dtype !== "float32" || !actual || expected.shape.length !== actual.shape.length) return true;
  const axis = batchAxisOf(graph, value);
  const [a, b] = [moveSamplesFrom(expected, axis), moveSamplesFrom(actual, axis)];
  const count = Math.min(a.shape[0], b.shape[0]);
  const [reference, other] = [numbersOf(firstRows(a, count)), numbersOf(firstRows(b, count))];
  if (reference.length !== other.length) return false;
  const apart = difference(reference, other);
  // Infinities and NaN have no distance.
  return apart.largest <= smallest || !Number.isFinite(apart.signal) || sqnrDb(apart) >= leastDb;
}

/** The first node of the free graph whose output differs from the fixed graph's, on the run's own engine. */
async function firstApart(
  fixed: Graph,
  free: Graph,
  samples: SameSamples,
  context: Context,
): Promise<string | undefined> {
  const known = new Set(fixed.nodes.flatMap(({ outputs }) => outputs));
  for (const node of free.nodes) {
    const [value] = node.outputs;
    if (!known.has(value) || !isComparable(free, value)) continue;
    const expected = await runFree(fixed, [value], samples.given, context);
    const actual = await runFree(free, [value], samples.free, context);
    if (!agrees(free, value, expected.get(value), actual.get(value))) return describeNode(node);
  }
  return undefined;
}

const differs = (output: string, node: string | undefined): FrostbitError =>
  new FrostbitError(
    "BAD_MODEL",
    node === undefined
      ? `Output "${output}" of the model is not what ONNX Runtime computes of the file. This is a fault of Frostbit's reading or of its engine: try --engine onnxruntime, and report it.`
      : `With a free batch the model computes something else than as given: they part at ${node}, and output "${output}" differs. Export the model with a dynamic batch dimension.`,
  );
