// Times a step of Block-AP of one decoder layer in a separate process. One argument: BlockRequest as JSON. Prints a Measured.
import { readFileSync, writeFileSync } from "node:fs";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import { selectEngine } from "../../src/engines/select.ts";
import { textDataset } from "../../src/language-models/text-data.ts";
import { methodOf } from "../../src/methods/index.ts";
import type { MethodModel } from "../../src/methods/method.ts";
import { quantizeOptions } from "../../src/quantizers/quantize-options.ts";
import type { Context } from "../../src/run/context.ts";
import { recordSteps } from "../reconstruction/record-steps.ts";
import { randomDecoder, vocabulary } from "../support/random-decoder.ts";
import type { BlockRequest } from "./request.ts";

const megabytes = (bytes: number): number => bytes / 2 ** 20;
/** The peer's is read in the same way: without what came before the steps that are timed. */
const forgetPeak = (): void => writeFileSync("/proc/self/clear_refs", "5");
const peakMb = (): number => Number(/VmHWM:\s*(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) / 1024;

const {
  engine: name,
  precision,
  threads,
  batch,
  length,
  steps,
  weights,
  group,
  ...sizes
} = JSON.parse(process.argv[2]) as BlockRequest;
const memoryBeforeModelMb = megabytes(process.memoryUsage.rss());
const engine = selectEngine(name);
const context: Context = { engine, seed: 0, threads, precision };
const windows = Array.from({ length: 2 * batch }, (_, row) =>
  Array.from({ length }, (_, i) => (7 * row + 11 * i) % vocabulary),
);
const graph = randomDecoder(sizes, length);
const start: MethodModel = {
  graph,
  original: graph,
  float: graph,
  quantize: quantizeOptions.parse({ weights, groupSize: group, activations: "float" }),
  outputs: undefined,
};
const job = {
  data: { train: textDataset("text", windows), preprocess: resolvePreprocess("none") },
  scales: "any",
  isRounded: false,
  fileBytes: () => 0,
  timeFiles: async () => [],
  loadSolver: () => Promise.reject(new Error("there is no budget")),
} as const;
const run = async (method: string, options: object, model: MethodModel, at: Context): Promise<MethodModel> => {
  const { options: schema, run: runMethod } = methodOf({ method });
  return (await runMethod({ ...job, model, options: schema.parse(options) }, at)).model;
};
const rounded = await run("ptq", {}, start, context);
const options = { trainingSamples: batch, validationSamples: batch, epochs: 1, batch };
const recorded = await recordSteps(engine, (recording, onProgress) =>
  run("efficient-qat", options, rounded, { ...context, engine: recording, onProgress }),
);
const [step] = recorded.values();
const before = performance.now();
const executable = await engine.compile(step.graph, { threads, precision });
const compileMs = performance.now() - before;
const program = executable.bind(await engine.variables(step.initial));
const warmUp = 3;
const stepMs: number[] = [];
for (let i = 0; i < steps + warmUp; i++) {
  if (i === warmUp) forgetPeak();
  const began = performance.now();
  await program.run(step.inputs, { fetch: step.graph.outputs.slice(0, 1) });
  if (i >= warmUp) stepMs.push(performance.now() - began);
}
await executable.dispose();
console.log(JSON.stringify({ stepMs, compileMs, peakMemoryMb: peakMb(), memoryBeforeModelMb }));
