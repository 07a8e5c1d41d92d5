// Masks that say no more than which keys, side by side, each query sees: causal ones, and those of sliding windows.
import { numbersOf, type Tensor, tensorOf } from "../../../ir/tensor.ts";
import { loaded } from "../../../ir/tensor-source.ts";
import { hidden } from "../../../ops/masks.ts";

const known = new WeakMap<Tensor, Tensor | false>();

/**
 * Of each query the first key that it sees and the one behind the last, of a mask [queries, keys] but for axes of 1 before;
 * `undefined` where a query sees none, or the mask says more.
 */
export function seenKeys(mask: Tensor): Tensor | undefined {
  const found = known.get(mask) ?? findSeen(mask) ?? false;
  known.set(mask, found);
  return found || undefined;
}

function findSeen(mask: Tensor): Tensor | undefined {
  const [queries, keys] = mask.shape.slice(-2);
  const numbers = numbersOf(loaded(mask));
  const spans: number[] = [];
  for (let query = 0; query < queries; query++) {
    const row = numbers.subarray(query * keys, (query + 1) * keys);
    const begin = row.findIndex((value) => !(value <= hidden));
    if (begin < 0 || row[begin] !== 0) return undefined;
    const behind = row.subarray(begin).findIndex((value) => value !== 0);
    const end = behind < 0 ? keys : begin + behind;
    if (!row.subarray(end).every((value) => value <= hidden)) return undefined;
    spans.push(begin, end);
  }
  return tensorOf("int64", [queries, 2], spans);
}
