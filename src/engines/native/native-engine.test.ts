import { describe, expect, test } from "vitest";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { joinedTensor } from "../../ir/joined-tensor.ts";
import { scalar, type Tensor, tensorOf, toNumbers } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { createReferenceEngine } from "../reference/reference-engine.ts";
import { loadAddon } from "./addon.ts";
import { createNativeEngine } from "./native-engine.ts";

const engine = createNativeEngine();
const floats = (...values: number[]): Tensor => tensorOf("float32", [values.length], values);

/** w' = w − rate · (w · x), velocity without momentum; the loss is Σ w · x. */
function trainingGraph(size: number) {
  const build = buildOn();
  const w = build.variable("w", { dtype: "float32", shape: [size] });
  const velocity = build.variable("velocity", { dtype: "float32", shape: [size] });
  const x = build.input("x", { dtype: "float32", shape: [size] });
  const rate = build.input("rate", { dtype: "float32", shape: [] });
  const product = build.node("Mul", [w, x]);
  const loss = build.node("ReduceSum", [product], { keepdims: 0 });
  const attributes = { momentum: 0.5, weightDecay: 0 };
  const [next, state] = build.nodes("SgdUpdate", [w, product, velocity, rate], [true, true], attributes);
  build.update("w", next);
  build.update("velocity", state);
  return build.graph([loss], "step");
}

const start = new Map([
  ["w", floats(1, 2, 3)],
  ["velocity", floats(0, 0, 0)],
]);
const inputs = new Map([
  ["x", floats(1, 1, 2)],
  ["rate", scalar("float32", 0.5)],
]);

describe.skipIf(!isNativeBuilt)(`the native engine${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  test("updates variables as the reference engine does", async () => {
    const graph = trainingGraph(3);
    const results = [];
    for (const each of [engine, createReferenceEngine()]) {
      const variables = await each.variables(start);
      const program = (await each.compile(graph, { threads: 2 })).bind(variables);
      const losses = [];
      for (let i = 0; i < 3; i++) losses.push((await program.run(inputs)).get(graph.outputs[0]));
      results.push([...losses, await variables.read("w"), await variables.read("velocity")]);
    }
    expect(results[0]).toEqual(results[1]);
  });

  test("a series of runs gives what they give one by one", async () => {
    const graph = trainingGraph(3);
    const xs = [floats(1, 1, 2), floats(-1, 0.5, 2), floats(3, 1, -1), floats(-1, 0.5, 2)];
    const rates = [0.5, 0.25, 0.125, 0.1];
    const arrays = [Float32Array.of(1, 1, 2, 3, 1, -1), Float32Array.of(-1, 0.5, 2)];
    const join = (): never => {
      throw new Error("joined");
    };
    const series = new Map([
      ["x", joinedTensor("float32", [4, 3], { arrays, size: 3, places: Int32Array.of(0, 2, 1, 2), join })],
      ["rate", floats(...rates)],
    ]);
    const [one, other] = [await engine.variables(start), await engine.variables(start)];
    const executable = await engine.compile(graph, { threads: 2 });
    const program = executable.bind(one);
    const losses: number[] = [];
    for (const [i, x] of xs.entries()) {
      const outputs = await program.run(
        new Map([
          ["x", x],
          ["rate", scalar("float32", rates[i])],
        ]),
      );
      losses.push(...toNumbers(outputs.get(graph.outputs[0]) ?? scalar("float32", 0)));
    }
    const found = await executable.bind(other).runSeries?.(series, graph.outputs);
    expect(found?.get(graph.outputs[0])).toEqual(floats(...losses));
    for (const name of ["w", "velocity"]) expect(await other.read(name)).toEqual(await one.read(name));
  });

  test("a series of runs whose inputs do not fit together is refused", async () => {
    const graph = trainingGraph(3);
    const program = (await engine.compile(graph)).bind(await engine.variables(start));
    const of = (x: readonly number[], rate: readonly number[]): ReadonlyMap<string, Tensor> =>
      new Map([
        ["x", tensorOf("float32", x, new Float32Array(x.reduce((a, b) => a * b, 1)))],
        ["rate", tensorOf("float32", rate, new Float32Array(rate.reduce((a, b) => a * b, 1)))],
      ]);
    await expect(program.runSeries?.(of([2, 3], [3]), [])).rejects.toThrow(
      'Inputs of several runs of graph "step" have 2 for "x", 3 for "rate".',
    );
    await expect(program.runSeries?.(of([2, 4], [2]), [])).rejects.toThrow(
      'Input "x" is float32 [4]; expected float32 [3].',
    );
    expect(await program.runSeries?.(of([0, 3], [0]), [])).toEqual(new Map());
  });

  test("logarithms are within 2 units in the last place, and what they are at the ends", async () => {
    const values = Array.from({ length: 2000 }, (_, i) => Math.fround(1.0905 ** (i - 1000)));
    const x = floats(...values, 0, -1, Number.POSITIVE_INFINITY, Number.NaN);
    const build = buildOn();
    const graph = build.graph([build.node("Log", [build.input("x", { dtype: "float32", shape: x.shape })])]);
    const program = (await engine.compile(graph)).bind(await engine.variables(new Map()));
    const [found] = (await program.run(new Map([["x", x]]))).values();
    const logarithms = Array.from(toNumbers(found));
    values.forEach((value, i) => {
      const error = Math.abs(logarithms[i] - Math.log(value));
      expect(error, `of ${value}`).toBeLessThanOrEqual(2 ** -22 * Math.max(Math.abs(Math.log(value)), 2 ** -20));
    });
    expect(logarithms.slice(-4)).toEqual([Number.NEGATIVE_INFINITY, Number.NaN, Number.POSITIVE_INFINITY, Number.NaN]);
  });

  test("an output is written into a spare array, which may be an input's", async () => {
    const build = buildOn();
    const [x, y] = ["x", "y"].map((name) => build.input(name, { dtype: "float32", shape: [2] }));
    const [sum, difference] = ["Add", "Sub"].map((op) => build.node(op, [x, y], {}, op));
    const program = (await engine.compile(build.graph([sum, difference]))).bind(await engine.variables(new Map()));
    const given = new Map([
      ["x", floats(5, 7)],
      ["y", floats(1, 2)],
    ]);
    const spare = new Map([[sum, given.get("x")?.data ?? floats().data]]);
    const outputs = await program.run(given, { spare });
    expect(outputs.get(sum)?.data).toBe(spare.get(sum));
    expect([sum, difference].map((name) => outputs.get(name))).toEqual([floats(6, 9), floats(4, 5)]);
    await expect(program.run(given, { spare: new Map([[sum, floats(1).data]]) })).rejects.toThrow(
      /internal: the array for "Add" does not fit/,
    );
  });

  test("an update that another update reads, and variables that change places, keep their old values till the end", async () => {
    const build = buildOn();
    const [a, b] = ["a", "b"].map((name) => build.variable(name, { dtype: "float32", shape: [2] }));
    build.update("a", b);
    build.update("b", a);
    const graph = build.graph([build.node("Add", [a, b]), a]);
    const variables = await engine.variables(
      new Map([
        ["a", floats(1, 2)],
        ["b", floats(3, 5)],
      ]),
    );
    const results = await (await engine.compile(graph)).bind(variables).run(new Map());
    expect(toNumbers(results.get(graph.outputs[0]) as Tensor)).toEqual([4, 7]);
    expect(toNumbers(results.get("a") as Tensor)).toEqual([1, 2]);
    expect(toNumbers(await variables.read("a"))).toEqual([3, 5]);
    expect(toNumbers(await variables.read("b"))).toEqual([1, 2]);
  });

  test("rows are chosen at each run; too many and wrong ones are refused", async () => {
    const build = buildOn();
    const w = build.variable("w", { dtype: "float32", shape: [3, 2] });
    const velocity = build.variable("velocity", { dtype: "float32", shape: [3, 2] });
    const g = build.input("g", { dtype: "float32", shape: ["rows", 2] });
    const rows = build.input("rows", { dtype: "int64", shape: ["rows"] });
    const attributes = { momentum: 0, weightDecay: 0, axis: 0 };
    const sgd = build.nodes("SgdUpdate", [w, g, velocity, build.scalar(1), rows], [true, true], attributes);
    build.update("w", sgd[0]);
    const graph = build.graph([]);
    const zeros = tensorOf("float32", [3, 2], [0, 0, 0, 0, 0, 0]);
    const variables = await engine.variables(
      new Map([
        ["w", zeros],
        ["velocity", zeros],
      ]),
    );
    const program = (await engine.compile(graph, { threads: 2 })).bind(variables);
    const run = (...chosen: number[]) =>
      program.run(
        new Map([
          [
            "g",
            tensorOf(
              "float32",
              [chosen.length, 2],
              chosen.flatMap((row) => [row + 1, 10]),
            ),
          ],
          ["rows", tensorOf("int64", [chosen.length], chosen)],
        ]),
      );
    await run(2);
    await run();
    await run(0, 2);
    expect(toNumbers(await variables.read("w"))).toEqual([-1, -10, 0, 0, -6, -20]);
    await expect(run(3)).rejects.toThrow("index 3 is outside an axis of 3");
    await expect(run(0, 1, 2, 0)).rejects.toThrow('4 indices for "rows"; expected at most 3');
  });

  test("a model's own indices may be more than what they index", async () => {
    const build = buildOn();
    const index = build.input("index", { dtype: "int64", shape: ["N"] });
    const table = build.constant(floats(1, 2, 3), "table");
    const graph = build.graph([build.node("Gather", [table, index], { axis: 0 })]);
    const program = (await engine.compile(graph)).bind(await engine.variables(new Map()));
    for (const chosen of [[2], [0, 1, 2, 2, 0], [1, 1], [2, 2, 2, 1]]) {
      const results = await program.run(new Map([["index", tensorOf("int64", [chosen.length], chosen)]]));
      expect(toNumbers(results.get(graph.outputs[0]) as Tensor)).toEqual(chosen.map((i) => i + 1));
    }
  });

  test("a run that waits for another is stopped by an abort meanwhile", async () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [2] });
    const graph = build.graph([build.node("Relu", [x])]);
    const program = (await engine.compile(graph)).bind(await engine.variables(new Map()));
    const given = new Map([["x", floats(1, -1)]]);
    const controller = new AbortController();
    const [first, second] = [program.run(given), program.run(given, { signal: controller.signal })];
    controller.abort();
    await expect(second).rejects.toThrow("was stopped");
    expect(toNumbers((await first).get(graph.outputs[0]) as Tensor)).toEqual([1, 0]);
  });

  test("a batch of any size runs, each size planned once", async () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 2] });
    const graph = build.graph([build.node("Relu", [x])]);
    const program = (await engine.compile(graph)).bind(await engine.variables(new Map()));
    for (const count of [1, 3, 1]) {
      const values = Array.from({ length: 2 * count }, (_, i) => i - 1);
      const result = await program.run(new Map([["x", tensorOf("float32", [count, 2], values)]]));
      const y = result.get(graph.outputs[0]) as Tensor;
      expect([y.shape, toNumbers(y)]).toEqual([[count, 2], values.map((value) => Math.max(0, value))]);
    }
  });

  test("runs of two programs asked for at once follow each other, and inputs may change afterwards", async () => {
    const graph = trainingGraph(3);
    const executable = await engine.compile(graph, { threads: 2 });
    const variables = await engine.variables(start);
    const programs = [executable.bind(variables), executable.bind(variables)];
    const x = floats(1, 1, 1);
    const given = new Map([...inputs, ["x", x] as const]);
    const running = [0, 1, 2, 3].map((i) => programs[i % 2].run(given));
    x.data.fill(Number.NaN as never);
    const losses = (await Promise.all(running)).map((result) => toNumbers(result.get(graph.outputs[0]) as Tensor)[0]);
    const alone = await engine.variables(start);
    const program = executable.bind(alone);
    for (const loss of losses) {
      const result = await program.run(new Map([...inputs, ["x", floats(1, 1, 1)] as const]));
      expect(toNumbers(result.get(graph.outputs[0]) as Tensor)).toEqual([loss]);
    }
  });

  test("disposal during a run lets it end; later runs are refused", async () => {
    const graph = trainingGraph(3);
    const executable = await engine.compile(graph);
    const variables = await engine.variables(start);
    const program = executable.bind(variables);
    const running = program.run(inputs);
    await executable.dispose();
    variables.dispose();
    expect((await running).size).toBe(1);
    await expect(program.run(inputs)).rejects.toThrow("after its executable was disposed");
  });

  test("an aborted run leaves the variables as they were", async () => {
    const graph = trainingGraph(3);
    const variables = await engine.variables(start);
    const program = (await engine.compile(graph)).bind(variables);
    await expect(program.run(inputs, { signal: AbortSignal.abort() })).rejects.toThrow("was stopped");
    const controller = new AbortController();
    const running = program.run(inputs, { signal: controller.signal });
    controller.abort();
    const ended = await running.then(
      () => true,
      () => false,
    );
    expect(toNumbers(await variables.read("w"))).toEqual(ended ? [0.5, 1, 0] : [1, 2, 3]);
  });

  test("wrong inputs, foreign variables and unknown outputs are refused", async () => {
    const graph = trainingGraph(3);
    const executable = await engine.compile(graph);
    const program = executable.bind(await engine.variables(start));
    const withX = (x: Tensor) => program.run(new Map([...inputs, ["x", x] as const]));
    await expect(withX(floats(1, 2))).rejects.toThrow('Input "x" is float32 [2]; expected float32 [3].');
    await expect(withX({ ...floats(1, 2), shape: [3] })).rejects.toThrow("holds 2 elements");
    await expect(program.run(inputs, { fetch: ["y"] })).rejects.toThrow('has no output "y"');
    const foreign = await createReferenceEngine().variables(start);
    expect(() => executable.bind(foreign)).toThrow("belong to another engine");
    const detached = floats(1, 1, 1);
    structuredClone(detached.data, { transfer: [detached.data.buffer as ArrayBuffer] });
    await expect(withX(detached)).rejects.toThrow("holds 0 elements");
  });

  test("what it cannot run is named at once", async () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [4] });
    const graph = build.graph([
      build.node("NonZero", [x]),
      build.node("Mish", [build.node("Cast", [x], { to: "float64" })]),
    ]);
    await expect(engine.compile(graph)).rejects.toThrow(/cannot run NonZero \(node ".*"\), Mish \(node ".*"\)/);
  });

  test("a malformed plan is an error", () => {
    const { Memory, Program } = loadAddon();
    const memory = new Memory(64);
    const none = new Float64Array();
    const step = (kernel: string, places: readonly number[], ints: readonly number[]) => ({
      kernel,
      places: Float64Array.from(places),
      ints: Float64Array.from(ints),
      floats: none,
    });
    const compile = (...steps: ReturnType<typeof step>[]) => new Program(1, [memory], steps, 0);
    expect(() => compile(step("nothing", [], []))).toThrow("there is no kernel nothing");
    expect(() => compile(step("fill4", [-1, 0, 0, 0, 0, 64], [17]))).toThrow(
      "wants 17 elements at place 1 of 64 bytes",
    );
    expect(() => compile(step("fill4", [-1, 0, 0, 0, 32, 64], [1]))).toThrow("lies outside its memory");
    expect(() => compile(step("fill4", [-1, 0, 0, 3, 0, 64], [1]))).toThrow("there is no such memory");
    expect(() => compile(step("fill4", [-1, 0, 0], [1]))).toThrow("too few places");
    expect(() => compile(step("fill4", [], []))).toThrow("too few integers");
    expect(() => memory.write(60, new Float32Array(2))).toThrow("bytes 60 to 68 of a memory of 64");
    expect(() => memory.read(-1, new Float32Array(1))).toThrow("expected a number of bytes");
  });
});
