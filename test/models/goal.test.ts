// A run that is told a goal: what it reads, what it leaves, and that its recipe gives the file again.
import { expect, test } from "vitest";
import { limit } from "../../src/data/dataset.ts";
import { memoryDataset } from "../../src/data/memory-dataset.ts";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import { holdOut } from "../../src/data/split.ts";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { tensorOf } from "../../src/ir/tensor.ts";
import { ladderReport } from "../../src/ladder/ladder-report.ts";
import { quantizeToGoal } from "../../src/ladder/quantize-to-goal.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { recipeOf, runOptions } from "../../src/options/recipe.ts";
import { quantizeModel } from "../../src/quantize/quantize-model.ts";
import type { Context } from "../../src/run/context.ts";
import { createRandom } from "../support/random.ts";
import { tinyResidualNet } from "../support/tiny-models.ts";

const model = readOnnx(tinyResidualNet({ size: 8 }), { name: "m.onnx" });
const [input] = model.graph.inputs;
const context = { engine: createReferenceEngine(), seed: 0 };

function samples(count: number, seed: number, hasLabels = true) {
  const random = createRandom(seed);
  const pixels = Array.from({ length: count * 3 * 8 * 8 }, () => random.normal());
  const labels = Array.from({ length: count }, () => Math.floor(random.uniform() * 10));
  return memoryDataset(
    "drawn",
    new Map([[input, tensorOf("float32", [count, 3, 8, 8], pixels)]]),
    ...(hasLabels ? [tensorOf("int64", [count], labels)] : []),
  );
}

/** `events` gets "test" whenever test data are read, and the notes. */
async function reach(
  goal: object,
  hasLabels: boolean,
  events: string[] = [],
  { openDeployed: open = openDeployed, ...watching }: Partial<Context & { openDeployed: typeof openDeployed }> = {},
) {
  const options = runOptions.parse({ goal, quantize: { calibrationSamples: 32, placement: "runtime" }, seed: 3 });
  if (!options.goal) throw new Error("no goal");
  const train = samples(96, 1, hasLabels);
  // The same samples as those that choices are made on: what they say of the file can be compared.
  const drawn = holdOut(train, 3, 0.5).test;
  const watched = {
    ...drawn,
    read: (indices: Int32Array) => {
      events.push("test");
      return drawn.read(indices);
    },
  };
  const source = { train, test: watched, heldOut: false };
  const job = { model, source, preprocess: resolvePreprocess("none"), openDeployed: open };
  const onNote = (note: string) => void events.push(note);
  const asked = { ...options, goal: options.goal };
  return {
    job,
    goalRun: asked,
    ...(await quantizeToGoal({ ...job, options: asked }, { ...context, ...watching, onNote }, {})),
  };
}

test("the test data are read once a file is chosen, and its recipe gives it again", async () => {
  const events: string[] = [];
  const { job, goalRun, outcome, options, climbed, validation } = await reach({ maxDrop: 100 }, true, events);
  expect(validation.samples).toBe(48);
  const rungs = climbed.records.map(({ rung, outcome }) => `${outcome} ${rung.name}`);
  expect(rungs).toEqual([
    "tried weights of 8 bits, min-max ranges",
    "tried weights of 4 bits, adaround",
    "tried weights of 3 bits, adaround",
  ]);
  // Of so small a network 3 bits with zero points are larger than 4 without.
  const lastNote = events.findLastIndex((event) => event.includes("weights of"));
  expect(events.indexOf("test")).toBeGreaterThan(lastNote);
  expect(options.quantize).toMatchObject({ weights: 4, firstLast: 8, calibrationSamples: 32 });
  const { rungs: reported } = ladderReport(climbed, validation, goalRun);
  expect(reported.filter(({ isChosen }) => isChosen)).toEqual([
    expect.objectContaining({ sizeBytes: outcome.bytes.length }),
  ]);
  expect(reported[1].flags).toBe(
    "--method ptq,adaround --weights 4 --first-last 8 --placement runtime --calibration-samples 32 --seed 3",
  );

  const again = await quantizeModel(
    {
      ...job,
      options: runOptions.parse(recipeOf(options)),
      source: { ...job.source, train: limit(job.source.train, 96) },
    },
    context,
  );
  // Made of all training data, those held out among them.
  expect(again.bytes.length).toBe(outcome.bytes.length);
});

test("a file that is slower than the goal's latency ends its rung, before the test data are read", async () => {
  const events: string[] = [];
  let isSlow = false;
  /** The parts that widths are chosen by are fast; the file is not. */
  const openSlowly: typeof openDeployed = async (...file) => {
    const opened = await openDeployed(...file);
    const run: typeof opened.run = async (...given) => {
      if (isSlow) await new Promise((resolve) => setTimeout(resolve, 25));
      return opened.run(...given);
    };
    return { inputs: opened.inputs, outputs: opened.outputs, run, dispose: () => opened.dispose() };
  };
  const onProgress = ({ phase }: { phase: string }): void => {
    if (phase === "measure widths") isSlow = true;
  };
  const slowly = reach({ maxLatency: "20ms" }, true, events, { openDeployed: openSlowly, onProgress });
  await expect(slowly).rejects.toThrow(/^The file takes .* for one sample in ONNX Runtime; maxLatency is 20\.0 ms/);
  expect(events).not.toContain("test");
});

test("without labels the noise of the outputs decides; what no rung reaches is said", async () => {
  const { climbed, outcome } = await reach({ maxDrop: 1e-9, budget: "1s" }, false);
  expect(climbed.isReached).toBe(false);
  const chosen = climbed.records.find(({ rung }) => rung === climbed.chosen);
  if (chosen?.outcome !== "tried") throw new Error("the chosen rung was not tried");
  expect(chosen.drop.what).toBe("noise");
  const [{ sqnrDb }] = outcome.outputs;
  expect(10 * Math.log10(100 / chosen.drop.mean)).toBeCloseTo(sqnrDb);
});
