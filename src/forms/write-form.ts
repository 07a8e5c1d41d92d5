// A model in one of the forms, as a file that ran.
import type { Exported } from "../export/qdq.ts";
import type { OpenDeployed } from "../export/verify.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph, OnnxModel, Origin } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { opsetFor, writeOnnx } from "../onnx/write.ts";
import { prepareGraph } from "../quantizers/prepare-graph.ts";
import { quantizeOptions } from "../quantizers/quantize-options.ts";
import { quantizersOf } from "../quantizers/quantizer.ts";
import { quantizeTables } from "../quantizers/tables.ts";
import { type Agreement, agreementOf, isSound, worseOf } from "./agreement.ts";
import { dynamicInt8 } from "./dynamic-int8.ts";
import { largestOf, lostValues, tooLarge, type Watched } from "./find-wide.ts";
import { inHalf, roundedAsHalf, wideConstants, withFiniteMasks } from "./half.ts";
import { asProducts, packedWeights } from "./packed-weights.ts";
import type { Form, FormWeights } from "./table.ts";
import { blockTables } from "./tables.ts";

/** What a form is written with. */
export interface FormContext {
  readonly open: OpenDeployed;
  /** Inputs that the model takes. */
  readonly batches: readonly ReadonlyMap<string, Tensor>[];
  /** What the model gives for them, by output. */
  readonly expected: readonly ReadonlyMap<string, Tensor>[];
  /** Inputs of a matrix that share a scale, and neighbours in a row of a table. */
  readonly blockSize: number;
  readonly learned?: Learned | undefined;
}

/** What is found with data, in place of what is found without. */
export interface Learned {
  /** A file of 8-bit products, whose ranges are constants. */
  readonly int8: () => Promise<Uint8Array<ArrayBuffer>>;
  /** `asProducts` of the prepared model, its weights behind quantizers of 4 bits in blocks. */
  readonly fourBits: () => Promise<Graph>;
}

export interface WrittenForm {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly agreement: readonly Agreement[];
  /** Of a form in float16, the nodes that keep float32. */
  readonly keptFloat: number;
}

/** The model as all forms start from it; what is float16 in the file stays so at inputs and outputs alone. */
export function preparedModel({ graph, origin }: OnnxModel): OnnxModel {
  const prepared = prepareGraph(graph, quantizeOptions.parse({ activations: "float" }));
  if (quantizersOf(prepared).length > 0)
    throw new FrostbitError(
      "BAD_MODEL",
      "The model is quantized already. Give the float model that it was made of, or --data to train what it has.",
    );
  return { graph: prepared, origin: withHalfEnds(prepared, origin) };
}

function withHalfEnds({ inputs, outputs }: Graph, origin: Origin): Origin {
  const { half, ...rest } = origin;
  const ends = [...(half ?? [])].filter(([name]) => inputs.includes(name) || outputs.includes(name));
  return ends.length === 0 ? rest : { ...rest, half: new Map(ends) };
}

/** Throws BAD_MODEL where the model has nothing that the form changes, VERIFICATION where what it computes is lost. */
export async function writeForm(model: OnnxModel, form: Form, context: FormContext): Promise<WrittenForm> {
  const { weights } = form;
  const learned = form.learned === undefined ? undefined : context.learned;
  if (learned && weights.kind === "dynamic") return agreeing(await learned.int8(), context);
  const quantized = withWeights(model, weights, {
    blockSize: context.blockSize,
    learned: await learned?.fourBits(),
  });
  if (form.isHalf) return writeHalf(quantized, context);
  return agreeing(writeOnnx(quantized.model, { opset: quantized.opset }), context);
}

async function agreeing(bytes: Uint8Array<ArrayBuffer>, context: FormContext): Promise<WrittenForm> {
  const agreement = await agreementOf(bytes, context);
  checkSound(agreement);
  return { bytes, agreement, keptFloat: 0 };
}

interface Packing {
  readonly blockSize: number;
  readonly learned: Graph | undefined;
}

function withWeights(model: OnnxModel, weights: FormWeights, { blockSize, learned }: Packing): Exported {
  const { graph, origin } = model;
  const opset = opsetFor(graph, Math.max(origin.opset, 13));
  if (weights.kind === "float") return { model, opset };
  const tabled = withTables(learned ?? graph, weights, blockSize);
  const exported =
    weights.kind === "dynamic"
      ? { model: { graph: dynamicInt8(tabled, weights.matrices), origin }, opset }
      : packedWeights({ graph: learned ? tabled : asProducts(tabled), origin }, { bits: weights.bits, blockSize });
  if (hasIntegers(exported.model.graph, graph)) return exported;
  throw new FrostbitError(
    "BAD_MODEL",
    "It has no matrix product, convolution or table of embeddings whose weights are large constants.",
  );
}

/** Tables in blocks at 2 and 4 bits, where their rows allow it; else, and the weights of recurrent layers, in 8 bits. */
function withTables(graph: Graph, weights: FormWeights, blockSize: number): Graph {
  const isNarrow = weights.kind === "packed" && weights.bits !== 8;
  return quantizeTables(
    isNarrow ? blockTables(graph, { bits: weights.bits, blockSize }) : graph,
    quantizeOptions.parse({}),
  );
}

/** Whether constants are integers that were floats, or were not there before. */
const hasIntegers = (graph: Graph, before: Graph): boolean =>
  [...graph.constants].some(
    ([name, { dtype }]) => /^u?int[248]$/.test(dtype) && before.constants.get(name)?.dtype !== dtype,
  );

/** How often nodes are brought back to float32 before the form is given up. */
const rounds = 6;

/** Nodes keep float32 where the model's values are too large, and then where the file that was written loses most. */
async function writeHalf({ model, opset }: Exported, context: FormContext): Promise<WrittenForm> {
  const { open, batches } = context;
  const float: Watched = { bytes: writeOnnx(model, { opset }), open, batches };
  const largest = await largestOf(float, model.graph);
  const graph = withFiniteMasks(model.graph, largest);
  const wide = new Set([...wideConstants(graph), ...tooLarge(largest)]);
  for (let round = 1; ; round++) {
    const rounded = writeOnnx({ ...model, graph: roundedAsHalf(graph, { opset, wide }) }, { opset });
    const lost = round < rounds ? await lostValues(float, rounded, graph) : [];
    const found = [...lost].filter((name) => !wide.has(name));
    for (const name of found) wide.add(name);
    if (found.length > 0) continue;
    const { graph: half, kept } = inHalf(graph, { opset, wide });
    const bytes = writeOnnx({ ...model, graph: half }, { opset });
    const agreement = worseOf(await agreementOf(bytes, context), await agreementOf(rounded, context));
    checkSound(agreement);
    return { bytes, agreement, keptFloat: kept.length };
  }
}

function checkSound(agreement: readonly Agreement[]): void {
  const lost = agreement.filter((each) => !isSound(each));
  if (lost.length === 0) return;
  const words = lost.map(
    ({ output, sqnrDb, cosine }) => `"${output}" at ${sqnrDb?.toFixed(1)} dB SQNR, cosine ${cosine.toFixed(3)}`,
  );
  throw new FrostbitError("VERIFICATION", `Little is left of what the model computes: ${words.join(", ")}.`);
}
