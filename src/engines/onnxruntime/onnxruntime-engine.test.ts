import { describe, expect, test } from "vitest";
import { FrostbitError } from "../../ir/errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { scalar, type Tensor, tensorOf, toNumbers, zeros } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { createReferenceEngine } from "../reference/reference-engine.ts";
import { createOnnxRuntimeEngine } from "./onnxruntime-engine.ts";

const engine = createOnnxRuntimeEngine();
const float = (...values: number[]): Tensor => tensorOf("float32", [values.length], values);

/** total ← total + x; outputs the new total and x · factor. */
function counter(): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [2] });
  const total = build.variable("total", { dtype: "float32", shape: [2] });
  const factor = build.variable("factor", { dtype: "float32", shape: [] });
  const next = build.node("Add", [total, x], {}, "next");
  build.update(total, next);
  return build.graph([next, build.node("Mul", [x, factor], {}, "scaled")]);
}

const start = (): Map<string, Tensor> =>
  new Map([
    ["total", float(1, 2)],
    ["factor", scalar("float32", 3)],
  ]);

async function expectRejection(work: Promise<unknown>, code: string, text: RegExp): Promise<void> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(FrostbitError);
  expect((error as FrostbitError).code).toBe(code);
  expect((error as FrostbitError).message).toMatch(text);
}

describe("variables", () => {
  test("are updated by each run, whether their values are fetched or not", async () => {
    const executable = await engine.compile(counter());
    const variables = await engine.variables(start());
    const program = executable.bind(variables);
    const all = await program.run(new Map([["x", float(10, 20)]]));
    expect(toNumbers(all.get("next") as Tensor)).toEqual([11, 22]);
    const some = await program.run(new Map([["x", float(1, 1)]]), { fetch: ["scaled"] });
    expect([...some.keys()]).toEqual(["scaled"]);
    expect(toNumbers(await variables.read("total"))).toEqual([12, 23]);
    await executable.dispose();
  });

  test("are separate for each binding of one executable", async () => {
    const executable = await engine.compile(counter());
    const [a, b] = [await engine.variables(start()), await engine.variables(start())];
    await executable.bind(a).run(new Map([["x", float(5, 5)]]));
    expect(toNumbers(await a.read("total"))).toEqual([6, 7]);
    expect(toNumbers(await b.read("total"))).toEqual([1, 2]);
    await executable.dispose();
  });

  test("can be written and added", async () => {
    const variables = await engine.variables(start());
    await variables.write("total", float(7, 8));
    await variables.add(new Map([["more", float(1)]]));
    expect(variables.names()).toEqual(["total", "factor", "more"]);
    expect(toNumbers(await variables.read("total"))).toEqual([7, 8]);
    await expectRejection(variables.read("absent"), "BAD_DATA", /no variable "absent"; there are total, factor, more/);
  });
});

describe("errors name what was wrong", () => {
  test("an input that is missing, or has another shape", async () => {
    const executable = await engine.compile(counter());
    const program = executable.bind(await engine.variables(start()));
    await expectRejection(program.run(new Map()), "BAD_DATA", /wants the input "x"/);
    await expectRejection(
      program.run(new Map([["x", float(1)]])),
      "BAD_DATA",
      /"x" is float32 \[1\]; expected float32 \[2\]/,
    );
    await expectRejection(
      program.run(new Map([["x", float(1, 2)]]), { fetch: ["y"] }),
      "BAD_OPTION",
      /no output "y"; it has next, scaled/,
    );
    await executable.dispose();
    await expectRejection(program.run(new Map([["x", float(1, 2)]])), "ENGINE", /after its executable was disposed/);
  });

  test("all operators that have no float64 kernel, in one message", async () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float64", shape: [1, 1, 3, 3] });
    const w = build.constant(zeros("float64", [1, 1, 2, 2]));
    const y = build.node("Conv", [x, w], {}, "first");
    const graph = build.graph([build.node("GlobalAveragePool", [y], {}, "second")]);
    await expectRejection(
      engine.compile(graph),
      "UNSUPPORTED_OP",
      /Conv \(node "first"\).*GlobalAveragePool \(node "second"\).*"reference"/,
    );
  });

  test("variables of another engine", async () => {
    const executable = await engine.compile(counter());
    const foreign = await createReferenceEngine().variables(start());
    expect(() => executable.bind(foreign)).toThrow(/belong to another engine/);
    await executable.dispose();
  });

  test("a run that was stopped", async () => {
    const executable = await engine.compile(counter());
    const program = executable.bind(await engine.variables(start()));
    const stopped = program.run(new Map([["x", float(1, 2)]]), { signal: AbortSignal.abort() });
    await expectRejection(stopped, "ABORTED", /^Stopped\.$/);
    await executable.dispose();
  });
});

test("float64 graphs run where ONNX Runtime has kernels", async () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float64", shape: [2, 2] });
  const graph = build.graph([build.node("MatMul", [x, build.node("Relu", [x])], {}, "y")]);
  const executable = await engine.compile(graph);
  const program = executable.bind(await engine.variables(new Map()));
  const results = await program.run(new Map([["x", tensorOf("float64", [2, 2], [1, -2, 3, 4])]]));
  expect(toNumbers(results.get("y") as Tensor)).toEqual([-5, -8, 15, 16]);
  await executable.dispose();
});

test("an output may be an input, or the same value twice", async () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [1] });
  const y = build.node("Neg", [x]);
  const executable = await engine.compile({ ...build.graph([x, y]), updates: new Map() });
  const program = executable.bind(await engine.variables(new Map()));
  const results = await program.run(new Map([["x", float(2)]]));
  expect([x, y].map((name) => toNumbers(results.get(name) as Tensor)[0])).toEqual([2, -2]);
  await executable.dispose();
});

test("compiling again and again keeps no memory of what was disposed", async () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [1, 2_000_000] });
  const w = build.constant(tensorOf("float32", [1, 2_000_000], new Float32Array(2_000_000).fill(1)));
  const graph = build.graph([build.node("Add", [x, w])]);
  const inputs = new Map([["x", zeros("float32", [1, 2_000_000])]]);
  const compileOnce = async (): Promise<void> => {
    const executable = await engine.compile(graph, { threads: 1 });
    await executable.bind(await engine.variables(new Map())).run(inputs);
    await executable.dispose();
  };
  for (let i = 0; i < 5; i++) await compileOnce();
  const before = process.memoryUsage.rss();
  for (let i = 0; i < 40; i++) await compileOnce();
  expect(process.memoryUsage.rss() - before).toBeLessThan(400e6); // kept, 40 models of 8 MB with 8 MB of results would take 640 MB and more
});

describe("quantizers", () => {
  /** Quantizers of one scale before, between and behind two Transposes; the value between is read, too, as calibration does. */
  function turnedTwice(): Graph {
    const build = buildOn();
    const scale = build.constant(scalar("float32", 0.25));
    const zero = build.constant(scalar("uint8", 4));
    const quantized = (value: string) =>
      build.node("DequantizeLinear", [build.node("QuantizeLinear", [value, scale, zero]), scale, zero]);
    const turn = (value: string) => build.node("Transpose", [value], { perm: [0, 1, 3, 2] });
    const x = build.node("Relu", [build.input("x", { dtype: "float32", shape: [1, 2, 2, 3] })]);
    const between = turn(quantized(turn(quantized(x))));
    return build.graph([between, build.node("Relu", [quantized(between)], {}, "y")]);
  }

  test("around Transposes give the values of the reference engine", async () => {
    const x = tensorOf("float32", [1, 2, 2, 3], [-3, -1.1, -0.4, 0.1, 0.3, 0.6, 1.2, 2.4, 4.9, 9.8, 60, 90]);
    const outputs = [];
    for (const one of [engine, createReferenceEngine()]) {
      const executable = await one.compile(turnedTwice());
      const program = executable.bind(await one.variables(new Map()));
      outputs.push(toNumbers((await program.run(new Map([["x", x]]))).get("y") as Tensor));
      await executable.dispose();
    }
    expect(outputs[0]).toEqual(outputs[1]);
  });
});
