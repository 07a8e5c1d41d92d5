// What threads share while they run must not depend on who comes first.
import { describe, expect, test } from "vitest";
import { createNativeEngine } from "../../src/engines/native/native-engine.ts";
import { type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { isNativeBuilt, notBuilt } from "../support/native.ts";

const wave = (length: number): number[] => Array.from({ length }, (_, i) => Math.sin(i * 0.7) * 2);

/** A convolution of 8-bit codes with 4-bit weights, packed anew by each thread at each run. */
function integerConvolution() {
  const build = buildOn();
  const one = (value: number): string => build.constant(tensorOf("float32", [], [value]));
  const x = build.input("x", { dtype: "float32", shape: [16, 16, 16, 16] });
  const codes = build.node("FakeQuantize", [x, one(0.02), one(120), one(0), one(255)]);
  const w = build.constant(tensorOf("float32", [32, 16, 3, 3], wave(32 * 16 * 9)));
  const weights = build.node("FakeQuantize", [w, one(0.3), undefined, one(-7), one(7)]);
  return build.graph([build.node("Conv", [codes, weights], { pads: [1, 1, 1, 1] })]);
}

describe.skipIf(!isNativeBuilt)(`native programs${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  test("give the same bytes on 2 threads, compiled again and again", async () => {
    const engine = createNativeEngine();
    const graph = integerConvolution();
    const inputs = new Map([["x", tensorOf("float32", [16, 16, 16, 16], wave(16 ** 4))]]);
    const seen = new Set<string>();
    for (let i = 0; i < 60; i++) {
      const executable = await engine.compile(graph, { threads: 2 });
      const program = executable.bind(await engine.variables(new Map()));
      for (let run = 0; run < 4; run++) {
        const y = (await program.run(inputs)).get(graph.outputs[0]) as Tensor;
        seen.add(String(y.data));
      }
      await executable.dispose();
    }
    expect(seen.size).toBe(1);
  });
});
