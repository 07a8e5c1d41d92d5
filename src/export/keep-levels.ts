// ONNX Runtime quantizes a float weight itself, to 8 bits for the whole tensor, where its layer reads and writes quantized values
// (WeightBiasQuantization, seen in 1.22 to 1.30): weights on levels are such floats once their table is looked up.
import { consumers, type Graph, type Node, producers } from "../ir/graph.ts";
import { numbersOf, tensorOf } from "../ir/tensor.ts";
import { uniqueNamesIn } from "../ir/unique-names.ts";
import { inferTypes } from "../passes/infer-types.ts";
import { onlyReader } from "../quantizers/linear-layers.ts";
import { isQuantizer } from "../quantizers/quantizer.ts";

/**
 * Between such a layer and the quantizer behind it is a node that the runtime neither fuses nor looks through: its bias as a
 * subtraction, or two changes of sign where it has none. Both are exact.
 */
export function keepLevels(graph: Graph): Graph {
  const [producerOf, readers] = [producers(graph), consumers(graph)];
  const constants = new Map(graph.constants);
  const unique = uniqueNamesIn(graph);
  const changed = new Map<string, readonly Node[]>();
  for (const node of graph.nodes) {
    if (producerOf.get(node.inputs[1] ?? "")?.op !== "LevelDequantize" || !isQuantizer(producerOf.get(node.inputs[0])))
      continue;
    const path = pathToQuantizer(graph, readers, node);
    if (!path) continue;
    const bias = path.find(({ op }) => op === "Add");
    if (bias) {
      const value = constants.get(bias.inputs[1]);
      if (!value) continue;
      const negated = unique(`${bias.inputs[1]}_negated`);
      constants.set(
        negated,
        tensorOf(
          value.dtype,
          value.shape,
          Array.from(numbersOf(value), (each) => -each),
        ),
      );
      changed.set(bias.name, [{ ...bias, op: "Sub", inputs: [bias.inputs[0], negated] }]);
    } else {
      const [output] = node.outputs;
      const [product, sign] = [unique(`${output}:product`), unique(`${output}:negated`)];
      const negate = (from: string, to: string): Node => ({
        name: unique(`${node.name}:Neg`),
        op: "Neg",
        inputs: [from],
        outputs: [to],
        attributes: {},
      });
      changed.set(node.name, [{ ...node, outputs: [product] }, negate(product, sign), negate(sign, output)]);
    }
  }
  if (changed.size === 0) return graph;
  return inferTypes({ ...graph, constants, nodes: graph.nodes.flatMap((node) => changed.get(node.name) ?? [node]) });
}

/** What alone reads one after the other from a layer to its quantizers, which the runtime may join: bias, Relu and Clip. */
export function pathToQuantizer(
  graph: Graph,
  readers: ReadonlyMap<string, readonly Node[]>,
  layer: Node,
): readonly Node[] | undefined {
  const path: Node[] = [];
  for (let value = layer.outputs[0]; ; value = path[path.length - 1].outputs[0]) {
    const found = readers.get(value) ?? [];
    if (found.length > 0 && found.every(isQuantizer)) return path;
    const next = onlyReader(graph, readers, value);
    const isBias = next?.op === "Add" && graph.constants.has(next.inputs[1]);
    if (!next || !(isBias || next.op === "Relu" || next.op === "Clip")) return undefined;
    path.push(next);
  }
}
