// The kernels that compute a convolution or a gradient of one: which serve, which is taken where nothing was measured, and what
// they are measured as.
import type { Node } from "../../ir/graph.ts";
import { type Geometry, implementationOf, isFast } from "./convolution-geometry.ts";
import { fitsSums } from "./integers.ts";
import type { Candidate, Numerics, Operand, TrialStep } from "./lowering.ts";
import { maxBufferBytes } from "./windows.ts";

/** What is to be computed. */
export interface ConvolutionCall {
  readonly direction: keyof typeof kernels;
  readonly geometry: Geometry;
  /** Whether bfloat16 will do. */
  readonly mayNarrow: boolean;
  /** Whether 8-bit codes are at hand: of a weight gradient those that x is stored as, of an input gradient the weights'. */
  readonly hasCodes?: boolean;
  /** Of a weight gradient: of at most so many rows, which the run chooses; absent: of all. */
  readonly maxRows?: number;
}

interface Asked extends ConvolutionCall {
  readonly numerics: Numerics;
}

interface Kernel {
  readonly name: string;
  /** Whether it computes this here; absent: always. */
  readonly serves?: (asked: Asked) => boolean;
  /** Whether it is taken where nothing was measured, unless one before it is; absent: always. */
  readonly isPreferred?: (asked: Asked) => boolean;
  /** What is measured of so many images. */
  readonly trial: (call: ConvolutionCall, images: number) => readonly TrialStep[];
}

/** Transforming a weight takes about as long as multiplying it with 30 tiles. */
const hasTiles = ({ geometry }: Asked): boolean => geometry.tiles >= 128;

const servesWinograd = ({ numerics, geometry }: Asked): boolean => numerics.winograd && geometry.tiles > 0;
const servesNarrowWinograd = ({ numerics, geometry }: Asked): boolean => numerics.ownBfloat16 && geometry.tiles > 0;

/**
 * Multiplications in bfloat16 cost half of float32's, the transforms what they do there: with fewer than 8 for a transformed value
 * oneDNN's direct ones are faster (AMD Zen 4), and so are its AMX ones.
 */
const paysNarrowWinograd = (asked: Asked): boolean =>
  hasTiles(asked) && asked.geometry.multiplications >= 8 && !hasFastBfloat16(asked);

const servesDynamic = ({ numerics, geometry, hasCodes }: Asked): boolean => {
  const { w, y } = geometry.elements;
  return hasCodes === true && numerics.ownBfloat16 && geometry.isDense && fitsSums(w / inputsOf(geometry)) && y > 0;
};

/** Codes are multiplied at twice bfloat16's speed: Winograd's algorithm saves more where the transforms cost little. */
const paysDynamic = (asked: Asked): boolean =>
  (!hasTiles(asked) || asked.geometry.multiplications <= 16) && !hasFastBfloat16(asked);

/** AMX's, to which all else is slow. */
const hasFastBfloat16 = ({ numerics, geometry }: Asked): boolean =>
  implementationOf(numerics, "convolutionInputGradient:bfloat16", geometry).includes("amx");

/** By direction and by what they multiply; of those that serve, the last one is preferred where no other is. */
const kernels = {
  forward: {
    bfloat16: [
      {
        name: "convolution:bfloat16",
        serves: ({ numerics, geometry }) => isFast(numerics, "convolution:bfloat16", geometry),
        trial: forwardTrial("convolution:bfloat16", 2),
      },
    ],
    float32: [
      {
        name: "convolutionWinograd",
        serves: servesWinograd,
        isPreferred: hasTiles,
        trial: forwardTrial("convolutionWinograd", 4),
      },
      { name: "convolution", trial: forwardTrial("convolution", 4) },
    ],
  },
  inputGradient: {
    bfloat16: [
      {
        name: "convolutionInputGradient:dynamic",
        serves: servesDynamic,
        isPreferred: paysDynamic,
        trial: inputGradientTrial("convolutionInputGradient:dynamic", 2, true),
      },
      {
        name: "convolutionInputGradientWinograd:bfloat16",
        serves: servesNarrowWinograd,
        isPreferred: paysNarrowWinograd,
        trial: inputGradientTrial("convolutionInputGradientWinograd:bfloat16", 2),
      },
      {
        name: "convolutionInputGradient:bfloat16",
        serves: ({ numerics, geometry }) => isFast(numerics, "convolutionInputGradient:bfloat16", geometry),
        trial: inputGradientTrial("convolutionInputGradient:bfloat16", 2),
      },
    ],
    float32: [
      {
        name: "convolutionInputGradientWinograd",
        serves: servesWinograd,
        isPreferred: hasTiles,
        trial: inputGradientTrial("convolutionInputGradientWinograd", 4),
      },
      { name: "convolutionInputGradient", trial: inputGradientTrial("convolutionInputGradient", 4) },
    ],
  },
  weightGradient: {
    bfloat16: [
      {
        name: "weightGradientWinograd:bfloat16",
        serves: servesNarrowWinograd,
        isPreferred: hasTiles,
        trial: ownWeightGradientTrial("weightGradientWinograd:bfloat16", 2),
      },
      {
        name: "weightGradient:bfloat16",
        serves: ({ numerics, geometry }) => numerics.ownBfloat16 && groupsOf(geometry) === 1,
        trial: ownWeightGradientTrial("weightGradient:bfloat16", 2),
      },
      {
        name: "convolutionWeightGradient:bfloat16",
        // In narrower images oneDNN's (2.6) counts numbers that lie beside them.
        serves: ({ numerics, geometry }) =>
          geometry.isWiderThanStride && isFast(numerics, "convolutionWeightGradient:bfloat16", geometry),
        trial: weightGradientTrial(":bfloat16", 2),
      },
    ],
    float32: [
      {
        name: "weightGradientWinograd",
        serves: servesWinograd,
        isPreferred: hasTiles,
        trial: ownWeightGradientTrial("weightGradientWinograd", 4),
      },
      { name: "convolutionWeightGradient", trial: weightGradientTrial("", 4) },
    ],
  },
} as const satisfies Readonly<Record<string, Readonly<Record<"bfloat16" | "float32", readonly Kernel[]>>>>;

const groupsOf = ({ ints }: Geometry): number => ints[1];
const inputsOf = ({ ints }: Geometry): number => ints[2];

/** The kernel for a node: the one that was measured to be the fastest, or that of the table. */
export function convolutionKernel(numerics: Numerics, node: Node, call: ConvolutionCall): string {
  const asked: Asked = { ...call, numerics };
  const serving = (list: readonly Kernel[]): readonly Kernel[] =>
    list.filter(({ name, serves }) => !numerics.faulty.has(name) && (serves?.(asked) ?? true));
  const { bfloat16, float32 } = kernels[call.direction];
  const narrow = call.mayNarrow ? serving(bfloat16) : [];
  const type = narrow.length > 0 ? "bfloat16" : "float32";
  const served = narrow.length > 0 ? narrow : serving(float32);
  const preferred = served.find(({ isPreferred }) => isPreferred?.(asked) ?? true) ?? served[served.length - 1];
  if (served.length === 1) return preferred.name;
  const { geometry, hasCodes, maxRows } = call;
  const details = [...(hasCodes ? ["of codes"] : []), ...(maxRows === undefined ? [] : [`rows ${maxRows}`])];
  const candidates = served.map(
    ({ name, trial }): Candidate => ({ kernel: name, steps: (images) => trial(call, images) }),
  );
  return numerics.choose(
    {
      key: [call.direction, type, ...details, geometry.ints.join(" ")].join(" "),
      preferred: preferred.name,
      candidates,
      images: geometry.ints[0],
      multiplyAdds: geometry.multiplyAdds,
      // EfQAT trains a twentieth to a half of the rows.
      counts: maxRows === undefined ? [] : [Math.ceil(maxRows / 16), Math.ceil(maxRows / 4)],
    },
    node,
  );
}

/** The operands of so many images, of elements of so many bytes. */
function operandsOf({ geometry }: ConvolutionCall, images: number, bytes: number) {
  const { x, w, y } = geometry.elements;
  const [all, ...rest] = geometry.ints;
  return {
    x: { bytes: (x / all) * images * bytes },
    y: { bytes: (y / all) * images * bytes },
    w: { bytes: 4 * w },
    ints: [images, ...rest],
  };
}

function forwardTrial(kernel: string, bytes: number): Kernel["trial"] {
  return (call, images) => {
    const { x, w, ints } = operandsOf(call, images, bytes);
    const { y } = operandsOf(call, images, 4);
    return [inWindows({ kernel, operands: [x, w, undefined, y], ints }, images, [x, y])];
  };
}

/** `ofCodes`: the weights are codes, with a scale for all. */
function inputGradientTrial(kernel: string, bytes: number, ofCodes = false): Kernel["trial"] {
  return (call, images) => {
    const { x, w, y, ints } = operandsOf(call, images, bytes);
    const step = ofCodes
      ? { kernel, operands: [y, { bytes: w.bytes / 4 }, scalarOperand(), x], ints: [...ints, 1] }
      : { kernel, operands: [y, w, x], ints };
    return [inWindows(step, images, [y, x])];
  };
}

/**
 * A step as plans have it where its images are small enough (windows.ts): some of them at a time, and what it reads of the step before
 * it, or makes for the one behind it, in the second-level cache. Half of the buffers is left to other steps.
 */
function inWindows(step: TrialStep, images: number, passing: readonly Operand[]): TrialStep {
  const perImage = passing.map(({ bytes }) => bytes / images);
  if (perImage.some((bytes) => bytes > maxBufferBytes)) return step;
  const window = Math.min(images, Math.max(1, Math.floor(maxBufferBytes / 2 / sum(perImage))));
  const ends = perImage.map((bytes) => Math.ceil((bytes * window) / 64) * 64);
  const offsets = ends.map((_, i) => sum(ends.slice(0, i)));
  const buffers = new Map(passing.map((operand, i) => [operand, { bytes: operand.bytes, buffer: offsets[i] }]));
  const place = (operand: TrialStep["operands"][number]): TrialStep["operands"][number] =>
    operand === undefined || operand === "passing" ? operand : (buffers.get(operand) ?? operand);
  const operations = [{ ...step, operands: step.operands.map(place) }];
  return { kernel: "windows", operands: [], ints: [images, window, sum(ends), 0], operations };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** Of rows that are selected: which, and what the step is told of their number. */
function rowsOf({ geometry, maxRows }: ConvolutionCall) {
  if (maxRows === undefined) return { rows: undefined, count: geometry.ints[3], max: geometry.ints[3] };
  const data = BigInt64Array.from({ length: maxRows }, (_, i) => BigInt(i));
  return { rows: { bytes: data.byteLength, data }, count: -1, max: maxRows };
}

const scalarOperand = (): Operand => ({ bytes: 4 });

function ownWeightGradientTrial(kernel: string, bytes: number): Kernel["trial"] {
  return (call, images) => {
    const { x, w, y, ints } = operandsOf(call, images, bytes);
    const { rows, count, max } = rowsOf(call);
    const stored = call.hasCodes
      ? [{ bytes: x.bytes / bytes }, scalarOperand(), scalarOperand()]
      : [x, undefined, undefined];
    const step = { kernel, operands: [y, ...stored, rows, w], ints: [...ints, call.hasCodes ? 1 : 0, count, max] };
    return [inWindows(step, images, [y])];
  };
}

/** oneDNN's, which reads no codes, and all images at once. */
function weightGradientTrial(type: "" | ":bfloat16", bytes: number): Kernel["trial"] {
  return (call, images) => {
    const { x, w, y, ints } = operandsOf(call, images, bytes);
    const { rows, count, max } = rowsOf(call);
    const loads = call.hasCodes ? [loadOfCodes(x, bytes)] : [];
    if (!rows) return [...loads, { kernel: `convolutionWeightGradient${type}`, operands: [y, x, w], ints }];
    const operands = [y, x, rows, w];
    return [...loads, { kernel: `convolutionWeightRowsGradient${type}`, operands, ints: [...ints, count, max] }];
  };
}

function loadOfCodes(to: Operand, bytes: number): TrialStep {
  const count = to.bytes / bytes;
  const read = [{ bytes: count }, scalarOperand(), scalarOperand()];
  const operations =
    bytes === 4
      ? [{ kernel: "dequantize", operands: [...read, to], ints: [] }]
      : [
          { kernel: "dequantize", operands: [...read, "passing" as const], ints: [] },
          { kernel: "narrow:bfloat16", operands: ["passing" as const, to, undefined], ints: [] },
        ];
  return { kernel: "fused", operands: [], ints: [count, 1], operations };
}
