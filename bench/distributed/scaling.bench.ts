// How far ResNet-20's training scales over machines: computed from what one process of several takes of its processor, and from the
// bytes and messages it sends. Times on the wire are computed as well: processes on one machine say nothing about them. One thread
// computes, since threads that wait for each other take processor time too; a step is taken to be shorter by the number of cores.
import { parseArgs } from "node:util";
import { batches as cifar } from "../../src/data/batches.ts";
import { matchInputs } from "../../src/data/dataset.ts";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import { shuffledOrder } from "../../src/data/sampler.ts";
import { createCommunicator } from "../../src/distributed/communicator.ts";
import type { Transport } from "../../src/distributed/transport.ts";
import { createNativeEngine } from "../../src/engines/native/native-engine.ts";
import { efqat } from "../../src/methods/efqat/efqat.ts";
import { efqatOptions } from "../../src/methods/efqat/options.ts";
import { trainEverything } from "../../src/methods/train-everything.ts";
import { openData } from "../../src/node/open-data.ts";
import type { Context } from "../../src/run/context.ts";
import { trainingOptions } from "../../src/training/options.ts";
import { type PlanSource, trainByPlan } from "../../src/training/train-by-plan.ts";
import { dataFolder, loadNow, writeResults } from "../support/machine.ts";
import { benchModel, quantized } from "../support/model-step.ts";

const { values } = parseArgs({
  options: {
    steps: { type: "string", default: "20" },
    rounds: { type: "string", default: "3" },
    batch: { type: "string", default: "128" },
    accumulate: { type: "string", default: "8" },
    cores: { type: "string", default: "2,8" },
    precision: { type: "string", default: "mixed" },
    processes: { type: "string", default: "2,4,8" },
    gigabits: { type: "string", default: "10" },
    "latency-us": { type: "string", default: "50" },
  },
});
const [steps, rounds, batch, accumulate, gigabits, latencyUs] = [
  values.steps,
  values.rounds,
  values.batch,
  values.accumulate,
  values.gigabits,
  values["latency-us"],
].map(Number);
const precision = values.precision === "float32" ? "float32" : "mixed";

/** Process 0 of so many, the others sending zeros at once: it does all that one of them does but wait. */
const alone = (size: number): Transport => {
  const done = { isDone: () => true };
  return {
    rank: 0,
    size,
    send: () => done,
    receive: (_, __, into) => {
      into.fill(0);
      return done;
    },
    waiting: () => undefined,
    pause: async () => undefined,
  };
};

const engine = createNativeEngine();
const graph = benchModel("resnet20");
const sizes = graph.values.get(graph.inputs[0])?.shape.slice(1).map(Number) ?? [];
const compile = { precision, threads: 1 } as const;
const model = await quantized(graph, engine, { batch, compile, weights: 4, activations: 8 }, sizes);
const { train } = await openData(`cifar10:${dataFolder()}/cifar10`);
const data = matchInputs(train, graph);
const preprocess = resolvePreprocess("imagenet");
const plans: Readonly<Record<string, PlanSource>> = {
  QAT: trainEverything(model),
  "EfQAT CWPN 5 %": efqat(model, { ...efqatOptions.parse({ mode: "cwpn", updateRatio: 0.05 }), seed: 0 }),
};

interface Measured {
  /** Of a step. */
  readonly processorMs: number;
  readonly summedBytes: number;
  readonly sentBytes: number;
  readonly messages: number;
}

async function measure(plan: PlanSource, size: number, parts: number): Promise<Measured> {
  const communicator =
    size === 1 ? undefined : await createCommunicator(alone(size), { timeoutMs: 1e6, name: "this one" });
  const start = { done: 0, processor: process.cpuUsage() };
  let processorMs = 0;
  const context: Context = {
    engine,
    seed: 0,
    ...compile,
    ...(communicator && { communicator }),
    onProgress: ({ done }) => {
      const step = done / batch;
      // The first steps compile, and warm caches.
      if (step === 3) start.processor = process.cpuUsage();
      const { user, system } = process.cpuUsage(start.processor);
      processorMs = (user + system) / 1000 / (step - 3);
    },
  };
  const order = shuffledOrder(data.length, 0, 0);
  const options = { batchSize: batch, preprocess, order, dropLast: true, share: communicator };
  const augment = { operations: ["crop", "flip"], seed: 0, epoch: 0 } as const;
  await trainByPlan(
    {
      model,
      options: trainingOptions.parse({ batch, accumulate: parts, freezeStatistics: 1 }),
      plan,
      steps: steps + 3,
      batches: () => cifar(data, { ...options, augment }),
    },
    context,
  );
  const { summedBytes = 0, sentBytes = 0, messages = 0, sums = 1 } = communicator?.traffic() ?? {};
  return {
    processorMs,
    summedBytes: summedBytes / sums,
    sentBytes: sentBytes / sums,
    messages: messages / sums,
  };
}

/** The run that others disturbed least. */
async function least(plan: PlanSource, size: number, parts = accumulate): Promise<Measured> {
  const all: Measured[] = [];
  for (let round = 0; round < rounds; round++) all.push(await measure(plan, size, parts));
  return all.reduce((best, each) => (each.processorMs < best.processorMs ? each : best));
}

const loadBefore = loadNow();
const figures: object[] = [];
for (const [name, plan] of Object.entries(plans)) {
  const whole = await least(plan, 1, 1);
  const one = await least(plan, 1);
  console.log(
    `${name}: ${one.processorMs.toFixed(1)} ms of processor time a step in ${accumulate} parts, ${whole.processorMs.toFixed(1)} ms in one`,
  );
  for (const size of values.processes.split(",").map(Number)) {
    const found = await least(plan, size);
    const wireMs = (found.sentBytes * 8) / (gigabits * 1e6) + (found.messages * latencyUs) / 1000;
    const efficiencies = values.cores.split(",").map((cores) => {
      const stepMs = found.processorMs / Number(cores) + wireMs;
      return { cores: Number(cores), efficiency: one.processorMs / Number(cores) / (size * stepMs) };
    });
    figures.push({
      name,
      size,
      ...found,
      wireMs,
      efficiencies,
      oneProcessorMs: one.processorMs,
      wholeMs: whole.processorMs,
    });
    console.log(
      `  ${size} processes: ${found.processorMs.toFixed(1)} ms each, ${Math.round(found.sentBytes)} bytes of ${Math.round(found.summedBytes)} summed in ${found.messages} messages, ${wireMs.toFixed(2)} ms on the wire: efficiency ${efficiencies.map(({ cores, efficiency }) => `${(100 * efficiency).toFixed(1)} % with ${cores} cores each`).join(", ")}`,
    );
  }
}
writeResults("scaling", loadBefore, { batch, accumulate, precision, gigabits, latencyUs, figures });
