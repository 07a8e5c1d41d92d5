// A random decoder, windows of tokens, and methods of the product that run on them.
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import { textDataset } from "../../src/language-models/text-data.ts";
import { methodOf } from "../../src/methods/index.ts";
import type { MethodModel } from "../../src/methods/method.ts";
import { quantizeOptions } from "../../src/quantizers/quantize-options.ts";
import type { Context } from "../../src/run/context.ts";
import { type DecoderSizes, randomDecoder, vocabulary } from "../support/random-decoder.ts";
import type { BlockWork } from "./request.ts";

interface DecoderWork extends DecoderSizes, Pick<BlockWork, "length" | "weights" | "group"> {
  readonly layers: number;
}

export function decoderJob({ length, weights, group, layers, ...sizes }: DecoderWork, count: number) {
  const windows = Array.from({ length: count }, (_, row) =>
    Array.from({ length }, (_, i) => (7 * row + 11 * i) % vocabulary),
  );
  const graph = randomDecoder(sizes, length, layers);
  const start: MethodModel = {
    graph,
    original: graph,
    float: graph,
    quantize: quantizeOptions.parse({ weights, groupSize: group, activations: "float" }),
    outputs: undefined,
  };
  return {
    start,
    data: { train: textDataset("text", windows), preprocess: resolvePreprocess("none") },
    scales: "any",
    isRounded: false,
    fileBytes: () => 0,
    timeFiles: async () => [],
    loadSolver: () => Promise.reject(new Error("there is no budget")),
  } as const;
}

export async function runMethod(
  job: ReturnType<typeof decoderJob>,
  method: string,
  options: object,
  model: MethodModel,
  context: Context,
): Promise<MethodModel> {
  const { options: schema, run } = methodOf({ method });
  return (await run({ ...job, model, options: schema.parse(options) }, context)).model;
}
