// Compares numbers with an oracle's, with one table of tolerances.
import { expect } from "vitest";
import type { DType } from "../../src/ir/dtype.ts";
import { type Tensor, toNumbers } from "../../src/ir/tensor.ts";
import { bfloat16ToNumber, float16ToNumber } from "./half-bits.ts";

interface Tolerance {
  /** Allowed error as a share of the expected element's magnitude plus the root mean square of all of them. */
  readonly relative: number;
  readonly absolute: number;
}

const exact: Tolerance = { relative: 0, absolute: 0 };

/** The one place of tolerances: by dtype, and for derivatives against central differences in float64. */
const tolerances: Readonly<Record<DType | "finiteDifferences", Tolerance>> = {
  float64: { relative: 1e-11, absolute: 1e-13 },
  float32: { relative: 2e-6, absolute: 1e-7 },
  float16: { relative: 2e-3, absolute: 1e-6 },
  bfloat16: { relative: 1.6e-2, absolute: 1e-6 },
  finiteDifferences: { relative: 1e-6, absolute: 1e-8 },
  int8: exact,
  uint8: exact,
  int16: exact,
  uint16: exact,
  int32: exact,
  uint32: exact,
  int64: exact,
  uint64: exact,
  bool: exact,
  int4: exact,
  uint4: exact,
  int2: exact,
  uint2: exact,
};

export interface CloseOptions {
  /** Whose tolerance holds: by default the actual tensor's dtype, float64 for arrays. */
  readonly as?: keyof typeof tolerances;
  /** Multiplies the tolerance, for a reason that must be told. */
  readonly widen?: { readonly factor: number; readonly because: string };
  /** What is compared, for the message. */
  readonly what?: string;
}

type Comparable = Tensor | ArrayLike<number>;

const isTensor = (value: Comparable): value is Tensor => "dtype" in value;

function numbers(value: Comparable): number[] {
  if (!isTensor(value)) return Array.from(value);
  if (value.dtype === "float16") return toNumbers(value).map(float16ToNumber);
  if (value.dtype === "bfloat16") return toNumbers(value).map(bfloat16ToNumber);
  return toNumbers(value);
}

/** Signal-to-noise ratio of `actual` against `expected` in dB; infinite when equal. */
export function sqnr(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let signal = 0;
  let noise = 0;
  for (let i = 0; i < expected.length; i++) {
    signal += expected[i] ** 2;
    noise += (actual[i] - expected[i]) ** 2;
  }
  return noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / noise);
}

interface Worst {
  readonly index: number;
  readonly excess: number;
}

function worstElement(actual: readonly number[], expected: readonly number[], tolerance: Tolerance): Worst {
  const finite = expected.filter(Number.isFinite);
  const rms = Math.sqrt(finite.reduce((sum, value) => sum + value * value, 0) / Math.max(1, finite.length));
  let worst: Worst = { index: -1, excess: 0 };
  expected.forEach((value, index) => {
    if (Object.is(actual[index], value) || actual[index] === value) return;
    const error = Math.abs(actual[index] - value);
    const allowed = tolerance.absolute + tolerance.relative * (Math.abs(value) + rms);
    const excess = Number.isFinite(error) ? error / allowed : Number.POSITIVE_INFINITY;
    if (excess > Math.max(1, worst.excess)) worst = { index, excess };
  });
  return worst;
}

function position(index: number, shape: readonly number[]): string {
  const coordinates: number[] = [];
  let rest = index;
  for (const size of [...shape].reverse()) {
    coordinates.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return `[${coordinates.join(", ")}]`;
}

/** Fails with the worst element unless all elements (and, of tensors, shape and dtype) agree. */
export function expectClose(actual: Comparable, expected: Comparable, options: CloseOptions = {}): void {
  const what = options.what ?? "value";
  if (isTensor(actual) && isTensor(expected)) {
    expect(actual.shape, `${what}: shape`).toEqual(expected.shape);
    expect(actual.dtype, `${what}: dtype`).toBe(expected.dtype);
  }
  const actualNumbers = numbers(actual);
  const expectedNumbers = numbers(expected);
  expect(actualNumbers.length, `${what}: number of elements`).toBe(expectedNumbers.length);
  const name = options.as ?? (isTensor(actual) ? actual.dtype : "float64");
  const factor = options.widen?.factor ?? 1;
  const tolerance = {
    relative: tolerances[name].relative * factor,
    absolute: tolerances[name].absolute * factor,
  };
  const { index, excess } = worstElement(actualNumbers, expectedNumbers, tolerance);
  if (index < 0) return;
  const shape = isTensor(expected) ? expected.shape : [expectedNumbers.length];
  expect.fail(
    `${what}: worst element ${position(index, shape)} is ${actualNumbers[index]}, expected ${expectedNumbers[index]} ` +
      `(${excess.toPrecision(3)} times the ${name} tolerance); SQNR ${sqnr(actualNumbers, expectedNumbers).toFixed(1)} dB`,
  );
}
