// Half precision: float16 and bfloat16 are held as their bits, and converted where they are read and written.
import type { DType, TypedArray } from "./dtype.ts";
import { assert } from "./errors.ts";
import { roundHalfToEven } from "./round.ts";
import { numbersOf, type Tensor } from "./tensor.ts";
import { isStored, storedTensor } from "./tensor-source.ts";

/** The element types of 16 bits. */
export type HalfType = "float16" | "bfloat16";

export const isHalf = (dtype: unknown): dtype is HalfType => dtype === "float16" || dtype === "bfloat16";

const float = new Float32Array(1);
const word = new Uint32Array(float.buffer);

function float16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** Ties to even; beyond the largest finite number (65504) infinity. */
function numberToFloat16(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  float[0] = value;
  const sign = (word[0] >>> 16) & 0x8000;
  const magnitude = Math.abs(value);
  if (magnitude >= 65520) return sign | 0x7c00;
  if (magnitude < 2 ** -14) return sign | roundHalfToEven(magnitude * 2 ** 24);
  const exponent = ((word[0] >>> 23) & 0xff) - 127;
  // A fraction that rounds up to 1024 carries into the exponent, as it should.
  return sign | (((exponent + 15) << 10) + roundHalfToEven(magnitude * 2 ** (10 - exponent)) - 1024);
}

function bfloat16ToNumber(bits: number): number {
  word[0] = bits << 16;
  return float[0];
}

/** Ties to even. */
function numberToBfloat16(value: number): number {
  if (Number.isNaN(value)) return 0x7fc0;
  float[0] = value;
  return (word[0] + 0x7fff + ((word[0] >>> 16) & 1)) >>> 16;
}

const widen = { float16: float16ToNumber, bfloat16: bfloat16ToNumber };
const narrow = { float16: numberToFloat16, bfloat16: numberToBfloat16 };

/** The nearest number that a half type has, ties to even. */
export const roundedToHalf = (type: HalfType, value: number): number => widen[type](narrow[type](value));

/** The same numbers in float32, exactly; tensors of other types as they are. */
export function widenTensor(t: Tensor): Tensor {
  if (!isHalf(t.dtype)) return t;
  const { dtype } = t;
  return converted(t, "float32", () => {
    const bits = t.data as Uint16Array;
    const numbers = new Float32Array(bits.length);
    widenInto(dtype, bits, numbers, 0);
    return numbers;
  });
}

/** The numbers of these bits, from place `at` on. */
export function widenInto(type: HalfType, bits: Uint16Array, numbers: Float32Array, at: number): void {
  const table = tableOf(type);
  for (let i = 0; i < bits.length; i++) numbers[at + i] = table[bits[i]];
}

const tables = new Map<HalfType, Float32Array>();

/** By their bits, all numbers of the type. */
function tableOf(type: HalfType): Float32Array {
  const known = tables.get(type);
  if (known) return known;
  const made = Float32Array.from({ length: 2 ** 16 }, (_, bits) => widen[type](bits));
  tables.set(type, made);
  return made;
}

/** A float tensor rounded to half precision, as its bits. */
export function narrowTensor(t: Tensor, dtype: HalfType): Tensor {
  assert(t.dtype === "float32" || t.dtype === "float64", `narrowTensor of ${t.dtype}`);
  return converted(t, dtype, () => {
    const { data } = t;
    if (!(data instanceof Float32Array)) return Uint16Array.from(numbersOf({ ...t, data }), narrow[dtype]);
    const bits = new Uint16Array(data.length);
    if (dtype === "float16") toFloat16(data, bits, 0);
    else toBfloat16(data, bits);
    return bits;
  });
}

/**
 * The nearest float16 of each number, from place `at` on. The bits of a float32 number less 2^-14, rounded off 13 of them, are
 * float16's from there on; smaller numbers lie apart. Gives whether one of them is beyond float16's largest number, infinite or none.
 */
export function toFloat16(numbers: Float32Array, bits: Uint16Array, at: number): boolean {
  const words = new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length);
  const [least, beyond] = [0x38800000, 0x477ff000];
  let isOneBeyond = false;
  for (let i = 0; i < words.length; i++) {
    const magnitude = words[i] & 0x7fffffff;
    if (magnitude >= beyond) isOneBeyond = true;
    const isPlain = magnitude >= least && magnitude < beyond;
    bits[at + i] = isPlain
      ? ((words[i] >>> 16) & 0x8000) | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13)
      : numberToFloat16(numbers[i]);
  }
  return isOneBeyond;
}

/** The nearest bfloat16 of each number: the upper half of float32's bits. */
function toBfloat16(numbers: Float32Array, bits: Uint16Array): void {
  const words = new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    const isNumber = (word & 0x7fffffff) <= 0x7f800000;
    bits[i] = isNumber ? (word + 0x7fff + ((word >>> 16) & 1)) >>> 16 : 0x7fc0;
  }
}

const halves = new WeakMap<Tensor, Tensor>();

/** The float32 tensor `wide` holds the numbers of `half`, which `halfOf` then gives. */
export const rememberHalf = (wide: Tensor, half: Tensor): void => void halves.set(wide, half);

/** The tensor of a half type that a tensor's numbers were read from, where they were. */
export const halfOf = (wide: Tensor): Tensor | undefined => halves.get(wide);

/** What stays in its file is converted whenever it is read. */
const converted = (from: Tensor, dtype: DType, convert: () => TypedArray): Tensor =>
  isStored(from) ? storedTensor(dtype, from.shape, convert) : { dtype, shape: from.shape, data: convert() };

export const widened = (dtype: DType): DType => (isHalf(dtype) ? "float32" : dtype);
