// Our own kernels against plain loops on the processor at hand, at their first use in a process: whoever wrote them may not have had it.
import type { TypedArray } from "../../ir/dtype.ts";
import type { Graph } from "../../ir/graph.ts";
import { loadAddon, type NativeAddon } from "./addon.ts";

const [images, inputs, outputs, height, width] = [3, 16, 32, 6, 5];
const taps = 9;

/** A 3 × 3 convolution with a pixel of padding, as native/src/steps/convolution.cpp reads it. */
const geometry = [
  ...[images, 1, inputs, outputs, 2, height, width, 2, height, width],
  ...[2, 3, 3, 2, 1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1],
];

const zero = 7;
/** Whole numbers from −low to high, in an order that repeats late. */
const whole = (count: number, seed: number, low: number, high: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => ((Math.imul(i + seed, 0x9e3779b1) >>> 20) % (high - low + 1)) + low);

const pixels = images * height * width;
const x = whole(pixels * inputs, 1, -2, 2);
const dy = whole(pixels * outputs, 2, -1, 1);
const w = whole(outputs * inputs * taps, 3, -1, 1);

/** Of whole numbers that bfloat16 holds. */
const toBfloat16 = (values: Float32Array): Uint16Array =>
  Uint16Array.from(new Uint32Array(values.slice().buffer), (bits) => bits >>> 16);
const fromBfloat16 = (values: Uint16Array): Float32Array =>
  new Float32Array(Uint32Array.from(values, (bits) => bits << 16).buffer);

interface Sums {
  readonly y: Float32Array;
  readonly dx: Float32Array;
  readonly dw: Float32Array;
}

/** What all kernels are to give, exactly. */
function plainSums(): Sums {
  const sums = { y: new Float32Array(dy.length), dx: new Float32Array(x.length), dw: new Float32Array(w.length) };
  const pixel = (image: number, h: number, v: number): number => (image * height + h) * width + v;
  for (let image = 0; image < images; image++)
    for (let h = 0; h < height; h++)
      for (let v = 0; v < width; v++)
        for (let tap = 0; tap < taps; tap++) {
          const [fromH, fromV] = [h + Math.floor(tap / 3) - 1, v + (tap % 3) - 1];
          if (fromH < 0 || fromH >= height || fromV < 0 || fromV >= width) continue;
          addProducts(sums, pixel(image, h, v) * outputs, pixel(image, fromH, fromV) * inputs, tap);
        }
  return sums;
}

function addProducts({ y, dx, dw }: Sums, ofY: number, ofX: number, tap: number): void {
  for (let output = 0; output < outputs; output++)
    for (let input = 0; input < inputs; input++) {
      const ofW = (output * inputs + input) * taps + tap;
      y[ofY + output] += x[ofX + input] * w[ofW];
      dx[ofX + input] += dy[ofY + output] * w[ofW];
      dw[ofW] += x[ofX + input] * dy[ofY + output];
    }
}

interface Check {
  readonly ints: readonly number[];
  /** Operands; the last is the result. */
  readonly operands: readonly (TypedArray | undefined)[];
  readonly expected: keyof Sums;
}

type Stored = (values: Float32Array) => TypedArray;
const asFloat32: Stored = (values) => values;

const inputGradient = (stored: Stored): Check => ({
  ints: geometry,
  operands: [stored(dy), w, stored(new Float32Array(x.length))],
  expected: "dx",
});

const weightGradient = (stored: Stored): Check => ({
  ints: [...geometry, 1, outputs, outputs],
  operands: [
    stored(dy),
    Uint8Array.from(x, (value) => value + zero),
    Float32Array.of(zero),
    Float32Array.of(1),
    undefined,
    new Float32Array(w.length),
  ],
  expected: "dw",
});

const checks: Readonly<Record<string, () => Check>> = {
  convolutionWinograd: () => ({
    ints: geometry,
    operands: [x, w, undefined, new Float32Array(dy.length)],
    expected: "y",
  }),
  convolutionInputGradientWinograd: () => inputGradient(asFloat32),
  weightGradientWinograd: () => weightGradient(asFloat32),
  "convolutionInputGradientWinograd:bfloat16": () => inputGradient(toBfloat16),
  "convolutionInputGradient:dynamic": () => ({
    ints: [...geometry, 1],
    operands: [toBfloat16(dy), Int8Array.from(w), Float32Array.of(1), toBfloat16(new Float32Array(x.length))],
    expected: "dx",
  }),
  "weightGradient:bfloat16": () => weightGradient(toBfloat16),
  "weightGradientWinograd:bfloat16": () => weightGradient(toBfloat16),
};

/** Those that this processor has instructions for. */
function kernelsHere(addon: NativeAddon): readonly string[] {
  const { hasWinograd, hasBfloat16 } = addon.information();
  return Object.keys(checks).filter((kernel) => (/:(bfloat16|dynamic)$/.test(kernel) ? hasBfloat16 : hasWinograd));
}

/** Kernels that give something else than plain loops here; none, where all is well. The addon looks at its own products. */
export async function checkKernels(addon: NativeAddon): Promise<ReadonlySet<string>> {
  const expected = plainSums();
  const faulty = new Set<string>(addon.information().productsDiffer ? ["product:bfloat16"] : []);
  for (const kernel of kernelsHere(addon)) {
    const check = checks[kernel]();
    const given = await resultOf(addon, kernel, check);
    if (given.some((value, i) => value !== expected[check.expected][i])) faulty.add(kernel);
  }
  return faulty;
}

async function resultOf(addon: NativeAddon, kernel: string, { ints, operands }: Check): Promise<Float32Array> {
  const memories = operands.map((operand) => operand && new addon.Memory(operand.byteLength));
  operands.forEach((operand, i) => {
    if (operand) memories[i]?.write(0, operand);
  });
  const present = memories.filter((memory) => memory !== undefined);
  const places = memories.flatMap((memory, i) =>
    memory ? [present.indexOf(memory), 0, operands[i]?.byteLength ?? 0] : [-1, 0, 0],
  );
  const step = {
    kernel,
    places: Float64Array.from(places),
    ints: Float64Array.from(ints),
    floats: new Float64Array(),
  };
  const program = new addon.Program(1, present, [step], 0);
  await program.run(new Float64Array(), []);
  program.dispose();
  const result = operands[operands.length - 1] ?? new Float32Array();
  present[present.length - 1].read(0, result);
  for (const memory of present) memory.dispose();
  return result instanceof Uint16Array ? fromBfloat16(result) : (result as Float32Array);
}

let checked: Promise<ReadonlySet<string>> | undefined;

/** Of the addon at hand, checked once. */
export function faultyKernels(): Promise<ReadonlySet<string>> {
  checked ??= checkKernels(loadAddon());
  return checked;
}

const convolutions: ReadonlySet<string> = new Set(["Conv", "ConvGradientInput", "ConvGradientWeight"]);

/** Those that a graph may not be computed with. */
export const faultyKernelsFor = async (graph: Graph): Promise<ReadonlySet<string>> =>
  graph.nodes.some(({ op }) => convolutions.has(op)) ? faultyKernels() : new Set();
