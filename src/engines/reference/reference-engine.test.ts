import { describe, expect, test } from "vitest";
import type { Graph } from "../../ir/graph.ts";
import { tensorOf } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { createReferenceEngine } from "./reference-engine.ts";

const engine = createReferenceEngine();
const vector = (...values: number[]) => tensorOf("float32", [values.length], values);

/** y = x + w, z = x · w; after a run w takes y and v takes the old w. */
function counter(): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["n"] });
  const other = build.input("other", { dtype: "float32", shape: ["n"] });
  const w = build.variable("w", { dtype: "float32", shape: [2] });
  const v = build.variable("v", { dtype: "float32", shape: [2] });
  const y = build.node("Add", [x, w], {}, "y");
  const z = build.node("Mul", [y, other], {}, "z");
  build.update("w", y);
  build.update("v", w);
  return { ...build.graph([y, z]), variables: [w, v] };
}

const inputs = new Map([
  ["x", vector(1, 2)],
  ["other", vector(3, 3)],
]);
const start = () =>
  engine.variables(
    new Map([
      ["w", vector(10, 20)],
      ["v", vector(0, 0)],
    ]),
  );

describe("the reference engine", () => {
  test("gives outputs and applies all updates after the run", async () => {
    const variables = await start();
    const program = (await engine.compile(counter())).bind(variables);
    const outputs = await program.run(inputs);
    expect([...outputs.keys()]).toEqual(["y", "z"]);
    expect([...(outputs.get("z")?.data ?? [])]).toEqual([33, 66]);
    expect((await variables.read("w")).data).toEqual(Float32Array.of(11, 22));
    expect((await variables.read("v")).data).toEqual(Float32Array.of(10, 20));
  });

  test("computes what is fetched and what updates need, nothing else", async () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [2] });
    const index = build.input("index", { dtype: "int64", shape: [1] });
    const good = build.node("Neg", [x]);
    const bad = build.node("Gather", [x, index], { axis: 0 });
    const program = (await engine.compile(build.graph([good, bad]))).bind(await engine.variables(new Map()));
    const only = new Map([
      ["x", vector(1, 2)],
      ["index", tensorOf("int64", [1], [7])],
    ]);
    const outputs = await program.run(only, { fetch: [good] });
    expect([...outputs.keys()]).toEqual([good]);
    await expect(program.run(only)).rejects.toThrow("index 7 is outside an axis of 2 elements");
    await expect(program.run(only, { fetch: ["nowhere"] })).rejects.toThrow('fetch names "nowhere"');
  });

  test("keeps variables when a run fails", async () => {
    const variables = await start();
    const program = (await engine.compile(counter())).bind(variables);
    await expect(program.run(inputs, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
    expect((await variables.read("w")).data).toEqual(Float32Array.of(10, 20));
  });

  test("an abort arrives while nodes run", async () => {
    const build = buildOn();
    let x = build.input("x", { dtype: "float32", shape: [200000] });
    for (let i = 0; i < 200; i++) x = build.node("Erf", [x]);
    const program = (await engine.compile(build.graph([x]))).bind(await engine.variables(new Map()));
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 10);
    const large = new Map([["x", tensorOf("float32", [200000], new Float32Array(200000).fill(1))]]);
    await expect(program.run(large, { signal: controller.signal })).rejects.toMatchObject({ code: "ABORTED" });
  });

  test("variables hold copies", async () => {
    const w = vector(1, 2);
    const variables = await engine.variables(new Map([["w", w]]));
    (w.data as Float32Array)[0] = 99;
    const read = await variables.read("w");
    (read.data as Float32Array)[1] = 99;
    expect((await variables.read("w")).data).toEqual(Float32Array.of(1, 2));
    await expect(variables.write("u", w)).rejects.toThrow('There is no variable "u"; there are w.');
  });

  test("refuses all unsupported nodes at once", async () => {
    const graph = counter();
    const nodes = graph.nodes.map((node, i) => ({ ...node, op: `Unknown${i}` }));
    await expect(engine.compile({ ...graph, nodes })).rejects.toThrow(/Unknown0 \(node "y"\), Unknown1 \(node "z"\)/);
  });

  test.each([
    [
      "missing and unknown",
      new Map([
        ["x", vector(1, 2)],
        ["u", vector(1)],
      ]),
      'missing "other", unknown "u"',
    ],
    [
      "dtype",
      new Map([...inputs, ["x", tensorOf("float64", [2], [1, 2])]]),
      'Input "x" is float64 [2]; expected float32 [n].',
    ],
    [
      "rank",
      new Map([...inputs, ["x", tensorOf("float32", [], [1])]]),
      'Input "x" is float32 []; expected float32 [n].',
    ],
    ["symbolic size", new Map([...inputs, ["other", vector(1)]]), 'its size "n" is 1; in Input "x" it is 2'],
  ])("names inputs that do not fit: %s", async (_name, given, message) => {
    const program = (await engine.compile(counter())).bind(await start());
    await expect(program.run(given)).rejects.toThrow(message);
  });

  test("names variables that are missing or do not fit", async () => {
    const executable = await engine.compile(counter());
    const none = await engine.variables(new Map());
    expect(() => executable.bind(none)).toThrow('needs the variable "w", which has no value');
    const wrong = await engine.variables(
      new Map([
        ["w", vector(1)],
        ["v", vector(1, 2)],
      ]),
    );
    expect(() => executable.bind(wrong)).toThrow('Variable "w" is float32 [1]; expected float32 [2].');
  });
});
