import { expect, test } from "vitest";
import { runGraph } from "../../test/support/run-graph.ts";
import { quantizeTiny, tinyBatch, tinyClassifier } from "../../test/support/tiny-classifier.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { foldQuantizers } from "./fold.ts";
import { isQuantizer } from "./quantizer.ts";
import { withShortNames } from "./short-names.ts";

const float = tinyClassifier();
const trained = quantizeTiny(float, { placement: "runtime" });
const folded = foldQuantizers(trained, "int32");
const short = withShortNames(folded, trained);

const namesOf = ({ values, nodes }: Graph): readonly string[] => [...values.keys(), ...nodes.map(({ name }) => name)];

test("computes the same, under names of which none is new and long", async () => {
  const engine = createReferenceEngine();
  const inputs = new Map([["input", tinyBatch("float64", 4).images]]);
  expect((await runGraph(engine, short.graph, inputs)).get("logits")).toEqual(
    (await runGraph(engine, folded.graph, inputs)).get("logits"),
  );
  const own = new Set(namesOf(float));
  expect(namesOf(short.graph).filter((name) => !own.has(name) && name.length > 4)).toEqual([]);
});

test("layers keep the names of their nodes and outputs, and integers that of a weight which names the layer", () => {
  const named = ({ layers }: typeof folded) => layers.map(({ name, node, output }) => [name, node, output]);
  expect(named(short)).toEqual(named(folded));
  const integers = short.layers.map(({ integers }) => integers);
  expect(integers).toEqual([expect.stringMatching(/^v\d+$/), expect.stringMatching(/^v\d+$/), "linear.weight"]);
  for (const name of integers) expect(short.graph.constants.get(name)?.dtype).toBe("int8");
});

test("no new name is one that the model has", () => {
  const build = buildOn();
  const x = build.input("v1", { dtype: "float32", shape: ["N", 2] });
  const weight = build.constant(tensorOf("float32", [2, 2], [1, 2, 3, 4]), "v2");
  const first = build.node("MatMul", [x, weight], {}, "v3");
  const second = build.constant(tensorOf("float32", [2, 2], [4, 3, 2, 1]), "v4");
  const graph = quantizeTiny(build.graph([build.node("MatMul", [first, second], {}, "v5")]), {});
  const { graph: result } = withShortNames(foldQuantizers(graph, "float"), graph);
  const names = [...result.values.keys()];
  expect([result.inputs, result.outputs]).toEqual([["v1"], ["v5"]]);
  expect(names.length).toBe(new Set([...result.inputs, ...result.constants.keys(), ...outputsOf(result)]).size);
  expect(outputsOf(result).length).toBe(new Set(outputsOf(result)).size);
  expect(outputsOf(result)).toContain("v3");
});

test("a quantizer's node may have the name of the model's value, or of what another quantizer is told", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 2] });
  const weight = (name: string) => build.constant(tensorOf("float32", [2, 2], [1, 2, 3, 4]), name);
  const hidden = build.node("MatMul", [x, weight("w")], {}, "h");
  const relu = build.node("Relu", [hidden], {}, "r");
  const graph = quantizeTiny(build.graph([build.node("MatMul", [relu, weight("u")], {}, "y")]), {});
  const quantizers = graph.nodes.filter(isQuantizer);
  const renamed = new Map([
    [quantizers[0], "r"],
    [quantizers[1], quantizers[0].inputs[1]],
  ]);
  const relus = graph.nodes.filter(({ op }) => op === "Relu");
  const nodes = graph.nodes.map((node) => ({
    ...node,
    name: renamed.get(node) ?? (relus.includes(node) ? "relu" : node.name),
  }));
  const { graph: result } = withShortNames(foldQuantizers({ ...graph, nodes }, "float"), { ...graph, nodes });
  expect(outputsOf(result)).toEqual([...new Set(outputsOf(result))]);
  expect(outputsOf(result)).toContain("r");
  expect(result.nodes.filter(({ name }) => result.constants.has(name))).toEqual([]);
});

const outputsOf = ({ nodes }: Graph): readonly string[] => nodes.flatMap(({ outputs }) => outputs);
