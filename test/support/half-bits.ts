// Numbers from the bits of half-precision formats, written for reading.

/** The number that a float16's bits stand for. */
export function float16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = (bits & 0x3ff) / 1024;
  if (exponent === 0) return sign * fraction * 2 ** -14;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction) * 2 ** (exponent - 15);
}

/** The number that a bfloat16's bits stand for: the upper half of a float32. */
export const bfloat16ToNumber = (bits: number): number => new Float32Array(Uint32Array.of(bits << 16).buffer)[0];

/** The bits of the nearest bfloat16, ties to even. */
export function numberToBfloat16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0];
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}
