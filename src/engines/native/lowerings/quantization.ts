// Fake quantization and its gradient, over memory as [outer, size, inner] around the axis.
import { assert } from "../../../ir/errors.ts";
import { numberAttribute } from "../../../ops/attributes.ts";
import { resolveAxis } from "../../../ops/operands.ts";
import { multipliesIntegers } from "../integers.ts";
import type { Lowering, NativeOp } from "../lowering.ts";
import { type Codes, fixed, type Layout, memoryOrder, type Value } from "../plan.ts";

/** Around an axis as it lies in memory; without an axis one row holds everything. */
export function around(
  shape: readonly number[],
  axis: number | undefined,
  layout: Layout,
): readonly [outer: number, size: number, inner: number] {
  const product = (sizes: readonly number[]): number => sizes.reduce((result, size) => result * size, 1);
  if (axis === undefined) return [1, 1, product(shape)];
  const order = memoryOrder(shape.length, layout);
  const at = order.indexOf(axis);
  const sizes = order.map((each) => shape[each]);
  return [product(sizes.slice(0, at)), sizes[at], product(sizes.slice(at + 1))];
}

const FakeQuantize: NativeOp = {
  lower: (lowering) => {
    const { node, input, optional, output, emit, emitPart } = lowering;
    const given = numberAttribute(node, "axis");
    if (given === undefined) {
      if (lowerToCodes(lowering)) return;
      const x = input(0);
      const whole = [input(1), optional(2), input(3), input(4)];
      return emitPart("fakeQuantize", { streams: [x], whole, results: [output(0, x.layout)] });
    }
    const x = input(0, "plain");
    emit("fakeQuantize", {
      inputs: [x, input(1), optional(2), input(3), input(4)],
      outputs: [output(0, x.layout)],
      ints: around(fixed(x.shape), resolveAxis(node, given, x.shape.length), x.layout),
      inPlace: [[0, 0]],
    });
  },
};

/** Where integer products read them, quantized activations are held as codes; whether they are. */
function lowerToCodes({ node, graph, uses, numerics, input, optional, define, scratch, emitPart }: Lowering): boolean {
  const [y] = node.outputs;
  const readers = (uses.readers.get(y) ?? []).filter(({ inputs }) => inputs[0] === y);
  if (!readers.some((reader) => multipliesIntegers(reader, graph, uses, numerics))) return false;
  const isImage = readers.some(({ op }) => op === "Conv");
  const x = input(0, isImage ? "channelsLast" : "plain");
  const codes: Codes = { scale: scratch("float32", []), zero: scratch("float32", []) };
  const value: Value = { ...scratch("uint8", x.shape, x.layout), codes };
  const whole = [input(1), optional(2), input(3), input(4)];
  emitPart("quantize", { streams: [x], whole, results: [value], ends: [codes.scale, codes.zero] });
  define(0, value);
  return true;
}

/** The codes of a product's quantized weights, and the scales to read them with. */
export function weightCodes(
  { node, uses, named, scratch, emit }: Lowering,
  input: number,
): { codes: Value; scale: Value } {
  const quantizer = uses.producers.get(node.inputs[input]);
  assert(quantizer, `${node.op}'s weights have no quantizer`);
  const [w, step, , low, high] = quantizer.inputs.map((name) => (name === "" ? undefined : named(name)));
  assert(w && step, "a quantizer has an input and a scale");
  if (quantizer.op === "DequantizeLinear") return { codes: w, scale: step };
  const codes = scratch("int8", w.shape);
  const scale = scratch("float32", step.shape);
  const given = numberAttribute(quantizer, "axis");
  const axis = given === undefined ? undefined : resolveAxis(quantizer, given, w.shape.length);
  emit("quantizeRows", {
    inputs: [w, step, low, high],
    outputs: [codes, scale],
    ints: around(fixed(w.shape), axis, "plain"),
  });
  return { codes, scale };
}

const FakeQuantizeGradient: NativeOp = {
  integers: [6],
  takesRows: true,
  lower: ({ node, input, optional, output, emit, emitPart, size, most, as }) => {
    const given = numberAttribute(node, "axis");
    const x = given === undefined ? input(1) : input(1, "plain");
    const dy = as(input(0), x.layout);
    if (given === undefined && !optional(6)) {
      const whole = [input(2), optional(3), input(4), input(5)];
      return emitPart("fakeQuantizeGradient", {
        ...{ streams: [dy, x], whole },
        ...{ results: [output(0, x.layout)], ends: [output(1), output(2)] },
      });
    }
    const axis = given === undefined ? undefined : resolveAxis(node, given, x.shape.length);
    const shape = around(fixed(x.shape), axis, x.layout);
    const rows = optional(6);
    const mostRows = rows ? Math.min(most(rows.shape[0]), most(dy.shape[axis ?? 0])) : shape[1];
    const count = rows ? size(rows.shape[0]) : shape[1];
    emit("fakeQuantizeGradient", {
      inputs: [dy, x, input(2), optional(3), input(4), input(5), rows],
      outputs: [output(0, x.layout), output(1), output(2)],
      ints: [...shape, count, mostRows],
      inPlace: [[0, 0]],
    });
  },
};

export const quantizationOps: Readonly<Record<string, NativeOp>> = { FakeQuantize, FakeQuantizeGradient };
