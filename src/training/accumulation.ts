// Gradients of micro-batches, added up in variables.
import { rowAxisIn } from "../autodiff/gradient.ts";
import type { Builder } from "../ir/builder.ts";
import { assert } from "../ir/errors.ts";
import { type Tensor, zeros } from "../ir/tensor.ts";
import type { Rows } from "../ops/definition.ts";

const sumName = (name: string): string => `${name}/gradient_sum`;

/** The variable that each gradient is added up in, whole even where only rows train, at 0. */
export const accumulators = (
  trained: readonly { readonly name: string }[],
  values: ReadonlyMap<string, Tensor>,
): ReadonlyMap<string, Tensor> =>
  new Map(
    trained.map(({ name }) => {
      const value = values.get(name);
      assert(value, `"${name}" has no value`);
      return [sumName(name), zeros(value.dtype, value.shape)];
    }),
  );

/** sum + gradient; of rows, as a step of SGD at the learning rate −1, which leaves the other rows alone. */
export function accumulate(
  build: Builder,
  name: string,
  gradient: string,
  rows: Rows | undefined,
  sums: ReadonlyMap<string, Tensor>,
): void {
  const start = sums.get(sumName(name));
  assert(start, `no sum for "${name}"`);
  const sum = build.variable(sumName(name), { dtype: start.dtype, shape: start.shape });
  if (!rows) {
    build.update(sum, build.node("Add", [sum, gradient]));
    return;
  }
  const settings = { momentum: 0, weightDecay: 0, axis: rowAxisIn(start.shape, rows) };
  const still = build.constant(start, `${sum}/velocity`);
  const inputs = [sum, gradient, still, build.scalar(-1, sum), rows.rows];
  build.update(sum, build.nodes("SgdUpdate", inputs, [true, true], settings, `${sum}/add`)[0]);
}

/** The means of the gradients of `microBatches` micro-batches, of the wanted rows alone; the sums start from 0 again. */
export function takeAccumulated(
  build: Builder,
  wanted: ReadonlyMap<string, "all" | Rows>,
  sums: ReadonlyMap<string, Tensor>,
  microBatches: number,
): ReadonlyMap<string, string> {
  const means = new Map<string, string>();
  for (const [name, want] of wanted) {
    const start = sums.get(sumName(name));
    assert(start, `no sum for "${name}"`);
    const sum = build.variable(sumName(name), { dtype: start.dtype, shape: start.shape });
    const trainedRows =
      want === "all" ? sum : build.node("Gather", [sum, want.rows], { axis: rowAxisIn(start.shape, want) });
    means.set(name, build.node("Mul", [trainedRows, build.scalar(1 / microBatches, sum)]));
    build.update(sum, build.constant(start, `${sum}/zero`));
  }
  return means;
}
