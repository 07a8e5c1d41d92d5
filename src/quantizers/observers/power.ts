// Powers of magnitudes, many of them: four times as fast as Math.pow, to 14 digits.

/** Parts of a factor of 2. */
const parts = 1024;
/** Of a float64: 11 bits of exponent, of which 1023 stands for 0. */
const exponents = 2048;
const bias = 1023;

/** |x|^power: 2^exponent and the middle of a part by tables, what is left of x by the binomial series. */
export function powerOfMagnitude(power: number): (x: number) => number {
  const value = new Float64Array(1);
  const halves = new Uint32Array(value.buffer);
  const high = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1 ? 1 : 0;
  const middles = Float64Array.from({ length: parts }, (_, i) => 1 + (i + 0.5) / parts);
  const inverses = middles.map((middle) => 1 / middle);
  const ofMiddles = middles.map((middle) => middle ** power);
  // Exact, but for subnormal numbers.
  const toOne = Float64Array.from({ length: exponents }, (_, i) => 2 ** (bias - i));
  const ofExponents = Float64Array.from({ length: exponents }, (_, i) => 2 ** (power * (i - bias)));
  const first = power;
  const second = (first * (power - 1)) / 2;
  const third = (second * (power - 2)) / 3;
  return (x) => {
    value[0] = x;
    const bits = halves[high];
    const part = (bits >>> 10) & (parts - 1);
    const exponent = (bits >>> 20) & (exponents - 1);
    const rest = Math.abs(x) * toOne[exponent] * inverses[part] - 1;
    const series = 1 + rest * (first + rest * (second + rest * third));
    return ofExponents[exponent] * ofMiddles[part] * series;
  };
}
