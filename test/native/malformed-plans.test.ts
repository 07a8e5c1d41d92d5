// Plans with wrong sizes, places, kinds and indices: each an error or a run, never the end of the process.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serialize } from "node:v8";
import { describe, expect, test, vi } from "vitest";
import { gradient } from "../../src/autodiff/gradient.ts";
import type { Precision } from "../../src/engines/engine.ts";
import type { NativeAddon } from "../../src/engines/native/addon.ts";
import { createNativeEngine } from "../../src/engines/native/native-engine.ts";
import { tensorOf, zeros } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { engineExamples } from "../engines/engine-examples.ts";
import { caseOf } from "../engines/example-case.ts";
import { rowStep } from "../engines/row-step.ts";
import { tinyModels } from "../models/tiny-models.ts";
import { titleOf } from "../operators/examples/example.ts";
import { examples } from "../operators/examples/index.ts";
import { addonPath, isNativeBuilt, notBuilt } from "../support/native.ts";
import { tinyClassifier } from "../support/tiny-classifier.ts";
import { createRecorder, type RecordedPlan } from "./recorded-plans.ts";

const plans = vi.hoisted((): RecordedPlan[] => []);

vi.mock("../../src/engines/native/addon.ts", async (importActual) => {
  const actual = await importActual<{ loadAddon: () => NativeAddon }>();
  return { ...actual, loadAddon: () => createRecorder(plans, actual.loadAddon()) };
});

/** A whole step: what operators that stand together are fused into. */
async function recordTraining(precision: Precision): Promise<void> {
  const { step, inputs } = await rowStep({ ...tinyModels[0], name: "residual", build: tinyClassifier });
  const engine = createNativeEngine();
  const executable = await engine.compile(step.graph, { threads: 2, precision });
  await executable.bind(await engine.variables(step.initial)).run(inputs);
  const last = plans.at(-1);
  for (let i = 0; last && i < 20; i++) plans.push({ ...last, title: `a training step in ${precision}` });
}

/** Attention, one sample's scores masked by an input, and its gradient. */
async function recordAttention(precision: Precision): Promise<void> {
  const build = buildOn();
  const input = (name: string, ...shape: number[]): string => build.input(name, { dtype: "float32", shape });
  const [q, k, v, mask] = [
    input("q", 2, 3, 300, 8),
    input("k", 2, 3, 8, 300),
    input("v", 2, 3, 300, 5),
    input("mask", 2, 1, 300, 300),
  ];
  const masks = [mask, build.constant(tensorOf("float32", [300, 300], triangle(300)))];
  for (const each of masks) {
    const p = build.node("Softmax", [build.node("Add", [build.node("MatMul", [q, k]), each])], { axis: -1 });
    const loss = build.node("ReduceSum", [build.node("MatMul", [p, v])], { keepdims: 0 });
    const { graph, gradients } = gradient(build.graph([loss]), loss, new Map([q, k, v].map((name) => [name, "all"])));
    const engine = createNativeEngine();
    const outputs = [loss, ...gradients.values()];
    const executable = await engine.compile({ ...graph, outputs }, { threads: 2, precision });
    const inputs = new Map(
      graph.inputs.map((name) => [name, zeros("float32", graph.values.get(name)?.shape.map(Number) ?? [])]),
    );
    await executable.bind(await engine.variables(new Map())).run(inputs);
    const last = plans.at(-1);
    expect(last?.steps.map(({ kernel }) => kernel.split(":")[0])).toEqual(
      expect.arrayContaining(["attention", "attentionGradient"]),
    );
    for (let i = 0; last && i < 20; i++) plans.push({ ...last, title: `attention in ${precision}` });
  }
}

/** A product of codes, and the gradient of its input, which is rounded to 8 bits or stays float32. */
async function recordDynamicProducts(): Promise<void> {
  const build = buildOn();
  const codes = (value: string, low: number, high: number): string =>
    build.node("FakeQuantize", [value, build.scalar(0.1), "", build.scalar(low), build.scalar(high)]);
  const input = (name: string, ...shape: number[]): string => build.input(name, { dtype: "float32", shape });
  const x = input("x", 133, 130);
  const [w, dy] = [codes(input("w", 130, 93), -7, 7), input("dy", 133, 93)];
  const y = build.node("MatMul", [codes(x, 0, 255), w]);
  const dx = build.node("MatMul", [dy, build.node("Transpose", [w], { perm: [1, 0] })]);
  for (const gradient of [dx, build.node("Neg", [dx])]) {
    const graph = build.graph([y, gradient]);
    const engine = createNativeEngine();
    const executable = await engine.compile(graph, { threads: 2, precision: "mixed", gradients: [gradient] });
    const inputs = new Map(
      graph.inputs.map((name) => [name, zeros("float32", graph.values.get(name)?.shape.map(Number) ?? [])]),
    );
    await executable.bind(await engine.variables(new Map())).run(inputs);
    const last = plans.at(-1);
    expect(last?.steps.map(({ kernel }) => kernel.slice(0, 15))).toContain("product:dynamic");
    for (let i = 0; last && i < 20; i++) plans.push({ ...last, title: "a gradient in 8 bits" });
  }
}

const triangle = (size: number): readonly number[] =>
  Array.from({ length: size * size }, (_, i) => (i % size <= Math.floor(i / size) ? 0 : -1e38));

async function recordPlans(): Promise<void> {
  const engine = createNativeEngine();
  for (const precision of engine.precisions ?? []) await recordTraining(precision);
  for (const precision of engine.precisions ?? []) await recordAttention(precision);
  if (engine.precisions?.includes("mixed")) await recordDynamicProducts();
  for (const example of [...examples, ...engineExamples]) {
    const { graph, inputs } = caseOf(example, "float32");
    if (graph.nodes.some((node) => !engine.supports(node, graph))) continue;
    const executable = await engine.compile(graph, { threads: 2 });
    await executable.bind(await engine.variables(new Map())).run(inputs);
    const last = plans.at(-1);
    if (last) last.title = titleOf(example);
  }
}

describe.skipIf(!isNativeBuilt)(`the addon${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  test("refuses or runs every malformed plan, and outlives it", async () => {
    await recordPlans();
    const folder = mkdtempSync(join(tmpdir(), "frostbit-plans-"));
    try {
      const file = join(folder, "plans");
      writeFileSync(file, serialize(plans));
      const script = join(import.meta.dirname, "mutate-plans.js");
      const rounds = process.env["FROSTBIT_FUZZ_ROUNDS"] ?? "4";
      const seed = process.env["FROSTBIT_FUZZ_SEED"] ?? "1";
      const child = spawnSync(process.execPath, [script, addonPath, file, seed, rounds], { encoding: "utf8" });
      const last = readFileSync(`${file}.last`, "utf8").trim();
      expect([child.signal, child.status, child.stderr], `last change: ${last}`).toEqual([null, 0, ""]);
      const { plans: ran, refused } = JSON.parse(child.stdout) as { plans: number; refused: number };
      expect(ran).toBe(plans.length);
      expect(refused).toBeGreaterThan(plans.length);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }, 600_000);
});
