// How near a file's outputs come to the float model's.
import { difference, joinDifferences, noDifference, reportedDb, sqnrDb } from "../evaluate/difference.ts";
import type { OpenDeployed } from "../export/verify.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import { type Tensor, toNumbers } from "../ir/tensor.ts";
import { printShape } from "../ops/attributes.ts";

type Values = ReadonlyMap<string, Tensor>;

/** Of one output, over all batches. */
export interface Agreement {
  readonly output: string;
  /** `null`: equal; −1000: it has elements that are no numbers. */
  readonly sqnrDb: number | null;
  /** Of the output's elements as one vector. */
  readonly cosine: number;
}

export async function agreementOf(
  bytes: Uint8Array,
  { open, batches, expected }: { open: OpenDeployed; batches: readonly Values[]; expected: readonly Values[] },
): Promise<readonly Agreement[]> {
  const file = await open(bytes, { spinning: false });
  try {
    const actual: Values[] = [];
    for (const batch of batches) actual.push(await file.run(batch));
    return [...expected[0].keys()].map((output) => compared(output, expected, actual));
  } finally {
    await file.dispose();
  }
}

function compared(output: string, expected: readonly Values[], actual: readonly Values[]): Agreement {
  let total = noDifference;
  let [product, square] = [0, 0];
  for (const [i, values] of expected.entries()) {
    const [before, after] = [values.get(output), actual[i].get(output)];
    assert(before && after, `no output "${output}"`);
    checkShapes(output, before, after);
    const [a, b] = [toNumbers(before), toNumbers(after)];
    total = joinDifferences(total, difference(a, b));
    for (let at = 0; at < a.length; at++) {
      if (a[at] === b[at] && !Number.isFinite(a[at])) continue;
      product += a[at] * b[at];
      square += b[at] * b[at];
    }
  }
  const norms = Math.sqrt(total.signal * square);
  return {
    output,
    sqnrDb: reportedDb(sqnrDb(total)),
    cosine: total.noise === 0 ? 1 : norms === 0 ? 0 : product / norms,
  };
}

/** Outputs whose sizes depend on values, such as the boxes that a threshold leaves, cannot be compared where these differ. */
function checkShapes(output: string, { shape }: Tensor, other: Tensor): void {
  if (String(shape) === String(other.shape)) return;
  throw new FrostbitError(
    "VERIFICATION",
    `Output "${output}" has shape ${printShape(other.shape)}, and of the float model ${printShape(shape)}: its size depends on values, so that the two cannot be compared.`,
  );
}

/** Of each output, what is further from the float model; a cosine that is no number is furthest. */
export const worseOf = (a: readonly Agreement[], b: readonly Agreement[]): readonly Agreement[] =>
  a.map((each, i) => (Number.isNaN(b[i].cosine) || b[i].cosine < each.cosine ? b[i] : each));

/** Below it nothing of the model is left. */
const leastCosine = 0.8;

export const isSound = ({ cosine }: Agreement): boolean => cosine >= leastCosine;
