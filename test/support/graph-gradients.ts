// Gradients of a whole graph in float64 against central differences of the reference engine's forward.
import { expect } from "vitest";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { assert } from "../../src/ir/errors.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { numbersOf, type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { removeDeadNodes } from "../../src/passes/remove-dead-nodes.ts";
import { expectClose } from "./close.ts";
import { createRandom } from "./random.ts";
import { runGraph } from "./run-graph.ts";

const engine = createReferenceEngine();
/** Small enough that no rectifier of the tests' models turns over. */
const step = 1e-6;

const dot = (a: Tensor, b: Tensor): number => {
  const other = numbersOf(b);
  return Array.from(numbersOf(a)).reduce((sum, element, i) => sum + element * other[i], 0);
};

export interface Checked {
  /** Gives the loss and the gradients. */
  readonly graph: Graph;
  readonly loss: string;
  readonly gradients: ReadonlyMap<string, string>;
  /** Everything that the graph reads, the differentiated values among it. */
  readonly inputs: ReadonlyMap<string, Tensor>;
}

/** One random direction per differentiated value. */
export async function expectGradients({ graph, loss, gradients, inputs }: Checked): Promise<void> {
  const whole = await runGraph(engine, removeDeadNodes({ ...graph, outputs: [loss, ...gradients.values()] }), inputs);
  const forward = removeDeadNodes({ ...graph, outputs: [loss] });
  const program = (await engine.compile(forward)).bind(await engine.variables(new Map()));
  const random = createRandom(5);
  for (const [name, gradientName] of gradients) {
    const [value, slope] = [inputs.get(name), whole.get(gradientName)];
    assert(value && slope, `"${name}" has no gradient`);
    const direction = random.tensor("float64", value.shape);
    const along = numbersOf(direction);
    const lossAt = async (amount: number): Promise<number> => {
      const moved = Array.from(numbersOf(value), (element, i) => element + amount * along[i]);
      const outputs = await program.run(new Map(inputs).set(name, tensorOf("float64", value.shape, moved)));
      return numbersOf(outputs.get(loss) ?? value)[0];
    };
    const expected = ((await lossAt(step)) - (await lossAt(-step))) / (2 * step);
    expect(slope.shape, name).toEqual(value.shape);
    expectClose([dot(slope, direction)], [expected], { as: "finiteDifferences", what: `derivative by "${name}"` });
  }
}
