// Shapes of matrix products.
import type { Dim, Node } from "../ir/graph.ts";
import { mismatch, numberAttribute, printShape } from "./attributes.ts";
import { broadcastShapes } from "./broadcast.ts";

/** Throws unless the two sizes can be the same. */
function checkInner(node: Node, a: readonly Dim[], b: readonly Dim[], left: Dim, right: Dim): void {
  if (left === right || typeof left === "string" || typeof right === "string") return;
  throw mismatch(
    node,
    `cannot multiply ${printShape(a)} by ${printShape(b)}; inner sizes ${left} and ${right} differ.`,
  );
}

/** numpy.matmul: 1-D operands are a row on the left and a column on the right, and lose that axis again. */
export function matMulShape(node: Node, a: readonly Dim[], b: readonly Dim[]): readonly Dim[] {
  if (a.length === 0 || b.length === 0)
    throw mismatch(node, `cannot multiply ${printShape(a)} by ${printShape(b)}; scalars are not matrices.`);
  const left = a.length === 1 ? [1, ...a] : a;
  const right = b.length === 1 ? [...b, 1] : b;
  checkInner(node, a, b, left[left.length - 1], right[right.length - 2]);
  const batch = broadcastShapes(node, [left.slice(0, -2), right.slice(0, -2)]);
  const rows = a.length === 1 ? [] : [left[left.length - 2]];
  const columns = b.length === 1 ? [] : [right[right.length - 1]];
  return [...batch, ...rows, ...columns];
}

export interface GemmSizes {
  readonly m: Dim;
  readonly n: Dim;
  readonly k: Dim;
}

export const isTransposed = (node: Node, side: "transA" | "transB"): boolean => numberAttribute(node, side, 0) !== 0;

export function gemmSizes(node: Node, a: readonly Dim[], b: readonly Dim[]): GemmSizes {
  if (a.length !== 2 || b.length !== 2)
    throw mismatch(node, `cannot multiply ${printShape(a)} by ${printShape(b)}; expected two matrices.`);
  const [m, k] = isTransposed(node, "transA") ? [a[1], a[0]] : a;
  const [inner, n] = isTransposed(node, "transB") ? [b[1], b[0]] : b;
  checkInner(node, a, b, k, inner);
  return { m, n, k };
}
