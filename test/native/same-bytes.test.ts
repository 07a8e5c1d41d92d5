// What threads share while they run must not depend on who comes first: the same bytes again and again, while another program
// takes the cores away now and then.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import type { Executable, Precision } from "../../src/engines/engine.ts";
import { createNativeEngine } from "../../src/engines/native/native-engine.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { rowStep } from "../engines/row-step.ts";
import { quantized } from "../models/quantized.ts";
import { batchFor, type TinyModel, tinyModels } from "../models/tiny-models.ts";
import { isNativeBuilt, notBuilt } from "../support/native.ts";
import { tinyClassifier } from "../support/tiny-classifier.ts";

interface Work {
  readonly graph: Graph;
  readonly inputs: ReadonlyMap<string, Tensor>;
  /** What its variables are at the start. */
  readonly initial: ReadonlyMap<string, Tensor>;
}

const engine = createNativeEngine();
const wave = (length: number): number[] => Array.from({ length }, (_, i) => Math.sin(i * 0.7) * 2);

/** A convolution of 8-bit codes with 4-bit weights, packed anew by each thread at each run. */
function integerConvolution(): Work {
  const build = buildOn();
  const one = (value: number): string => build.constant(tensorOf("float32", [], [value]));
  const x = build.input("x", { dtype: "float32", shape: [16, 16, 16, 16] });
  const codes = build.node("FakeQuantize", [x, one(0.02), one(120), one(0), one(255)]);
  const w = build.constant(tensorOf("float32", [32, 16, 3, 3], wave(32 * 16 * 9)));
  const weights = build.node("FakeQuantize", [w, one(0.3), undefined, one(-7), one(7)]);
  return {
    graph: build.graph([build.node("Conv", [codes, weights], { pads: [1, 1, 1, 1] })]),
    inputs: new Map([["x", tensorOf("float32", [16, 16, 16, 16], wave(16 ** 4))]]),
    initial: new Map(),
  };
}

/** Channels and batches so large that the threads divide the steps. */
const residual: TinyModel = {
  ...tinyModels[0],
  name: "residual network",
  build: (dtype) => tinyClassifier(dtype, 1, 16),
};
const transformer = tinyModels[2];

async function training(model: TinyModel, batch: number): Promise<Work> {
  const { step, inputs } = await rowStep(model, batch);
  return { graph: step.graph, inputs, initial: step.initial };
}

async function evaluation(model: TinyModel, batch: number): Promise<Work> {
  const graph = await quantized(model, "float32", { weights: 4, activations: 8 });
  return { graph, inputs: new Map([["input", batchFor(model, "float32", batch).images]]), initial: new Map() };
}

const cases: readonly (readonly [name: string, precision: Precision, make: () => Promise<Work>])[] = [
  ["an integer convolution", "float32", async () => integerConvolution()],
  ...(["float32", "mixed"] as const).flatMap((precision) => [
    [`training of a residual network, ${precision}`, precision, () => training(residual, 48)] as const,
    [`evaluation of a residual network, ${precision}`, precision, () => evaluation(residual, 48)] as const,
    [`training of a transformer, ${precision}`, precision, () => training(transformer, 640)] as const,
    [`evaluation of a transformer, ${precision}`, precision, () => evaluation(transformer, 640)] as const,
  ]),
];

/** A digest of all that some runs in a row give and leave in the variables. */
async function bytesOf({ graph, inputs, initial }: Work, executable: Executable, runs: number): Promise<string> {
  const hash = createHash("sha256");
  const add = ({ data }: Tensor): void =>
    void hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  const variables = await engine.variables(initial);
  const program = executable.bind(variables);
  for (let run = 0; run < runs; run++) {
    const results = await program.run(inputs);
    for (const name of graph.outputs) add(results.get(name) as Tensor);
  }
  for (const name of variables.names()) add(await variables.read(name));
  variables.dispose();
  return hash.digest("hex");
}

/** Compiles and runs the work over and over on `threads` threads; as many as were seen. */
async function seenOf(work: Work, precision: Precision, threads: number, times: number): Promise<ReadonlySet<string>> {
  const seen = new Set<string>();
  for (let i = 0; i < times; i++) {
    const executable = await engine.compile(work.graph, { threads, precision });
    seen.add(await bytesOf(work, executable, 3));
    await executable.dispose();
  }
  return seen;
}

/** Keeps a pool of its own busy, by fits and starts, until it is told to stop. */
function disturb(): () => Promise<void> {
  const noise = integerConvolution();
  let isOver = false;
  const run = async (): Promise<void> => {
    const executable = await engine.compile(noise.graph, { threads: 3 });
    const program = executable.bind(await engine.variables(new Map()));
    for (let i = 0; !isOver; i++) {
      await program.run(noise.inputs);
      await new Promise((resolve) => setTimeout(resolve, i % 3));
    }
    await executable.dispose();
  };
  const running = run();
  return async () => {
    isOver = true;
    await running;
  };
}

const times = Number(process.env["FROSTBIT_SAME_BYTES"] ?? 3);

describe.skipIf(!isNativeBuilt)(`native programs${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  test("of an integer convolution give the same bytes on 2 threads, compiled again and again", async () => {
    expect((await seenOf(integerConvolution(), "float32", 2, 30)).size).toBe(1);
  });

  const runnable = cases.filter(([, precision]) => !isNativeBuilt || engine.precisions?.includes(precision));
  test.each(runnable)(
    "of %s give the same bytes whenever their threads are interrupted",
    async (_, precision, make) => {
      const work = await make();
      const stop = disturb();
      try {
        for (const threads of [2, 3])
          expect((await seenOf(work, precision, threads, times)).size, `${threads} threads`).toBe(1);
      } finally {
        await stop();
      }
    },
  );

  test("have no primitive of oneDNN's that works in memory of the library's, which threads would share", async () => {
    const script = `
      const { buildOn, selectEngine, tensorOf } = await import("frostbit");
      const engine = selectEngine("native");
      const build = buildOn();
      const one = (value) => build.constant(tensorOf("float32", [], [value]));
      const codes = (x, low, high) => build.node("FakeQuantize", [x, one(0.5), undefined, one(low), one(high)]);
      const zeros = (...shape) => tensorOf("float32", shape, new Float32Array(shape.reduce((a, b) => a * b, 1)));
      const x = build.input("x", { dtype: "float32", shape: [8, 16, 16, 16] });
      const a = build.input("a", { dtype: "float32", shape: [256, 256] });
      const w = build.constant(zeros(32, 16, 3, 3));
      const pads = { kernel_shape: [3, 3], pads: [1, 1, 1, 1] };
      const window = { ...pads, strides: [1, 1], dilations: [1, 1], group: 1 };
      const y = build.node("Conv", [codes(x, 0, 255), codes(w, -7, 7)], pads);
      const plain = build.node("Conv", [x, w], pads);
      const dx = build.node("ConvGradientInput", [plain, w], { ...window, spatial: [16, 16] });
      const dw = build.node("ConvGradientWeight", [plain, x], window);
      const graph = build.graph([y, dx, dw, build.node("MatMul", [a, a])]);
      for (const precision of engine.precisions) {
        const program = (await engine.compile(graph, { threads: 2, precision })).bind(await engine.variables(new Map()));
        await program.run(new Map([["x", zeros(8, 16, 16, 16)], ["a", zeros(256, 256)]]));
      }`;
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", script], {
      cwd: join(import.meta.dirname, "../.."),
      env: { ...process.env, DNNL_VERBOSE: "1", ONEDNN_VERBOSE: "1" },
    });
    const executed = stdout.split("\n").filter((line) => /verbose,(.*,)?exec,/.test(line));
    for (const kind of ["convolution", "reorder", ...(engine.precisions?.includes("mixed") ? ["matmul"] : [])])
      expect(
        executed.some((line) => line.includes(`,${kind},`)),
        kind,
      ).toBe(true);
    // oneDNN 3 tells of its C functions for products too, which are no primitives.
    const primitives = executed.filter((line) => !line.includes(",gemm_api,"));
    expect(primitives.filter((line) => !line.includes("scratchpad:user"))).toEqual([]);
  });
});
