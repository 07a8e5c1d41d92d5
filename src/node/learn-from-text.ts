// What forms of an encoder gain from texts: ranges of activations, and roundings of weights.
import { batches } from "../data/batches.ts";
import { type Dataset, limit, type Source } from "../data/dataset.ts";
import { resolvePreprocess } from "../data/preprocess.ts";
import { holdOut } from "../data/split.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { asProducts, isPackable } from "../forms/packed-weights.ts";
import { type Learned, preparedModel } from "../forms/write-form.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph, OnnxModel } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { runOptions } from "../options/recipe.ts";
import type { RunOptions } from "../options/run-options.ts";
import { withInputTypes } from "../passes/with-input-types.ts";
import { chooseEngine } from "../quantize/choose-engine.ts";
import type { QuantizeJob } from "../quantize/job.ts";
import { makeModel, openRun, quantizeModel } from "../quantize/quantize-model.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import type { Context } from "../run/context.ts";
import { openTexts } from "./open-sentences.ts";

export interface TextJob {
  readonly model: OnnxModel;
  readonly text: string;
  /** With the model's tokenizer.json. */
  readonly folder: string;
  readonly blockSize: number;
  readonly seed: number;
  readonly context: Omit<Context, "engine" | "seed">;
}

/** Texts that forms are compared on, and that nothing is learned from. */
const comparedTexts = 8;

/** Texts that are learned from, at most. */
const mostTexts = 1024;

export async function learnFromText(
  job: TextJob,
): Promise<{ readonly learned: Learned; readonly samples: readonly ReadonlyMap<string, Tensor>[] }> {
  const source = await openSource(job);
  const samples: ReadonlyMap<string, Tensor>[] = [];
  const preprocess = resolvePreprocess("none");
  for await (const { inputs } of batches(source.test, { batchSize: 1, preprocess })) samples.push(inputs);
  let fourBits: Promise<Graph> | undefined;
  return {
    samples,
    learned: {
      int8: () => staticInt8(job, source),
      fourBits: () => {
        fourBits ??= roundedWeights(job, source);
        return fourBits;
      },
    },
  };
}

async function openSource({ model: { graph }, text, folder, seed }: TextJob): Promise<Source> {
  const { inputs, values } = graph;
  const length = values.get(inputs[0])?.shape[1];
  const given = { tokenizer: folder, inputs, ...(typeof length === "number" && { length }) };
  const texts = await openTexts(text, given);
  if (texts.length < 2 * comparedTexts)
    throw new FrostbitError(
      "BAD_DATA",
      `${text} has ${texts.length} texts; expected ${2 * comparedTexts} or more: forms are compared on ${comparedTexts} of them, and learn from the others.`,
    );
  const { train, test } = holdOut(texts, seed, comparedTexts / texts.length);
  return { train: limit(train, mostTexts), test: firstOf(test), heldOut: true };
}

const firstOf = (test: Dataset): Dataset => limit(test, comparedTexts);

function jobOf(source: Source, model: OnnxModel, options: RunOptions): QuantizeJob {
  return { model, source, preprocess: resolvePreprocess("none"), options, openDeployed };
}

const contextOf = ({ seed, context }: TextJob, graph: Graph, options: RunOptions): Context => ({
  ...context,
  engine: chooseEngine("auto", graph, options),
  seed,
});

async function staticInt8(job: TextJob, source: Source): Promise<Uint8Array<ArrayBuffer>> {
  const options = runOptions.parse({ methods: ["ptq"], accuracies: "deployed", seed: job.seed });
  const context = contextOf(job, job.model.graph, options);
  const { bytes } = await quantizeModel(jobOf(source, job.model, options), context);
  return new Uint8Array(bytes);
}

async function roundedWeights(job: TextJob, source: Source): Promise<Graph> {
  const { graph: prepared, origin } = preparedModel(job.model);
  const graph = asProducts(prepared);
  const small = linearLayers(graph).filter((layer) => !isPackable(graph, layer));
  const options = runOptions.parse({
    quantize: {
      weights: 4,
      activations: "float",
      groupSize: job.blockSize,
      layers: Object.fromEntries(small.map(({ name }) => [name, "float"])),
    },
    methods: ["ptq", "gptq"],
    seed: job.seed,
  });
  const run = await openRun(jobOf(source, { graph, origin }, options), contextOf(job, graph, options));
  const { model } = await makeModel(run);
  return withInputTypes(model.graph, run.subject.inputs);
}
