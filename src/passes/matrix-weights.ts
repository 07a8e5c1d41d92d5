// A MatMul's constant of one matrix behind axes of size 1 becomes that matrix: the form in which weights are quantized.
import { consumers, type Graph, type Node } from "../ir/graph.ts";
import { type Tensor, tensorOf } from "../ir/tensor.ts";
import { sharedNames, uniqueNamesIn } from "../ir/unique-names.ts";
import { inferTypes } from "./infer-types.ts";
import { removeDeadNodes } from "./remove-dead-nodes.ts";

/** What the axes of size 1 did for the other operand, an Unsqueeze does where it is needed. */
export function matrixWeights(graph: Graph): Graph {
  const isLeading = (node: Node): boolean =>
    node.op === "MatMul" && isMatrixBehindOnes(graph.constants.get(node.inputs[1]));
  if (!graph.nodes.some(isLeading)) return graph;
  const readers = consumers(graph);
  const constants = new Map(graph.constants);
  const unique = uniqueNamesIn(graph);
  const nameOf = sharedNames(unique);
  const constant = (name: string, value: Tensor): string => {
    constants.set(name, value);
    return name;
  };
  const nodes = graph.nodes.flatMap((node): readonly Node[] => {
    const [x, name] = node.inputs;
    const weight = graph.constants.get(name);
    if (!weight || !isLeading(node)) return [node];
    // Others that read it may need its axes.
    const isOwn = readers.get(name)?.every(isLeading) && !graph.outputs.includes(name);
    const matrix = constant(isOwn ? name : nameOf(`${name}:matrix`), { ...weight, shape: weight.shape.slice(-2) });
    const rank = graph.values.get(x)?.shape.length ?? 0;
    // The product of a vector lacks the vector's own axis.
    const missing = weight.shape.length - (rank === 1 ? 1 : 0) - rank;
    const axes = Array.from({ length: Math.max(0, missing) }, (_, axis) => axis);
    if (axes.length === 0) return [{ ...node, inputs: [x, matrix] }];
    const wide = unique(`${x}:unsqueezed`);
    const inputs = [x, constant(nameOf(`axes:${axes.length}`), tensorOf("int64", [axes.length], axes))];
    return [
      { name: unique(`${node.name}:Unsqueeze`), op: "Unsqueeze", inputs, outputs: [wide], attributes: {} },
      { ...node, inputs: [wide, matrix] },
    ];
  });
  return removeDeadNodes(inferTypes({ ...graph, nodes, constants }));
}

const isMatrixBehindOnes = (weight: Tensor | undefined): boolean =>
  weight !== undefined && weight.shape.length > 2 && weight.shape.slice(0, -2).every((size) => size === 1);
