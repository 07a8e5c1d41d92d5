// A Gemm's constant bias with a number for each row of the result becomes an addition: what is left is a layer with rows of weights.
import type { Graph, Node } from "../ir/graph.ts";
import { scalar } from "../ir/tensor.ts";
import { sharedNames, uniqueNamesIn } from "../ir/unique-names.ts";
import { biasFactorOf, isBiasOfChannels } from "../ops/linear.ts";
import { inferTypes } from "./infer-types.ts";

export function separateBiases(graph: Graph): Graph {
  const isOfRows = ({ op, inputs: [, weight, bias = ""] }: Node): boolean =>
    op === "Gemm" &&
    graph.constants.has(weight) &&
    graph.constants.has(bias) &&
    !isBiasOfChannels(graph.values.get(bias)?.shape ?? []);
  if (!graph.nodes.some(isOfRows)) return graph;
  const constants = new Map(graph.constants);
  const unique = uniqueNamesIn(graph);
  const nameOf = sharedNames(unique);
  const separated = (node: Node): readonly Node[] => {
    const [x, weight, bias] = node.inputs;
    const [y] = node.outputs;
    const [product, scaled] = [unique(`${y}:product`), unique(`${bias}:scaled`)];
    const factor = biasFactorOf(node);
    const dtype = graph.values.get(y)?.dtype ?? "float32";
    const beta = nameOf(`${dtype}:${factor}`);
    constants.set(beta, scalar(dtype, factor));
    return [
      { ...node, inputs: [x, weight], outputs: [product] },
      { name: unique(`${node.name}:Mul`), op: "Mul", inputs: [bias, beta], outputs: [scaled], attributes: {} },
      { name: unique(`${node.name}:Add`), op: "Add", inputs: [product, scaled], outputs: [y], attributes: {} },
    ];
  };
  return inferTypes({
    ...graph,
    nodes: graph.nodes.flatMap((node) => (isOfRows(node) ? separated(node) : [node])),
    constants,
  });
}
