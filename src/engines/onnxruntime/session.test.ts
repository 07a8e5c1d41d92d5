import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { castTensor, type Tensor, tensor, tensorOf } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { encodeGraph } from "./encode-graph.ts";
import { loadOrt } from "./ort-module.ts";
import { createSession } from "./session.ts";
import { fromOrt, toOrt } from "./tensors.ts";

const values: readonly Tensor[] = [
  tensorOf("float32", [2, 3], [1, -2.5, 3, 4, 5, 6]),
  tensorOf("float64", [3], [1e-300, 2, 3]),
  tensorOf("int64", [3], [-(2 ** 40), 0, 7]),
  tensorOf("int8", [2, 2], [-128, 127, 0, 5]),
  tensorOf("uint8", [], [255]),
  tensorOf("bool", [4], [1, 0, 0, 1]),
  tensor("float16", [2], new Uint16Array([0x3c00, 0xc000])),
];

test.each(values.map((value) => [value.dtype, value] as const))(
  "%s goes through a session unchanged",
  async (dtype, x) => {
    const build = buildOn();
    const y = build.node("Identity", [build.input("x", { dtype, shape: x.shape })], {}, "y");
    const session = await createSession(encodeGraph(build.graph([y])), { threads: 1 });
    expect((await session.run(new Map([["x", x]]))).get("y")).toEqual(x);
    expect(session.inputs.get("x")).toEqual({ dtype, shape: x.shape });
    await session.dispose();
  },
);

test.each(["int4", "uint4"] as const)("%s is packed for ONNX Runtime and unpacked again", async (dtype) => {
  const x = castTensor(tensorOf("int8", [5], dtype === "int4" ? [-8, -1, 0, 3, 7] : [0, 15, 8, 3, 1]), dtype);
  const given = toOrt(await loadOrt(), "x", x);
  expect(given.data).toHaveLength(3);
  expect(fromOrt("x", given)).toEqual(x);
});

test("a model is opened from a file as from its bytes", async () => {
  const build = buildOn();
  const y = build.node("Neg", [build.input("x", { dtype: "float32", shape: ["n"] })], {}, "y");
  const folder = mkdtempSync(join(tmpdir(), "frostbit-"));
  const path = join(folder, "model.onnx");
  writeFileSync(path, encodeGraph(build.graph([y])));
  const session = await createSession(path);
  const results = await session.run(new Map([["x", tensorOf("float32", [2], [1, 2])]]), ["y"]);
  expect(results.get("y")).toEqual(tensorOf("float32", [2], [-1, -2]));
  await session.dispose();
  rmSync(folder, { recursive: true });
});

test("what is no model is refused with ONNX Runtime's reason", async () => {
  await expect(createSession(new Uint8Array([1, 2, 3]))).rejects.toThrow(
    /^ONNX Runtime cannot load the model: .*protobuf/i,
  );
});
