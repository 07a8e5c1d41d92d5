import { describe, expect, test } from "vitest";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { type QuantizeOptions, quantizeOptions } from "../quantizers/quantize-options.ts";
import { findSites } from "../quantizers/sites.ts";
import { calibrate } from "./calibrate.ts";

const matrix = (values: readonly number[]): Tensor => tensorOf("float32", [2, 2], values);

/** x → first → second → third; `first` is the first layer's weight. */
function threeLayers(first: readonly number[]): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 2] });
  const layer = (value: string, weight: readonly number[], name: string): string =>
    build.node("Relu", [build.node("MatMul", [value, build.constant(matrix(weight), `${name}.weight`)])], {}, name);
  const second = layer(layer(x, first, "first"), [1, 2, 3, 4], "second");
  return build.graph([layer(build.node("Add", [second, build.scalar(1)], {}, "sum"), [1, 1, 1, 1], "third")]);
}

async function calibrated(
  graph: Graph,
  samples: readonly number[],
  options: Partial<QuantizeOptions> = {},
): Promise<{ scales: ReadonlyMap<string, number>; notes: readonly string[] }> {
  const notes: string[] = [];
  const quantize = quantizeOptions.parse({ placement: "inputs", ...options });
  const qparams = await calibrate(
    graph,
    findSites(graph, quantize),
    async function* () {
      yield new Map([["x", tensorOf("float32", [samples.length / 2, 2], samples)]]);
    },
    { observer: quantize.observer, calibrationSamples: samples.length / 2 },
    { engine: createReferenceEngine(), seed: 0, onNote: (note) => notes.push(note) },
  );
  const scales = new Map([...qparams].map(([name, { scale }]) => [name, numbersOf(scale)[0]]));
  return { scales, notes };
}

describe("a value that was always 0", () => {
  test.each([
    ["inputs", "min-max"],
    ["runtime", "min-max"],
    ["runtime", "percentile"],
    ["runtime", "mse"],
    ["runtime", "entropy"],
  ] as const)("is quantized and noted, placement %s, observer %s", async (placement, observer) => {
    const { scales, notes } = await calibrated(threeLayers([-1, -1, -1, -1]), [1, 2, 3, 4], { placement, observer });
    for (const scale of scales.values()) expect(scale).toBeGreaterThan(0);
    expect(notes).toEqual([expect.stringContaining('"first" was 0 in all calibration samples')]);
  });

  test.each(["inputs", "runtime"] as const)("is refused where it is the input, placement %s", async (placement) => {
    await expect(calibrated(threeLayers([1, 2, 3, 4]), [0, 0, 0, 0], { placement })).rejects.toThrow(
      "The inputs were 0 in all calibration samples",
    );
  });

  test("is refused where all values are", async () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 2] });
    const zero = build.node("Relu", [build.node("Neg", [build.node("Abs", [x])])], {}, "zero");
    const graph = build.graph([build.node("MatMul", [zero, build.constant(matrix([1, 2, 3, 4]), "w.weight")])]);
    await expect(calibrated(graph, [1, 2, 3, 4])).rejects.toThrow("Every value to quantize was 0");
  });
});

describe("a range that its end dominates", () => {
  const scores = [0.1, 0.2, -0.3, 0.4, 0.25, -0.15];

  test.each([
    ["a mask of −10,000", [...scores, -1e4, -1e4]],
    ["a mask of −1e36", [...scores, -1e36, 0]],
    ["one large value", [...scores, 500, 0]],
  ])("is noted: %s", async (_, samples) => {
    const { notes } = await calibrated(threeLayers([1, 0, 0, 1]), samples);
    expect(notes).toContainEqual(expect.stringMatching(/^The range of "x", which MatMul .* reads, ends at ±/));
  });

  test.each([
    ["numbers of one size", scores],
    ["zeros and one number", [0, 7, 0, 7, 7, 0]],
    ["a long tail", Array.from({ length: 400 }, (_, i) => Math.exp(i / 80))],
  ])("is not seen in %s", async (_, samples) => {
    expect((await calibrated(threeLayers([1, 0, 0, 1]), samples)).notes).toEqual([]);
  });
});

describe("channels of very different ranges that one layer reads", () => {
  const years = [31, 45, 22, 60, 38, 51, 27, 44];

  /** A year and dollars of up to 100,000 for each sample; weights of the first and the second. */
  async function notesOf(form: "MatMul" | "Gemm" | "Conv", [ofYears, ofDollars]: readonly number[]) {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 2] });
    const weights = {
      MatMul: [ofYears, ofYears, ofDollars, ofDollars],
      Gemm: [ofYears, ofDollars, ofYears, ofDollars],
    };
    const rows = build.constant(matrix(form === "MatMul" ? weights.MatMul : weights.Gemm));
    const image = (): string => build.node("Reshape", [x, build.ints([0, 2, 1, 1])]);
    const makers = {
      MatMul: () => build.node("MatMul", [x, rows], {}, "first"),
      Gemm: () => build.node("Gemm", [x, rows], { transB: 1 }, "first"),
      Conv: () =>
        build.node("Conv", [image(), build.constant({ ...matrix(weights.Gemm), shape: [2, 2, 1, 1] })], {}, "first"),
    };
    const samples = years.flatMap((year, i) => [year, 1e5 * (i / 8)]);
    const { notes } = await calibrated(build.graph([makers[form]()]), samples);
    return notes;
  }

  test.each(["MatMul", "Gemm", "Conv"] as const)("are noted where the weights make up for it: %s", async (form) => {
    const notes = await notesOf(form, [1, 5e-4]);
    expect(notes).toEqual([expect.stringMatching(/^Channels 0 \(range 38.0\) of .*--layers 'first=float'/)]);
  });

  test.each(["MatMul", "Gemm", "Conv"] as const)("are not where the small ones hardly count: %s", async (form) => {
    expect(await notesOf(form, [1, 1])).toEqual([]);
  });
});

describe("a channel that is rounded to one value, though its weights make it count", () => {
  /** Eight samples are looked at: channel 0 within half a step there, channel 1 up to `wide` steps of the 255 that it reaches later. */
  const samples = (wide: number): readonly number[] => [
    ...Array.from({ length: 8 }, (_, i) => [i % 2 === 0 ? 0 : 0.5, i === 3 ? wide : 0]).flat(),
    ...[0.5, 255],
  ];
  const strong = [100, 100, 1, 1];

  test("is noted where another has a sixteenth of the range in the samples that are looked at", async () => {
    const { notes } = await calibrated(threeLayers(strong), samples(16));
    expect(notes).toEqual([
      expect.stringMatching(
        /^Channels 0 \(range 0\.500\) of "x", .* are rounded to one value: others reach 16\.0, .* step is 1\.00, .*--layers 'first=float'\.$/,
      ),
    ]);
  });

  test("is not where none is as wide there, the weights make it count little, or it has a step", async () => {
    expect((await calibrated(threeLayers(strong), samples(15.5))).notes).toEqual([]);
    expect((await calibrated(threeLayers([1, 1, 1, 1]), samples(16))).notes).toEqual([]);
    const wider = samples(16).map((value) => (value === 0.5 ? 1.5 : value));
    expect((await calibrated(threeLayers(strong), wider)).notes).toEqual([]);
  });
});
