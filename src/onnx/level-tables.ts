// Weights on levels as files have them: a table, in which Gather looks up what Cast makes of packed indices, times a scale for each
// row. ONNX Runtime computes that once, when it opens the file.
import { type Graph, type Node, producers } from "../ir/graph.ts";
import { sizeOf, type Tensor } from "../ir/tensor.ts";
import { uniqueNamesIn } from "../ir/unique-names.ts";
import { numberAttribute, stringAttribute } from "../ops/attributes.ts";
import { granularityAttributes, granularityOf } from "../ops/granularity.ts";
import { inferTypes } from "../passes/infer-types.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";

/** The graph with such tables in place of LevelDequantize. */
export function withTables(graph: Graph): Graph {
  if (!graph.nodes.some(({ op }) => op === "LevelDequantize")) return graph;
  const constants = new Map(graph.constants);
  const unique = uniqueNamesIn(graph);
  const nodes = graph.nodes.flatMap((node): readonly Node[] => {
    if (node.op !== "LevelDequantize") return [node];
    const [indices, scaleName, levels] = node.inputs;
    const [scale, rank] = [constants.get(scaleName), graph.values.get(indices)?.shape.length ?? 0];
    const factors = unique(`${scaleName}_by_row`);
    if (scale) constants.set(factors, besideAxis(node, scale, rank));
    const [places, found] = [unique(`${node.name}:Cast`), unique(`${node.name}:Gather`)];
    return [
      { name: places, op: "Cast", inputs: [indices], outputs: [places], attributes: { to: "int32" } },
      { name: found, op: "Gather", inputs: [levels, places], outputs: [found], attributes: { axis: 0 } },
      { ...node, op: "Mul", inputs: [found, factors], attributes: {} },
    ];
  });
  return removeDeadNodes(inferTypes({ ...graph, nodes, constants }));
}

/** With ones for all axes but the rows'. */
function besideAxis(node: Node, scale: Tensor, rank: number): Tensor {
  const granularity = granularityOf(node, rank);
  const axis = granularity === "tensor" ? -1 : granularity.axis;
  return { ...scale, shape: Array.from({ length: rank }, (_, i) => (i === axis ? scale.shape[0] : 1)) };
}

const isIndexType = ({ dtype }: Tensor): boolean => /^uint[248]$/.test(dtype);

/** The other way round: what else reads a value on the way keeps it. */
export function withoutTables(graph: Graph): Graph {
  const producerOf = producers(graph);
  const found = new Map<Node, Table>();
  for (const node of graph.nodes) {
    const table = node.op === "Mul" ? tableOf(graph, producerOf, node) : undefined;
    if (table) found.set(node, table);
  }
  if (found.size === 0) return graph;
  const constants = new Map(graph.constants);
  const unique = uniqueNamesIn(graph);
  const nodes = graph.nodes.map((node): Node => {
    const table = found.get(node);
    if (!table) return node;
    const { indices, levels, scale, axis } = table;
    const rows = unique(`${scale.name}_of_rows`);
    constants.set(rows, { ...scale.value, shape: axis === undefined ? [] : [scale.value.shape[axis]] });
    const attributes = granularityAttributes(axis === undefined ? "tensor" : { axis });
    return { ...node, op: "LevelDequantize", inputs: [indices, rows, levels], attributes };
  });
  return removeDeadNodes(inferTypes({ ...graph, nodes, constants }));
}

interface Table {
  readonly indices: string;
  readonly levels: string;
  readonly scale: { readonly name: string; readonly value: Tensor };
  /** That the scales are along; absent: there is one. */
  readonly axis: number | undefined;
}

function tableOf(graph: Graph, producerOf: ReadonlyMap<string, Node>, { inputs }: Node): Table | undefined {
  const [gather, cast] = lookupOf(producerOf, inputs[0]);
  const [indices, levels, scale] = [cast?.inputs[0], gather?.inputs[0], inputs[1]].map((name = "") =>
    graph.constants.get(name),
  );
  if (!gather || !cast || !indices || !levels || !scale) return undefined;
  if (!isIndexType(indices) || levels.shape.length !== 1 || indices.shape.length !== scale.shape.length)
    return undefined;
  if (levels.dtype !== scale.dtype || !/^float(32|64)$/.test(scale.dtype)) return undefined;
  const long = scale.shape.flatMap((size, i) => (size > 1 ? [i] : []));
  if (long.length > 1 || sizeOf(indices.shape) === 0 || long.some((i) => scale.shape[i] !== indices.shape[i]))
    return undefined;
  return {
    indices: cast.inputs[0],
    levels: gather.inputs[0],
    scale: { name: inputs[1], value: scale },
    axis: long[0],
  };
}

function lookupOf(
  producerOf: ReadonlyMap<string, Node>,
  value: string,
): readonly [gather: Node | undefined, cast: Node | undefined] {
  const gather = producerOf.get(value);
  if (gather?.op !== "Gather" || numberAttribute(gather, "axis", 0) !== 0) return [undefined, undefined];
  const cast = producerOf.get(gather.inputs[1]);
  const isIndex = cast?.op === "Cast" && /^int(32|64)$/.test(stringAttribute(cast, "to", ""));
  return [gather, isIndex ? cast : undefined];
}
