// What is added up over the micro-batches of a batch: outputs of the graph of one, inputs of the graph that steps by the sums.
import { rowAxisIn } from "../autodiff/gradient.ts";
import type { Builder } from "../ir/builder.ts";
import type { ValueType } from "../ir/graph.ts";
import type { Rows } from "../ops/definition.ts";
import type { PartStatistic } from "../passes/train-batch-norm.ts";

/** A sum over micro-batches. */
export interface Summed {
  /** Of the graph of a micro-batch. */
  readonly output: string;
  /** Of the graph that steps. */
  readonly input: string;
  /** What a micro-batch gives counts by this factor less for each one after it: 1 for gradients. */
  readonly keeps: number;
}

const sumInput = (name: string): string => `frostbit/sum:${name}`;

/** Gradients by parameter, then statistics. */
export function summedOf(
  build: Builder,
  gradients: ReadonlyMap<string, string>,
  statistics: readonly PartStatistic[],
): readonly Summed[] {
  const { inputs, variables } = build.graph([]);
  const given = new Set([...inputs, ...variables]);
  /** Engines give what nodes compute. */
  const computed = (value: string): string =>
    given.has(value) || build.constantOf(value) ? build.node("Identity", [value]) : value;
  return [
    ...[...gradients].map(([name, value]) => ({ output: computed(value), input: sumInput(name), keeps: 1 })),
    ...statistics.map(({ name, adds, keeps }) => ({ output: computed(adds), input: sumInput(name), keeps })),
  ];
}

/** The means of the gradients of `microBatches` micro-batches, each in the form of the parameter's wanted rows. */
export function meansOf(
  build: Builder,
  wanted: ReadonlyMap<string, "all" | Rows>,
  microBatches: number,
): ReadonlyMap<string, string> {
  const means = new Map<string, string>();
  for (const [name, want] of wanted) {
    const type = build.type(name);
    const sum = build.input(sumInput(name), want === "all" ? type : typeOfRows(build, type, want));
    means.set(name, build.node("Mul", [sum, build.scalar(1 / microBatches, sum)]));
  }
  return means;
}

function typeOfRows(build: Builder, { dtype, shape }: ValueType, rows: Rows): ValueType {
  const [count] = build.type(rows.rows).shape;
  const axis = rowAxisIn(shape, rows);
  return { dtype, shape: shape.map((size, i) => (i === axis ? count : size)) };
}

/** Running statistics take what all micro-batches have added, one after the other. */
export function followSums(build: Builder, statistics: readonly PartStatistic[], microBatches: number): void {
  for (const { name, keeps } of statistics) {
    const sum = build.input(sumInput(name), build.type(name));
    const kept = build.node("Mul", [name, build.scalar(powerOf(keeps, microBatches), name)]);
    build.update(name, build.node("Add", [kept, sum]));
  }
}

/** By products alone, which are the same everywhere. */
export function powerOf(factor: number, exponent: number): number {
  let power = 1;
  for (let i = 0; i < exponent; i++) power *= factor;
  return power;
}
