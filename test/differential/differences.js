// Where two results differ by more than rounding explains.

/** Of the element's own magnitude plus the root mean square of all: sums of float32 and of half precision in another order. */
const tolerances = { fine: { relative: 2e-5, absolute: 2e-6 }, coarse: { relative: 2e-2, absolute: 1e-3 } };

/** How much more than under a perturbation of the inputs' last digits an element may differ. */
const factor = 20;

const isFloat = (dtype) => dtype.startsWith("float") || dtype === "bfloat16";

function rootMeanSquare(values) {
  const finite = values.filter(Number.isFinite);
  return Math.sqrt(finite.reduce((sum, value) => sum + value * value, 0) / Math.max(1, finite.length));
}

/** What a float beyond its integers becomes is undefined; processors give the least, or cut it to the nearest. */
const limits = new Set([-(2 ** 63), 2 ** 63, 2 ** 64, -(2 ** 31), 2 ** 31 - 1, 2 ** 32 - 1]);

const isSame = (a, b) => a === b || (Number.isNaN(a) && Number.isNaN(b));

/** `undefined` where `actual` is like `expected`; `others` are further results that are right too. */
export function differenceOf(actual, expected, { isCoarse = false, others = [] } = {}) {
  if (!actual) return "missing";
  if (actual.dtype !== expected.dtype) return `${actual.dtype}, expected ${expected.dtype}`;
  if (actual.shape.join() !== expected.shape.join()) return `shape [${actual.shape}], expected [${expected.shape}]`;
  const [ours, theirs] = [actual, expected].map(({ data }) => Array.from(data, Number));
  const shifted = others
    .filter(({ shape }) => shape.join() === expected.shape.join())
    .map(({ data }) => Array.from(data, Number));
  const { relative, absolute } =
    isFloat(expected.dtype) || isCoarse ? tolerances[isCoarse ? "coarse" : "fine"] : { relative: 0, absolute: 0 };
  const scale = rootMeanSquare(theirs);
  for (let i = 0; i < theirs.length; i++) {
    if (isSame(ours[i], theirs[i])) continue;
    if (limits.has(Math.round(ours[i])) || limits.has(Math.round(theirs[i]))) continue;
    const allowed = absolute + relative * (Math.abs(theirs[i]) + scale);
    if (Math.abs(ours[i] - theirs[i]) <= allowed) continue;
    const isUnsteady = shifted.some(
      (values) =>
        isSame(values[i], ours[i]) ||
        Math.abs(ours[i] - theirs[i]) <= allowed + factor * Math.abs(values[i] - theirs[i]),
    );
    if (!isUnsteady) return `element ${i} of [${expected.shape}] is ${ours[i]}, expected ${theirs[i]}`;
  }
  return undefined;
}
