import { describe, expect, test } from "vitest";
import { createRandom } from "../../test/support/random.ts";
import { tinyOrigin } from "../../test/support/tiny-classifier.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { writeOnnx } from "../onnx/write.ts";
import { buildOn } from "../ops/infer.ts";
import { blockTables } from "./tables.ts";

const random = createRandom(8);
const [rows, columns] = [300, 64];
const table = random.tensor("float32", [rows, columns]);

function lookup(indices: readonly (number | string)[], value: Tensor = table): Graph {
  const build = buildOn();
  const ids = build.input("ids", { dtype: "int64", shape: indices });
  return build.graph([build.node("Gather", [build.constant(value, "table"), ids], { axis: 0 }, "y")]);
}

async function run(graph: Graph, ids: Tensor): Promise<Tensor> {
  const file = await openDeployed(writeOnnx({ graph, origin: tinyOrigin }, { opset: 13 }), { threads: 1 });
  try {
    return (await file.run(new Map([["ids", ids]]))).get("y")!;
  } finally {
    await file.dispose();
  }
}

/** Half a step of the block that an element is in. */
function halfStep(row: number, column: number, bits: number): number {
  const size = 16;
  const start = row * columns + column - (column % size);
  const block = [...numbersOf(table).subarray(start, start + size)];
  return (Math.max(0, ...block) - Math.min(0, ...block)) / (2 ** bits - 1) / 2;
}

const ranks: readonly (readonly (number | string)[])[] = [[], [5], ["batch", "length"], [2, "length", 2]];

describe("tables of embeddings as integers", () => {
  test.each([2, 4] as const)("rows of %d bits are within half a step of their blocks", async (bits) => {
    for (const shape of ranks) {
      const made = blockTables(lookup(shape), { bits, blockSize: 16 });
      const ids = random.integerTensor(
        "int64",
        shape.map((size) => (typeof size === "number" ? size : 3)),
        -rows,
        rows,
      );
      const y = await run(made, ids);
      expect(y.shape).toEqual([...ids.shape, columns]);
      const values = numbersOf(y);
      Array.from(ids.data, Number).forEach((id, at) => {
        const row = (id + rows) % rows;
        for (let column = 0; column < columns; column++) {
          const error = Math.abs(values[at * columns + column] - numbersOf(table)[row * columns + column]);
          // Zero points round too: at the end of a block the step may be half over.
          expect(error).toBeLessThan(2.001 * halfStep(row, column, bits));
        }
      });
    }
  });

  test("a file has so many bits of each element", () => {
    const sizeOf = (bits: 2 | 4): number =>
      [...blockTables(lookup(["n"]), { bits, blockSize: 32 }).constants].find(([name]) =>
        name.endsWith(":integers"),
      )![1].data.length;
    expect([2, 4].map((bits) => sizeOf(bits as 2))).toEqual([2, 4].map((bits) => (rows * columns * bits) / 8));
  });

  test("rows that blocks do not divide stay", () => {
    const graph = lookup([2], random.tensor("float32", [400, 50]));
    expect(blockTables(graph, { bits: 4, blockSize: 32 })).toBe(graph);
  });

  test("two lookups share a table; one that is read otherwise, or small, stays", () => {
    const build = buildOn();
    const ids = build.input("ids", { dtype: "int64", shape: ["n"] });
    const w = build.constant(table, "table");
    const small = build.constant(random.tensor("float32", [4, 64]), "small");
    const used = build.constant(random.tensor("float32", [300, 64]), "used");
    const gather = (value: string): string => build.node("Gather", [value, ids], { axis: 0 });
    const sums = [gather(w), gather(w), gather(small), gather(used)];
    const y = build.node("Add", [build.node("Sum", sums), build.node("ReduceSum", [used])], {}, "y");
    const { constants } = blockTables(build.graph([y]), { bits: 4, blockSize: 32 });
    expect([...constants].filter(([name]) => name.endsWith(":integers")).map(([name]) => name)).toEqual([
      "table:integers",
    ]);
    expect([constants.has("small"), constants.has("used"), constants.has("table")]).toEqual([true, true, false]);
  });
});
