// Products of float64 matrices, as the engine computes them.
import type { Executable, Program, Variables } from "../engines/engine.ts";
import { tensor } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { type Context, signalOf } from "../run/context.ts";
import { compileOptions } from "../run/with-program.ts";

/** Of a [groups, rows, inner] and b [groups, inner, columns]. */
interface ProductSizes {
  readonly groups: number;
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
}

/** a · b, [groups, rows, columns]; in the array given where the engine can. */
export type Multiply = (
  a: Float64Array,
  b: Float64Array,
  sizes: ProductSizes,
  into?: Float64Array,
) => Promise<Float64Array>;

/** Below so many multiplications a call of the engine costs more than they do. */
const minEngineWork = 1 << 16;

/** Calls `use` with what multiplies, one product after the other. Each shape is compiled once and held until `use` ends. */
export async function withProducts<T>(context: Context, use: (multiply: Multiply) => Promise<T>): Promise<T> {
  const compiled = new Map<string, Compiled>();
  try {
    return await use(async (a, b, sizes, into) => {
      const { groups, rows, inner, columns } = sizes;
      if (groups * rows * inner * columns < minEngineWork) return multiplyPlainly(a, b, sizes, into);
      const key = JSON.stringify([groups, rows, inner, columns]);
      const product = compiled.get(key) ?? (await compile(sizes, context));
      compiled.set(key, product);
      const given = new Map([
        ["a", tensor("float64", [groups, rows, inner], a)],
        ["b", tensor("float64", [groups, inner, columns], b)],
      ]);
      const spare = into ? { spare: new Map([[product.output, into]]) } : {};
      const [result] = (await product.program.run(given, { ...spare, ...signalOf(context) })).values();
      return result.data as Float64Array;
    });
  } finally {
    for (const { executable, variables } of compiled.values()) {
      variables.dispose();
      await executable.dispose();
    }
  }
}

interface Compiled {
  readonly executable: Executable;
  readonly variables: Variables;
  readonly program: Program;
  readonly output: string;
}

async function compile({ groups, rows, inner, columns }: ProductSizes, context: Context): Promise<Compiled> {
  const build = buildOn();
  const a = build.input("a", { dtype: "float64", shape: [groups, rows, inner] });
  const b = build.input("b", { dtype: "float64", shape: [groups, inner, columns] });
  const output = build.node("MatMul", [a, b]);
  const executable = await context.engine.compile(build.graph([output]), compileOptions(context));
  const variables = await context.engine.variables(new Map());
  return { executable, variables, program: executable.bind(variables), output };
}

function multiplyPlainly(
  a: Float64Array,
  b: Float64Array,
  { groups, rows, inner, columns }: ProductSizes,
  into: Float64Array | undefined,
): Float64Array {
  const y = into?.fill(0) ?? new Float64Array(groups * rows * columns);
  for (let row = 0; row < groups * rows; row++) {
    const start = Math.floor(row / rows) * inner * columns;
    for (let k = 0; k < inner; k++) {
      const factor = a[row * inner + k];
      for (let j = 0; j < columns; j++) y[row * columns + j] += factor * b[start + k * columns + j];
    }
  }
  return y;
}
