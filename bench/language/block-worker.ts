// Times a step of Block-AP of one decoder layer in a separate process. One argument: BlockRequest as JSON. Prints a Measured.
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { selectEngine } from "../../src/engines/select.ts";
import type { Context } from "../../src/run/context.ts";
import { type RecordedStep, recordSteps } from "../reconstruction/record-steps.ts";
import { decoderJob, runMethod } from "./decoder-job.ts";
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
const context: Context = { engine: selectEngine(name), seed: 0, threads, precision };

/** The step as a run of Block-AP compiles it, with what its first run is fed. */
async function recordedStep(): Promise<RecordedStep> {
  const job = decoderJob({ ...sizes, length, weights, group, layers: 1 }, 2 * batch);
  const rounded = await runMethod(job, "ptq", {}, job.start, context);
  const options = { trainingSamples: batch, validationSamples: batch, epochs: 1, batch };
  const recorded = await recordSteps(context.engine, (recording, onProgress) =>
    runMethod(job, "efficient-qat", options, rounded, { ...context, engine: recording, onProgress }),
  );
  const [step] = recorded.values();
  return step;
}

/** Its program; what the run before it made and this does not need is nobody's any more. */
async function compiledStep() {
  const { graph, inputs, initial } = await recordedStep();
  const before = performance.now();
  const executable = await context.engine.compile(graph, { threads, precision });
  const compileMs = performance.now() - before;
  const program = executable.bind(await context.engine.variables(initial));
  return { executable, compileMs, run: () => program.run(inputs, { fetch: graph.outputs.slice(0, 1) }) };
}

/** Node collects when it likes; a step is not charged with what came before it, as the peer's is not with its compiler. */
async function collectGarbage(): Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  // Memory that arrays leave is freed by tasks of its own.
  for (let i = 0; i < 3; i++) {
    collect();
    await setTimeout(50);
  }
}

const { executable, compileMs, run } = await compiledStep();
const warmUp = 3;
const stepMs: number[] = [];
for (let i = 0; i < steps + warmUp; i++) {
  if (i === warmUp) {
    await collectGarbage();
    forgetPeak();
  }
  const began = performance.now();
  await run();
  if (i >= warmUp) stepMs.push(performance.now() - began);
}
await executable.dispose();
console.log(JSON.stringify({ stepMs, compileMs, peakMemoryMb: peakMb(), memoryBeforeModelMb }));
