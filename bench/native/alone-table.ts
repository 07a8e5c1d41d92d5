// The table of a run of oneDNN alone: a row for each shape and kind, and the sums over the model's layers.
import type { Alone } from "./onednn-alone.ts";

const row = ({ shape, count, kind, minMs, medianMs, flops, implementation }: Alone): string =>
  [
    shape.padEnd(18),
    `×${count}`.padStart(3),
    kind.padEnd(20),
    minMs.toFixed(3).padStart(8),
    medianMs.toFixed(3).padStart(8),
    (flops / minMs / 1e6).toFixed(0).padStart(6),
    implementation,
  ].join("  ");

/**
 * Over the model's layers, in each the fastest of these kinds. A shape for which none of them exists counts with the plain kind
 * (a flipped forward convolution of stride 2) or with none (an integer gradient).
 */
export function sumOf(cases: readonly Alone[], kinds: readonly string[]): number {
  const shapes = [...new Map(cases.map(({ shape, count }) => [shape, count]))];
  return shapes.reduce((sum, [shape, count]) => {
    const of = (names: readonly string[]): number[] =>
      cases.filter((one) => one.shape === shape && names.includes(one.kind)).map(({ minMs }) => minMs);
    const plain = kinds.map((kind) => kind.replace(" as forward", ""));
    const times = of(kinds).length > 0 ? of(kinds) : of(plain);
    return sum + (times.length > 0 ? count * Math.min(...times) : 0);
  }, 0);
}

export function aloneTable(cases: readonly Alone[]): string {
  const kinds = [...new Set(cases.map(({ kind }) => kind))];
  const header = `${"shape".padEnd(18)}   ×  ${"kind".padEnd(20)}   min ms  median  GFLOP/s`;
  const totals = kinds.map(
    (kind) => `sum over the layers, ${kind.padEnd(20)} ${sumOf(cases, [kind]).toFixed(2).padStart(8)} ms`,
  );
  return [header, ...cases.map(row), ...totals].join("\n");
}
