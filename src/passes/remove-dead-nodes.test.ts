import { describe, expect, test } from "vitest";
import { zeros } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { removeDeadNodes } from "./remove-dead-nodes.ts";

describe("removeDeadNodes", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [4] });
  build.input("unused", { dtype: "float32", shape: [4] });
  const v = build.variable("v", { dtype: "float32", shape: [4] });
  const dead = build.node("Add", [x, build.constant(zeros("float32", [4]), "deadConstant")], {}, "dead");
  build.node("Neg", [dead], {}, "alsoDead");
  const [first, second] = build.nodes("Split", [x], [true, true], { num_outputs: 2 }, "split");
  const [kept] = build.nodes("Dropout", [v], [true, true], {}, "dropout");
  build.update("v", kept);
  const live = removeDeadNodes(build.graph([second]));

  test("removes nodes, constants and types that nothing depends on", () => {
    expect(live.nodes.map(({ name }) => name)).toEqual(["split", "dropout"]);
    expect([...live.constants.keys()]).toEqual([]);
    expect(live.values.has("dead")).toBe(false);
  });

  test("keeps inputs, variables and what updates need", () => {
    expect(live.inputs).toEqual(["x", "unused"]);
    expect(live.variables).toEqual(["v"]);
    expect(live.values.has("unused")).toBe(true);
  });

  test("leaves out outputs that nobody reads, but never the first", () => {
    expect(live.nodes[0].outputs).toEqual([first, second]);
    expect(live.nodes[1].outputs).toEqual([kept, ""]);
  });

  test("a Split has as many parts as before, read or not", () => {
    const other = buildOn();
    const [head, tail] = other.nodes(
      "Split",
      [other.input("x", { dtype: "float32", shape: [4] }), other.ints([1, 3])],
      [true, true],
      {},
    );
    expect(removeDeadNodes(other.graph([head])).nodes[0].outputs).toEqual([head, tail]);
  });
});
