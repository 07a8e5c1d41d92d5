import { describe, expect, test } from "vitest";
import { isNativeBuilt, notBuilt } from "../../test/support/native.ts";
import { tinyClassifier } from "../../test/support/tiny-classifier.ts";
import { createNativeEngine } from "../engines/native/native-engine.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import type { Context } from "../run/context.ts";
import { microBatchesThatFit } from "./memory-limit.ts";
import { trainingOptions } from "./options.ts";
import { buildPlannedStep } from "./planned-step.ts";
import type { Step } from "./step.ts";

const model = tinyClassifier("float32");
const plan = new Map(linearLayers(model).map(({ weight }) => [weight, "all"] as const));
const stepOf = (microBatches: number): Step =>
  buildPlannedStep(model, {
    batchSize: 64 / microBatches,
    loss: "cross-entropy",
    optimizer: { kind: "sgd", momentum: 0.9, weightDecay: 0 },
    plan,
    microBatches,
  });
const asked = (memoryLimit?: number) => trainingOptions.parse({ batch: 64, ...(memoryLimit ? { memoryLimit } : {}) });

test("without a limit a batch is in as many micro-batches as asked for", async () => {
  expect(await microBatchesThatFit(asked(), stepOf, { engine: createReferenceEngine(), seed: 0 })).toBe(1);
});

test("an engine that plans no memory refuses a limit", async () => {
  const running = microBatchesThatFit(asked(10), stepOf, { engine: createReferenceEngine(), seed: 0 });
  await expect(running).rejects.toThrow("the reference engine does not");
});

describe.skipIf(!isNativeBuilt)(`on the native engine${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  const context: Context = { engine: createNativeEngine(), seed: 0 };

  test("a limit splits batches into micro-batches, the smaller the more", async () => {
    const counts: number[] = [];
    for (const limit of [100, 0.4, 0.2]) counts.push(await microBatchesThatFit(asked(limit), stepOf, context));
    expect(counts[0]).toBe(1);
    expect(counts[1]).toBeGreaterThan(1);
    expect(counts[2]).toBeGreaterThan(counts[1]);
  });

  test("a limit that not even one sample fits is refused with what it takes", async () => {
    await expect(microBatchesThatFit(asked(0.0001), stepOf, context)).rejects.toThrow("of one sample plans for");
  });
});
