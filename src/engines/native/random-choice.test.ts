// Choices among images and inputs that are images, which the engine may hold channels last.
import { expect, test } from "vitest";
import { createRandom } from "../../../test/support/random.ts";
import { runGraph } from "../../../test/support/run-graph.ts";
import { joinedTensor, piecesOf } from "../../ir/joined-tensor.ts";
import { scalar, tensorOf, toNumbers } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { createReferenceEngine } from "../reference/reference-engine.ts";
import { isNativeBuilt } from "./addon.ts";
import { createNativeEngine } from "./native-engine.ts";

const random = createRandom(3);

test.skipIf(!isNativeBuilt())("lie where they lie on the reference engine, for every layout", async () => {
  for (const [channels, size] of [
    [16, 8],
    [5, 3],
    [40, 7],
    [32, 5],
    [48, 33],
  ]) {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [3, channels, size, size] });
    const w = build.constant(random.tensor("float32", [channels, channels, 3, 3]));
    const counter = build.input("counter", { dtype: "int64", shape: [] });
    const y = build.node("Conv", [x, w], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] });
    const ones = build.node("Add", [build.node("Mul", [y, build.scalar(0, y)]), build.scalar(1, y)]);
    const chosen = build.node("RandomChoice", [ones, undefined, counter], { probability: 0.3 });
    const graph = build.graph([chosen]);
    const inputs = new Map([
      ["x", random.tensor("float32", [3, channels, size, size])],
      ["counter", tensorOf("int64", [], [0xdeadbeef])],
    ]);
    const [native, reference] = await Promise.all(
      [createNativeEngine(), createReferenceEngine()].map((engine) => runGraph(engine, graph, inputs)),
    );
    const [mine, theirs] = [native, reference].map((outputs) => toNumbers(outputs.get(chosen) ?? scalar("float32", 0)));
    expect(mine).toEqual(theirs);
    const share = theirs.reduce((sum, value) => sum + value, 0) / theirs.length;
    expect(Math.abs(share - 0.3)).toBeLessThan(0.1);
  }
});

test.skipIf(!isNativeBuilt())(
  "inputs in several arrays give what they give in one, turned for convolutions or not",
  async () => {
    for (const [channels, size] of [
      [16, 8],
      [24, 5],
      [3, 9],
    ]) {
      const build = buildOn();
      const shape = [4, channels, size, size];
      const [x, target] = ["x", "target"].map((name) => build.input(name, { dtype: "float32", shape }));
      const w = build.constant(random.tensor("float32", [channels, channels, 3, 3]));
      const y = build.node("Conv", [x, w], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] });
      const graph = build.graph([build.node("Sub", [y, target]), build.node("Identity", [target])]);
      const whole = new Map(["x", "target"].map((name) => [name, random.tensor("float32", shape)]));
      const sample = channels * size * size;
      const inPieces = new Map(
        [...whole].map(([name, { dtype, data }]) => {
          const arrays = [2, 0, 3, 1].map((at) => data.slice(at * sample, (at + 1) * sample));
          const join = (): never => {
            throw new Error("joined");
          };
          return [
            name,
            joinedTensor(dtype, shape, { arrays, size: sample, places: Int32Array.of(1, 3, 0, 2), join }),
          ] as const;
        }),
      );
      const [one, several] = await Promise.all(
        [whole, inPieces].map((each) => runGraph(createNativeEngine(), graph, each)),
      );
      expect(several).toEqual(one);
      expect(toNumbers(several.get(graph.outputs[1]) ?? scalar("float32", 0))).toEqual(
        toNumbers(whole.get("target") ?? scalar("float32", 0)),
      );
    }
  },
);

test.skipIf(!isNativeBuilt())(
  "images that stay channels last are what they are otherwise, as outputs and as inputs",
  async () => {
    const engine = createNativeEngine();
    const shape = [3, 16, 6, 5];
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape });
    const weight = build.constant(random.tensor("float32", [16, 16, 3, 3]));
    const y = build.node("Conv", [x, weight], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] });
    const graph = build.graph([y, build.node("ReduceSum", [y, build.constant(tensorOf("int64", [1], [1]))])]);
    const inputs = new Map([["x", random.tensor("float32", shape)]]);
    const outputs = [];
    for (const keepsChannelsLast of [false, true]) {
      const program = (await engine.compile(graph, { keepsChannelsLast })).bind(await engine.variables(new Map()));
      outputs.push(await program.run(inputs));
    }
    const [plain, kept] = outputs.map((each) => each.get(y) ?? scalar("float32", 0));
    expect(piecesOf(kept)?.channels).toBe(16);
    expect(kept.shape).toEqual(plain.shape);
    expect(kept.data).toEqual(plain.data);
    expect(outputs[1].get(graph.outputs[1])).toEqual(outputs[0].get(graph.outputs[1]));
    const rows = buildOn();
    const given = rows.input("x", { dtype: "float32", shape });
    const flat = rows.graph([rows.node("Reshape", [given, rows.constant(tensorOf("int64", [2], [3, 480]))])]);
    for (const next of [graph, flat]) {
      const results = [];
      for (const value of [plain, kept]) results.push(await runGraph(engine, next, new Map([["x", value]])));
      expect(results[1]).toEqual(results[0]);
    }
  },
);
