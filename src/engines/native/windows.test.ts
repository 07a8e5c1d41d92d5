// Which steps go over the same images in turn, and that batches of several windows give what the reference gives.
import { describe, expect, test } from "vitest";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { createRandom } from "../../../test/support/random.ts";
import { runGraph } from "../../../test/support/run-graph.ts";
import type { Graph } from "../../ir/graph.ts";
import { scalar, type Tensor, toNumbers } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { createReferenceEngine } from "../reference/reference-engine.ts";
import { fusedStep } from "./lowering.ts";
import { createNativeEngine } from "./native-engine.ts";
import type { FusedOperation, Slot, Step } from "./plan.ts";
import { joinWindows } from "./windows.ts";

const images = 8;
const slot = (perImage = 1024): Slot => ({ bytes: images * 4 * perImage, location: { kind: "arena" } });
const small = (): Slot => ({ bytes: 64, location: { kind: "arena" } });

const convolution = (x: Slot, w: Slot, y: Slot, kernel = "convolution"): Step => ({
  kernel,
  inputs: [x, w],
  outputs: [y],
  ints: [images],
  floats: [],
  inPlace: [],
});

const opaque = (from: Slot, to: Slot): Step => ({ ...convolution(from, from, to, "copy4"), inputs: [from] });

function elementwise(x: Slot, y: Slot, more: Partial<FusedOperation> & { isLate?: boolean } = {}): Step {
  const { isLate = false, ...operation } = more;
  const plain = { kernel: "unary", elementwise: [x], broadcast: [], results: [y], epilogue: [], ints: [], floats: [] };
  const operations = [{ ...plain, ...operation }];
  return fusedStep({ count: y.bytes / 4, width: 16, operations, isLoad: false, isLate });
}

const join = (steps: readonly Step[], kept: readonly Slot[] = []): readonly (readonly string[])[] =>
  joinWindows(steps, new Set(kept), (step) => step.fused?.isLate ?? false).map(
    ({ kernel, parts }) => parts?.map((part) => part.kernel) ?? [kernel],
  );

const inWindow = ({ location }: Slot): boolean => location.kind === "window";

describe("rows of steps over the same images", () => {
  test("around a convolution become one, and what only they read lies in buffers", () => {
    const [x, a, y, z] = [slot(), slot(), slot(), slot()];
    expect(join([elementwise(x, a), convolution(a, small(), y), elementwise(y, z)], [z])).toEqual([
      ["fused", "convolution", "fused"],
    ]);
    expect([x, a, y, z].map(inWindow)).toEqual([false, true, true, false]);
  });

  test("end where something is known of the whole batch alone", () => {
    const [x, y, z, mean] = [slot(), slot(), slot(), small()];
    const sums = elementwise(x, y, { epilogue: [mean] });
    const next = elementwise(y, z, { broadcast: [mean] });
    expect(join([sums, convolution(y, small(), slot()), next])).toEqual([["fused", "convolution"], ["fused"]]);
    expect(inWindow(y)).toBe(false);
  });

  test("go on where that is known before, as a quantizer's scale is", () => {
    const [x, codes, sums, y, scale] = [slot(), slot(), slot(), slot(), small()];
    const steps = [
      elementwise(x, codes, { kernel: "quantize", epilogue: [scale] }),
      convolution(codes, small(), sums),
      elementwise(sums, y, { broadcast: [scale] }),
    ];
    expect(join(steps)).toEqual([["fused", "convolution", "fused"]]);
  });

  test("have weights that are made meanwhile made before", () => {
    const [x, a, w, packed, y] = [slot(), slot(), small(), small(), slot()];
    expect(join([elementwise(x, a), opaque(w, packed), convolution(a, packed, y)])).toEqual([
      ["copy4"],
      ["fused", "convolution"],
    ]);
  });

  test("do not wait for what is made of themselves", () => {
    const [x, a, turned, y] = [slot(), slot(), small(), slot()];
    expect(join([elementwise(x, a), opaque(a, turned), convolution(a, turned, y)])).toEqual([
      ["fused"],
      ["copy4"],
      ["convolution"],
    ]);
  });

  test("keep what others read or the graph gives in memory", () => {
    const [x, a, b, y, z] = [slot(), slot(), slot(), slot(), slot()];
    join([elementwise(x, a), convolution(a, small(), b), elementwise(b, y), opaque(a, z)], [b]);
    expect([a, b].map(inWindow)).toEqual([false, false]);
  });

  test("are either of the forward pass or of the gradients'", () => {
    const [x, y, z] = [slot(), slot(), slot()];
    expect(join([convolution(x, small(), y), elementwise(y, z, { isLate: true })])).toEqual([
      ["convolution"],
      ["fused"],
    ]);
  });

  test("do not pass images that fit no cache", () => {
    const [x, y, z] = [slot(), slot(1 << 20), slot(1 << 20)];
    expect(join([convolution(x, small(), y), elementwise(y, z)])).toEqual([["convolution"], ["fused"]]);
  });
});

const random = createRandom(3);
const attributes = { kernel_shape: [3, 3], strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1], group: 1 };
const shape = [20, 16, 24, 24];

interface Built {
  readonly graph: Graph;
  readonly inputs: ReadonlyMap<string, Tensor>;
}

/** Two quantized convolutions with a ReLU between, and the gradients of the second, over small whole numbers. */
function built(): Built {
  const build = buildOn();
  const inputs = new Map<string, Tensor>();
  const integers = (name: string, sizes: readonly number[], low: number, high: number): string => {
    inputs.set(name, random.integerTensor("float32", sizes, low, high));
    return build.input(name, { dtype: "float32", shape: sizes });
  };
  const number = (value: number): string => build.constant(scalar("float32", value));
  const codes = (x: string, zero: number, low: number, high: number): string =>
    build.node("FakeQuantize", [x, ...[1, zero, low, high].map(number)]);
  const weights = (name: string): string =>
    build.node("FakeQuantize", [integers(name, [16, 16, 3, 3], -1, 2), number(1), "", number(-7), number(7)]);
  const [first, second] = [weights("w1"), weights("w2")];
  const hidden = build.node("Relu", [
    build.node("Conv", [codes(integers("x", shape, -2, 3), 3, 0, 15), first], attributes),
  ]);
  const q = codes(hidden, 0, 0, 15);
  const y = build.node("Conv", [q, second], attributes);
  const dy = build.node("Neg", [integers("dy", shape, -1, 2)]);
  const dq = build.node("Relu", [build.node("ConvGradientInput", [dy, second], { ...attributes, spatial: [24, 24] })]);
  const dw = build.node("ConvGradientWeight", [dy, q], attributes);
  return { graph: build.graph([y, dq, dw]), inputs };
}

describe.skipIf(!isNativeBuilt)(`batches of several windows${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  const engine = createNativeEngine();
  const { graph, inputs } = built();

  const run = async (precision: "float32" | "mixed", threads: number, given = inputs) => {
    const executable = await engine.compile(graph, { precision, threads });
    const results = await executable.bind(await engine.variables(new Map())).run(given);
    await executable.dispose();
    return graph.outputs.map((name) => toNumbers(results.get(name) as Tensor));
  };

  test.each(isNativeBuilt ? engine.precisions : [])("give what the reference gives in %s", async (precision) => {
    const expected = await runGraph(createReferenceEngine(), graph, inputs);
    const wanted = graph.outputs.map((name) => toNumbers(expected.get(name) as Tensor));
    for (const threads of [1, 3]) expect(await run(precision, threads)).toEqual(wanted);
  });

  test("show what is no number in the image that has it", async () => {
    const [x] = [inputs.get("x")];
    const perImage = 16 * 24 * 24;
    const odd: Tensor = { ...(x as Tensor), data: Float32Array.from(toNumbers(x as Tensor)) };
    odd.data[13 * perImage + 1] = Number.NaN;
    for (const threads of [1, 3]) {
      const [y] = await run("float32", threads, new Map([...inputs, ["x", odd]]));
      expect(y.slice(13 * perImage, 14 * perImage).some(Number.isNaN)).toBe(true);
    }
  });

  test.each(isNativeBuilt ? engine.precisions : [])("%s: show it in no images of other threads", async (precision) => {
    const [x] = [inputs.get("x")];
    const odd: Tensor = { ...(x as Tensor), data: Float32Array.from(toNumbers(x as Tensor)) };
    odd.data[1] = Number.NaN;
    const executable = await engine.compile(graph, { precision, threads: 3 });
    const program = executable.bind(await engine.variables(new Map()));
    for (let run = 0; run < 30; run++) {
      const results = await program.run(new Map([...inputs, ["x", odd]]));
      const y = toNumbers(results.get(graph.outputs[0]) as Tensor);
      expect(y.slice(0, y.length / shape[0]).some(Number.isNaN)).toBe(true);
      expect(y.slice(y.length / 2).every(Number.isFinite)).toBe(true);
    }
    await executable.dispose();
  });
});
