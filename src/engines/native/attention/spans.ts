// Which keys a query sees, where a mask says nothing else.
import { numbersOf, sizeOf, type Tensor } from "../../../ir/tensor.ts";

/** The first key that a query sees, and the one behind the last. */
export type Span = readonly [begin: number, end: number];

/** What no score is below: beside another key a masked one counts for nothing. */
const masked = -1e30;

/** The spans of a mask of 0 and what hides a key, if it is the same for all heads and each query sees keys side by side. */
export function spansOf(mask: Tensor, queries: number): readonly Span[] | undefined {
  const keys = mask.shape[mask.shape.length - 1];
  if (sizeOf(mask.shape) !== queries * keys) return undefined;
  const values = numbersOf(mask);
  const spans: Span[] = [];
  for (let row = 0; row < queries; row++) {
    const at = row * keys;
    let begin = 0;
    while (begin < keys && values[at + begin] <= masked) begin++;
    let end = begin;
    while (end < keys && values[at + end] === 0) end++;
    for (let key = end; key < keys; key++) if (!(values[at + key] <= masked)) return undefined;
    if (begin === end) return undefined;
    spans.push([begin, end]);
  }
  return spans;
}
