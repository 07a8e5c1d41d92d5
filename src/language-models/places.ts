// Where tokens stand: positions that rotate, and which keys a query sees. Of a whole sequence, or of what follows a cache.
import type { Builder } from "../ir/builder.ts";
import { tensorOf } from "../ir/tensor.ts";

export interface Places {
  /** What chooses the rows of the rotation's tables, int64 [length], or with a cache [batch, 1, length]. */
  readonly positions: string;
  /** Places among the keys: of the queries, int64 [query], and of all keys, int64 [key]. */
  readonly queries: string;
  readonly keys: string;
  /** Which keys are no padding, bool [batch, 1, 1, key]; all of them where `undefined`. */
  readonly tokens: string | undefined;
}

const int = (build: Builder, value: number): string => build.constant(tensorOf("int64", [], [value]), "int");

/** A value's size along an axis, int64 []. */
export const sizeAlong = (build: Builder, value: string, axis: number): string =>
  build.node("Squeeze", [build.node("Shape", [value], { start: axis, end: axis + 1 }), build.ints([0])]);

/** Of sequences that begin at position 0 and are seen whole. */
export function placesOfSequence(build: Builder, ids: string): Places {
  const positions = build.node("Range", [int(build, 0), sizeAlong(build, ids, 1), int(build, 1)]);
  return { positions, queries: positions, keys: positions, tokens: undefined };
}

/** The inputs of a decoder with a cache by the names that runtimes give them. */
export const cacheInputs = { mask: "attention_mask", positions: "position_ids" } as const;

/** Of tokens behind others whose keys are known: the mask says how many there are together, and which of them are no padding. */
export function placesBehindCache(build: Builder, ids: string): Places {
  const mask = build.input(cacheInputs.mask, { dtype: "int64", shape: ["batch_size", "total_sequence_length"] });
  const given = build.input(cacheInputs.positions, { dtype: "int64", shape: ["batch_size", "sequence_length"] });
  const total = sizeAlong(build, mask, 1);
  const start = build.node("Sub", [total, sizeAlong(build, ids, 1)]);
  return {
    positions: build.node("Unsqueeze", [given, build.ints([1])]),
    queries: build.node("Range", [start, total, int(build, 1)]),
    keys: build.node("Range", [int(build, 0), total, int(build, 1)]),
    tokens: build.node("Unsqueeze", [build.node("Cast", [mask], { to: "bool" }), build.ints([1, 2])]),
  };
}

/** What a masked score is added: the least float32, which no softmax sees beside others. */
export const masked = -3.4028234663852886e38;

/**
 * What is added to scores, [query, key] or [batch, 1, query, key]: 0 where a query sees a key, which it does up to its own place,
 * and within its window.
 */
export function maskOf(
  build: Builder,
  { queries, keys, tokens }: Places,
  { dtype, window }: { readonly dtype: "float32" | "float64"; readonly window: number | undefined },
): string {
  const call = (op: string, inputs: readonly string[]): string => build.node(op, inputs);
  const number = (value: number): string => build.constant(tensorOf(dtype, [], [value]), "number");
  const column = call("Unsqueeze", [queries, build.ints([1])]);
  const causal = call("LessOrEqual", [keys, column]);
  const near = (size: number): string =>
    call("Less", [call("Sub", [column, keys]), build.constant(tensorOf("int64", [], [size]), "window")]);
  const sees = window === undefined ? causal : call("And", [causal, near(window)]);
  const seen = tokens === undefined ? sees : call("And", [sees, tokens]);
  return call("Where", [seen, number(0), number(masked)]);
}
