// The gradient of attention, as autodiff gives it: dv = pᵀ dy, dp = dy vᵀ, ds = p (dp − Σ dp p) · scale, dq = ds kᵀ, dk = qᵀ ds.
import type { Node } from "../../../ir/graph.ts";
import type { Attention } from "./find-attention.ts";
import {
  isSame,
  isTransposed,
  readersOf,
  type Surroundings,
  scaling,
  shapeOf,
  soleReader,
  soleSource,
  transposesMatrices,
} from "./surroundings.ts";

export interface AttentionGradient {
  readonly dy: string;
  /** The products that give them, where they are wanted. */
  readonly dq: Node | undefined;
  readonly dk: Node | undefined;
  readonly dv: Node | undefined;
}

/** What reads the probabilities besides the forward pass. */
export function gradientReaders(around: Surroundings, { softmax, weights, mixed }: Attention): readonly Node[] {
  const all = new Set([...readersOf(around, softmax.outputs[0]), ...readersOf(around, weights)]);
  return [...all].filter(({ op, outputs: [y] }) => y !== mixed.outputs[0] && !(op === "Reshape" && y === weights));
}

/** The gradient that these readers of the probabilities begin; `undefined` where they are something else. */
export function findGradient(
  around: Surroundings,
  attention: Attention,
  readers: readonly Node[],
): AttentionGradient | undefined {
  const turned = readers.find(transposesMatrices);
  const dv = turned && soleReader(around, turned);
  const multiplications = readers.filter((node) => node !== turned);
  const ofScores = findScoreGradient(around, attention, multiplications);
  if (!turned) return ofScores && { ...ofScores, dv: undefined };
  if (dv?.op !== "MatMul" || dv.inputs[0] !== turned.outputs[0] || turned.inputs[0] !== attention.weights)
    return undefined;
  return ofScores?.dy === dv.inputs[1] ? { ...ofScores, dv } : undefined;
}

/** Begins with the two multiplications by the probabilities. */
function findScoreGradient(
  around: Surroundings,
  attention: Attention,
  multiplications: readonly Node[],
): Omit<AttentionGradient, "dv"> | undefined {
  const [p] = attention.softmax.outputs;
  const [dp, ds] = softmaxGradient(around, p, multiplications) ?? [];
  const dy = dp === undefined ? undefined : sourceOfProbabilities(around, attention, dp);
  if (dy === undefined || !ds) return undefined;
  const products = productsOf(around, attention.product, ds, attention.scale);
  return products && { dy, ...products };
}

/** Of p's multiplications by dp and by dp − Σ dp p: dp, and the node that gives the scores' gradient. */
function softmaxGradient(
  around: Surroundings,
  p: string,
  multiplications: readonly Node[],
): readonly [dp: string, ds: Node] | undefined {
  for (const product of multiplications) {
    const dp = product.inputs[product.inputs[0] === p ? 1 : 0];
    const sum = soleReader(around, product);
    const difference = soleReader(around, sum);
    const ds = soleReader(around, difference);
    const areOps = isSame(
      [product, sum, difference, ds].map((node) => node?.op),
      ["Mul", "ReduceSum", "Sub", "Mul"],
    );
    if (!areOps || !sum || !difference || !ds || ds === product) continue;
    const isAlongRows = isSame(shapeOf(around, sum.outputs[0]), [...shapeOf(around, p).slice(0, -1), 1]);
    const isCentred = isSame(difference.inputs, [dp, sum.outputs[0]]);
    const isAll = multiplications.length === 2 && multiplications.includes(ds) && readersOf(around, dp).length === 2;
    if (isAlongRows && isCentred && isAll && !around.kept.has(dp)) return [dp, ds];
  }
  return undefined;
}

/** dy, where dp is dy vᵀ. */
function sourceOfProbabilities(around: Surroundings, { mixed }: Attention, dp: string): string | undefined {
  const made = around.producers.get(dp);
  const product = made?.op === "Reshape" ? soleSource(around, made.inputs[0]) : made;
  if (product?.op !== "MatMul" || !isTransposed(around, product.inputs[1], mixed.inputs[1])) return undefined;
  const [dy] = product.inputs;
  return isSame(shapeOf(around, dy), shapeOf(around, mixed.outputs[0])) ? dy : undefined;
}

/** The products that read the scores' gradient, in the first product's shape and once more scaled. */
function productsOf(
  around: Surroundings,
  product: Node,
  ds: Node,
  scale: number,
): Pick<AttentionGradient, "dq" | "dk"> | undefined {
  const [value] = ds.outputs;
  const [q, k] = product.inputs;
  const next = soleReader(around, ds);
  if (next?.op === "Reshape") return productsOf(around, product, next, scale);
  const factor = next && scaling(around, next)?.factor;
  if (factor !== undefined) return productsOf(around, product, next as Node, scale / factor);
  const readers = readersOf(around, value);
  const dq = readers.find(({ inputs: [a, b] }) => a === value && isTransposed(around, b, k));
  const dk = readers.find(({ inputs: [a, b] }) => b === value && isTransposed(around, a, q));
  const count = Number(dq !== undefined) + Number(dk !== undefined);
  const isAll = count > 0 && readers.length === count && !around.kept.has(value);
  const isScaled = Math.abs(scale - 1) < 1e-6;
  const areProducts = [dq, dk].every((node) => node === undefined || node.op === "MatMul");
  return isAll && isScaled && areProducts ? { dq, dk } : undefined;
}
