// A folded decoder that goes on from a cache: its layers and constants in the graph that a decoder with a cache has.
import { assert } from "../ir/errors.ts";
import { type Graph, type Node, producers } from "../ir/graph.ts";
import { openCheckpoint } from "../language-models/checkpoint.ts";
import { buildDecoder } from "../language-models/decoder.ts";
import { inferTypes } from "../passes/infer-types.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import type { Folded } from "../quantizers/fold.ts";
import type { DecoderModel } from "./checkpoints/decoder-weights.ts";

/** Weights alone may be quantized: a value that has a quantizer has it in the sequence's graph, not in this one. */
export function cachedDecoder(folded: Folded, { config, folder }: DecoderModel): Folded {
  const { name } = folded.graph;
  const float = buildDecoder(config, openCheckpoint(folder, "float32"), { name, dtype: "float32", hasCache: true });
  const quantized = withProducts(float, folded.graph);
  // Literals of the two graphs may have the same name for other numbers.
  const literals = [...float.constants].filter(([constant]) => float.literals?.has(constant));
  const constants = new Map([...folded.graph.constants, ...literals]);
  const left = removeDeadNodes({ ...quantized, constants });
  checkConstants(left);
  return { ...folded, graph: inferTypes(left) };
}

/** The products of folded layers, each behind what makes its weight of integers. */
function withProducts(float: Graph, folded: Graph): Graph {
  const made = producers(folded);
  const products = new Map(folded.nodes.map((node) => [node.name, node]));
  const placed = new Set<string>();
  const nodes = float.nodes.flatMap((node): readonly Node[] => {
    const weight = products.get(node.name)?.inputs[1] ?? "";
    const dequantize = made.get(weight);
    if (node.op !== "MatMul" || !dequantize?.inputs.every((input) => folded.constants.has(input))) return [node];
    const product = { ...node, inputs: [node.inputs[0], weight] };
    if (placed.has(weight)) return [product];
    placed.add(weight);
    return [dequantize, product];
  });
  return { ...float, nodes };
}

/** What was trained has its name still, so that nothing is as it was before. */
function checkConstants({ nodes, inputs, constants }: Graph): void {
  const known = new Set([...inputs, ...constants.keys(), ...nodes.flatMap(({ outputs }) => outputs)]);
  for (const { inputs: read } of nodes)
    for (const name of read) assert(name === "" || known.has(name), `the folded decoder has no constant "${name}"`);
}
