// The suite that every engine must pass: every operator's example against the reference engine in float64.
import { describe, test } from "vitest";
import type { Engine } from "../../src/engines/engine.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { Tensor } from "../../src/ir/tensor.ts";
import { type Example, titleOf } from "../operators/examples/example.ts";
import { examples } from "../operators/examples/index.ts";
import { type CloseOptions, expectClose } from "../support/close.ts";
import { engineExamples } from "./engine-examples.ts";
import { type Case, caseOf, cast } from "./example-case.ts";

export type Run = (given: Case) => Promise<readonly Tensor[]>;

export const runOn =
  (engine: Engine, threads = 1): Run =>
  async ({ graph, inputs }) => {
    const executable = await engine.compile(graph, { threads });
    const results = await executable.bind(await engine.variables(new Map())).run(inputs);
    await executable.dispose();
    return graph.outputs.map((name) => results.get(name) as Tensor);
  };

const reference = runOn(createReferenceEngine());

/** Sums of many float32 products and quotients of sums that cancel. */
const widened = new Map<string, CloseOptions["widen"]>([
  ...["Conv", "ConvGradientInput", "ConvGradientWeight"].map(
    (op) => [op, { factor: 4, because: "sums hundreds of float32 products" }] as const,
  ),
  ["FakeQuantizeGradient", { factor: 200, because: "dscale is a difference of two sums of thousands of products" }],
  ["ReduceSum", { factor: 8, because: "some runtimes add thousands of float32 one after the other" }],
  ["BatchNormalizationTraining", { factor: 8, because: "the variance is a difference of float32 means" }],
  ["BatchNormalizationTrainingGradient", { factor: 8, because: "dgamma is a difference of float32 sums" }],
]);

/** What was computed from float32 inputs is no more exact than these, whatever it is cast to. */
const toleranceOf = ({ dtype }: Tensor): Tensor["dtype"] => (dtype === "float64" ? "float32" : dtype);

/** Why an example is left out; `undefined` where it is not. */
export type Skip = (example: Example) => string | undefined;

export function testEngine(name: string, run: Run, skip: Skip = () => undefined): void {
  const all = [...examples, ...engineExamples].map((example, i) => [`${i}: ${titleOf(example)}`, example] as const);
  describe(`${name} agrees with the reference engine`, () => {
    for (const [title, example] of all) {
      const reason = skip(example);
      test.skipIf(reason !== undefined)(reason === undefined ? title : `${title} (${reason})`, async () => {
        const actual = await run(caseOf(example, "float32"));
        const expected = await reference(caseOf(example, "float64"));
        const widen = widened.get(example.op);
        actual.forEach((output, i) => {
          const wanted = cast(output.dtype === "float64" ? "float64" : "float32")(expected[i]) as Tensor;
          expectClose(output, wanted, {
            what: `${example.op} output ${i}`,
            as: toleranceOf(output),
            ...(widen ? { widen } : {}),
          });
        });
      });
    }
  });
}
