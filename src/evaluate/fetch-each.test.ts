import { expect, test } from "vitest";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { tensorOf, toNumbers } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import type { Context } from "../run/context.ts";
import { fetchEach } from "./fetch-each.ts";

const width = 4;

/** Products one after the other; by product, what it reads and gives. */
function chain(): { readonly graph: Graph; readonly products: readonly (readonly string[])[] } {
  const build = buildOn();
  let x = build.input("x", { dtype: "float32", shape: ["batch", width] });
  const products: (readonly string[])[] = [];
  for (let i = 0; i < 6; i++) {
    const values = Array.from({ length: width ** 2 }, (_, at) => Math.sin(at + i));
    const y = build.node("MatMul", [x, build.constant(tensorOf("float32", [width, width], values), `w${i}`)]);
    products.push([x, y]);
    x = build.node("Tanh", [y]);
  }
  return { graph: build.graph([x]), products };
}

test("group by group and stage by stage, every item has the values that the whole graph gives", async () => {
  const { graph, products } = chain();
  const inputs = new Map([["x", tensorOf("float32", [2, width], [1, 2, 3, 4, 5, 6, 7, 8])]]);
  let runs = 0;
  const reference = createReferenceEngine();
  const engine: Context["engine"] = {
    ...reference,
    compile: (of, options) => {
      runs++;
      return reference.compile(of, options);
    },
  };
  const found = async (groups: readonly (readonly (readonly string[])[])[], wholeBytes: number) => {
    const seen: (readonly [string, readonly (readonly number[])[]])[] = [];
    let most = 0;
    runs = 0;
    const sizes = { wholeBytes, stageBytes: width * width * 4, heldBytes: 0 };
    const fetched = { groups, inputs, valuesOf: (names: readonly string[]) => names };
    for await (const [names, values] of fetchEach(graph, fetched, { engine, seed: 0 }, sizes)) {
      seen.push([names[1], names.map((name) => toNumbers(values.get(name)!))]);
      most = Math.max(most, values.size);
    }
    return { seen, most, runs };
  };
  const whole = await found([products], 2 ** 20);
  expect(whole.seen.map(([name]) => name)).toEqual(products.map(([, y]) => y));
  const grouped = await found([products.slice(0, 3), products.slice(3)], 2 ** 20);
  expect(grouped).toMatchObject({ seen: whole.seen, runs: 2 });
  const staged = await found([products.slice(0, 3), products.slice(3)], 0);
  expect(staged.seen).toEqual(whole.seen);
  expect(staged.runs).toBeGreaterThanOrEqual(products.length);
  expect(staged.most).toBeLessThan(whole.most / 2);
});
