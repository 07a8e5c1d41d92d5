// What gradient rules need to answer a want for some rows.
import type { Builder } from "../ir/builder.ts";
import type { Wanted } from "./definition.ts";

/** The value that holds the rows wanted along `axis`; `undefined` when all are. */
export const rowsAlong = (want: Wanted, axis: number): string | undefined =>
  typeof want === "object" && want.axis === axis ? want.rows : undefined;

/** The rows of `value`, or all of it. */
export const gatherRows = (build: Builder, value: string, rows: string | undefined, axis: number): string =>
  rows === undefined ? value : build.node("Gather", [value, rows], { axis });

/** Sums over `axes`, which are dropped. */
export const sumOver = (build: Builder, value: string, axes: readonly number[]): string =>
  axes.length === 0 ? value : build.node("ReduceSum", [value, build.ints(axes)], { keepdims: 0 });

/** Every axis of a tensor of `rank` axes but the channels'. */
export const allAxesButChannels = (rank: number): number[] =>
  Array.from({ length: rank }, (_, axis) => axis).filter((axis) => axis !== 1);
