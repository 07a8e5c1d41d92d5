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

/** Where a kind does not exist for a shape (a flipped forward convolution of stride 2), the plain kind of the same types counts. */
function total(cases: readonly Alone[], kind: string): number {
  const shapes = [...new Map(cases.map(({ shape, count }) => [shape, count]))];
  return shapes.reduce((sum, [shape, count]) => {
    const of = (name: string): Alone | undefined => cases.find((one) => one.shape === shape && one.kind === name);
    const found = of(kind) ?? of(kind.replace(" as forward", ""));
    return sum + count * (found?.minMs ?? 0);
  }, 0);
}

export function aloneTable(cases: readonly Alone[]): string {
  const kinds = [...new Set(cases.map(({ kind }) => kind))];
  const header = `${"shape".padEnd(18)}   ×  ${"kind".padEnd(20)}   min ms  median  GFLOP/s`;
  const totals = kinds.map(
    (kind) => `sum over the layers, ${kind.padEnd(20)} ${total(cases, kind).toFixed(2).padStart(8)} ms`,
  );
  return [header, ...cases.map(row), ...totals].join("\n");
}
