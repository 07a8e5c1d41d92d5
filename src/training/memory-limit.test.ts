import { describe, expect, test } from "vitest";
import { isNativeBuilt, notBuilt } from "../../test/support/native.ts";
import { tinyClassifier } from "../../test/support/tiny-classifier.ts";
import { createNativeEngine } from "../engines/native/native-engine.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import type { Context } from "../run/context.ts";
import { partsThatFit } from "./memory-limit.ts";
import { trainingOptions } from "./options.ts";
import type { StepOptions } from "./step.ts";

const model = tinyClassifier("float32");
const plan = new Map(linearLayers(model).map(({ weight }) => [weight, "all"] as const));
const optionsOf = (parts: number): StepOptions => ({
  batchSize: 64 / parts,
  loss: "cross-entropy",
  optimizer: { kind: "sgd", momentum: 0.9, weightDecay: 0 },
  plan,
  parts,
});
const asked = (memoryLimit?: number) => trainingOptions.parse({ batch: 64, ...(memoryLimit ? { memoryLimit } : {}) });

test("without a limit a batch is in as many parts as asked for", async () => {
  expect(await partsThatFit(model, asked(), optionsOf, { engine: createReferenceEngine(), seed: 0 })).toBe(1);
});

test("an engine that plans no memory refuses a limit", async () => {
  const running = partsThatFit(model, asked(10), optionsOf, { engine: createReferenceEngine(), seed: 0 });
  await expect(running).rejects.toThrow("the reference engine does not");
});

describe.skipIf(!isNativeBuilt)(`on the native engine${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  const context: Context = { engine: createNativeEngine(), seed: 0 };

  test("a limit splits batches into parts, the smaller the more", async () => {
    const parts: number[] = [];
    for (const limit of [100, 0.4, 0.2]) parts.push(await partsThatFit(model, asked(limit), optionsOf, context));
    expect(parts[0]).toBe(1);
    expect(parts[1]).toBeGreaterThan(1);
    expect(parts[2]).toBeGreaterThan(parts[1]);
  });

  test("a limit that not even one sample fits is refused with what it takes", async () => {
    await expect(partsThatFit(model, asked(0.0001), optionsOf, context)).rejects.toThrow("of one sample plans for");
  });
});
