// Element-wise operations that become one loop of machine code: whole vectors and what is left over, with values of every kind.
import { describe, expect, test } from "vitest";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { createRandom } from "../../../test/support/random.ts";
import { runGraph } from "../../../test/support/run-graph.ts";
import { scalar, type Tensor, tensorOf, toNumbers } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { createReferenceEngine } from "../reference/reference-engine.ts";
import { createNativeEngine } from "./native-engine.ts";

type Build = ReturnType<typeof buildOn>;

const number = (build: Build, value: number): string => build.constant(scalar("float32", value));
const row = (build: Build, channels: number, base: number): string =>
  build.constant(
    tensorOf(
      "float32",
      [channels],
      Array.from({ length: channels }, (_, i) => base + i / 8),
    ),
  );

/** Each gives values that float32 holds exactly, or rounds alike in one operation or two. */
const chains: Readonly<Record<string, (build: Build, x: string, z: string) => readonly string[]>> = {
  arithmetic: (build, x, z) => {
    const sum = build.node("Add", [build.node("Mul", [x, number(build, 2)]), z]);
    return [sum, build.node("Sub", [number(build, 3), build.node("Relu", [sum])])];
  },
  bounds: (build, x, z) => {
    const held = build.node("Clip", [x, number(build, -2), number(build, 1.5)]);
    const above = build.node("Clip", [build.node("Add", [held, z]), number(build, 0)]);
    return [build.node("Div", [above, number(build, 4)])];
  },
  quantizers: (build, x, z) => {
    const numbers = [0.5, 3, 0, 15].map((each) => number(build, each));
    const y = build.node("FakeQuantize", [build.node("Add", [x, z]), ...numbers]);
    return [build.node("Relu", [y])];
  },
  gradients: (build, x, z) => {
    const numbers = [0.5, 3, 0, 15].map((each) => number(build, each));
    const [dx, dscale, dzero] = build.nodes("FakeQuantizeGradient", [z, x, ...numbers], [true, true, true]);
    return [build.node("Neg", [dx]), build.node("Add", [dx, x]), dscale, dzero];
  },
  choices: (build, x, z) => {
    const [one, other] = [0xdeadbeef, 7].map((counter) => build.constant(tensorOf("int64", [], [counter])));
    const chosen = (a: string | undefined, b: string | undefined, counter: string, probability: number): string =>
      build.node("RandomChoice", [a, b, counter], { probability });
    const mixed = chosen(
      x,
      build.node("FakeQuantize", [x, ...[0.5, 3, 0, 15].map((each) => number(build, each))]),
      one,
      0.5,
    );
    const parts = [chosen(z, undefined, one, 0.5), chosen(undefined, z, one, 0.5)];
    return [build.node("Relu", [mixed]), build.node("Sub", parts), chosen(mixed, z, other, 0.2)];
  },
};

const odd = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 0, 0.25, -0.25];
const random = createRandom(23);

/** Halves, and among them, where they are asked for, the odd ones. */
function values(shape: readonly number[], hasOdd: boolean): Tensor {
  const tensor = random.integerTensor("float32", shape, -9, 10);
  for (let i = 0; i < tensor.data.length; i++) tensor.data[i] = Number(tensor.data[i]) / 2;
  if (hasOdd) for (let i = 3; i < tensor.data.length; i += 29) tensor.data[i] = odd[i % odd.length];
  return tensor;
}

describe.skipIf(!isNativeBuilt)(`loops over elements${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  const [native, reference] = [createNativeEngine(), createReferenceEngine()];

  test.each(
    Object.keys(chains).flatMap((name) => [
      [name, [5, 16, 33, 7]],
      [name, [4099]],
    ]) as [string, number[]][],
  )("%s of %j", async (name, shape) => {
    const build = buildOn();
    const [x, z] = ["x", "z"].map((each) => build.input(each, { dtype: "float32", shape }));
    const graph = build.graph([...chains[name](build, x, z)]);
    const inputs = new Map([
      ["x", values(shape, name !== "gradients")],
      ["z", values(shape, false)],
    ]);
    const expected = await runGraph(reference, graph, inputs);
    for (const threads of [1, 3]) {
      const actual = await runGraph(native, graph, inputs, threads);
      for (const output of graph.outputs)
        expect(toNumbers(actual.get(output) as Tensor).map(String), output).toEqual(
          toNumbers(expected.get(output) as Tensor).map(String),
        );
    }
  });

  test.each([16, 32, 48, 80, 20])("a row of %i that all rows meet, and sums of columns", async (channels) => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [301, channels] });
    const scaled = build.node("Mul", [build.node("Add", [x, row(build, channels, -1)]), row(build, channels, 2)]);
    const z = build.input("z", { dtype: "float32", shape: [301, channels] });
    const doubled = build.node("Mul", [z, number(build, 2)]);
    const sums = build.node("ReduceSum", [doubled, build.ints([0])], { keepdims: 0 });
    const graph = build.graph([scaled, build.node("Relu", [scaled]), doubled, sums]);
    const inputs = new Map([
      ["x", values([301, channels], true)],
      ["z", values([301, channels], false)],
    ]);
    const expected = await runGraph(reference, graph, inputs);
    const actual = await runGraph(native, graph, inputs, 2);
    for (const output of graph.outputs)
      expect(toNumbers(actual.get(output) as Tensor)).toEqual(toNumbers(expected.get(output) as Tensor));
  });

  test.each(["Neg", "Reciprocal", "Exp", "Sigmoid", "Tanh", "Erf", "Gelu", "Gelu of tanh"])(
    "%s of whole vectors and of what is left over",
    async (name) => {
      const build = buildOn();
      const [op, approximate] = name.split(" of ");
      const x = build.input("x", { dtype: "float32", shape: [4111] });
      const scaled = build.node("Mul", [x, number(build, 1)]);
      const graph = build.graph([build.node(op, [scaled], approximate === undefined ? {} : { approximate })]);
      const given = random.uniformTensor("float32", [4111], -9, 9);
      // Of minus infinity Gelu by tanh gives what none of its terms says.
      const edges = [
        ...odd.slice(approximate === undefined ? 0 : 3),
        1e-30,
        -1e-30,
        87.3,
        -87.3,
        88.8,
        -88.8,
        4.1,
        -4.1,
      ];
      for (const first of [0, 4096]) for (const [i, edge] of edges.entries()) given.data[first + i] = edge;
      const inputs = new Map([["x", given]]);
      const [wanted, actual] = await Promise.all(
        [reference, native].map(async (engine) =>
          toNumbers((await runGraph(engine, graph, inputs)).get(graph.outputs[0]) as Tensor),
        ),
      );
      const isNear = (value: number, i: number): boolean =>
        Object.is(value, wanted[i]) ||
        Math.abs(value - wanted[i]) <= 1e-6 * Math.max(1, Math.abs(wanted[i]), Math.abs(Number(given.data[i])));
      expect(actual.flatMap((value, i) => (isNear(value, i) ? [] : [[i, value, wanted[i]]]))).toEqual([]);
    },
  );

  test.each([16, 32, 64, 96])("batch statistics of %i channels and their gradient", async (channels) => {
    const build = buildOn();
    const shape = [6, channels, 9, 9];
    const [x, dy] = ["x", "dy"].map((each) => build.input(each, { dtype: "float32", shape }));
    const [gamma, beta] = [row(build, channels, 1), row(build, channels, -1)];
    const epsilon = { epsilon: 1e-5 };
    const training = build.nodes("BatchNormalizationTraining", [x, gamma, beta], [true, true, true], epsilon);
    const [y, mean, variance] = training;
    const gradient = build.nodes(
      "BatchNormalizationTrainingGradient",
      [dy, x, gamma, mean, variance],
      [true, true, true],
      epsilon,
    );
    const graph = build.graph([build.node("Relu", [y]), mean, variance, ...gradient]);
    const inputs = new Map([
      ["x", random.tensor("float32", shape)],
      ["dy", random.tensor("float32", shape)],
    ]);
    const expected = await runGraph(reference, graph, inputs);
    for (const threads of [1, 3]) {
      const actual = await runGraph(native, graph, inputs, threads);
      for (const output of graph.outputs) {
        const wanted = toNumbers(expected.get(output) as Tensor);
        toNumbers(actual.get(output) as Tensor).forEach((value, i) => {
          expect(Math.abs(value - wanted[i]), `${output} ${i}`).toBeLessThan(2e-5 * Math.max(1, Math.abs(wanted[i])));
        });
      }
    }
  });
});
