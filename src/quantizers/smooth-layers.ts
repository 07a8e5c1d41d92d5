// The same function, with channels behind a normalization made smaller or larger, and the weights that read them the other way.
import { assert } from "../ir/errors.ts";
import { consumers, type Graph, type Node } from "../ir/graph.ts";
import { type Tensor, tensorOf } from "../ir/tensor.ts";
import { uniqueNamesIn } from "../ir/unique-names.ts";
import { isMatrixProduct } from "../ops/linear.ts";
import { inferTypes } from "../passes/infer-types.ts";
import { type LinearLayer, linearLayers } from "./linear-layers.ts";
import { forEachInRows } from "./qparams.ts";

/** A normalization, and the matrix products that read what it gives. */
export interface SmoothPlace {
  readonly norm: Node;
  readonly layers: readonly LinearLayer[];
}

const normalizations: ReadonlySet<string> = new Set(["LayerNormalization", "RMSNormalization"]);

/** Where its scale and bias are constants of one number per channel that nothing else reads, and so are the weights. */
export function smoothPlaces(graph: Graph): readonly SmoothPlace[] {
  const readers = consumers(graph);
  const layers = new Map(linearLayers(graph).map((layer) => [layer.node.name, layer]));
  const isOwn = (name: string): boolean => graph.constants.has(name) && readers.get(name)?.length === 1;
  return graph.nodes.flatMap((norm): SmoothPlace[] => {
    if (!normalizations.has(norm.op)) return [];
    const [output] = norm.outputs;
    const channels = graph.values.get(output)?.shape.at(-1);
    const parameters = norm.inputs.slice(1).filter((name) => name !== "");
    const isVector = (name: string): boolean =>
      isOwn(name) && String(graph.values.get(name)?.shape) === String([channels]);
    const found = (readers.get(output) ?? []).flatMap((node) => layers.get(node.name) ?? []);
    const products = found.filter(
      ({ node, weight, input }) =>
        isMatrixProduct(node) && input === output && node.inputs[1] === weight && isOwn(weight),
    );
    return products.length > 0 && parameters.every(isVector) ? [{ norm, layers: products }] : [];
  });
}

/** By place, what each channel is divided by. */
export type Factors = ReadonlyMap<SmoothPlace, ArrayLike<number>>;

/** The normalization gives x / s, its products have s · W, and what else reads it gets s · (x / s). */
export function smoothLayers(graph: Graph, factorsOf: Factors): Graph {
  const constants = new Map(graph.constants);
  const unique = uniqueNamesIn(graph);
  const renamed = new Map<string, string>();
  const added = new Map<string, Node>();
  const read = (name: string): Tensor => {
    const value = constants.get(name);
    assert(value, `"${name}" is not a constant`);
    return value;
  };
  const scale = (name: string, axis: number, by: (channel: number) => number): void =>
    void constants.set(name, scaledRows(read(name), axis, by));
  for (const [{ norm, layers }, factors] of factorsOf) {
    for (const name of norm.inputs.slice(1)) if (name !== "") scale(name, 0, (channel) => 1 / factors[channel]);
    for (const { weight, inputAxis } of layers) scale(weight, inputAxis, (channel) => factors[channel]);
    const products = new Set(layers.map(({ node }) => node.name));
    const [output] = norm.outputs;
    const others = graph.nodes.filter(({ name, inputs }) => inputs.includes(output) && !products.has(name));
    if (others.length === 0 && !graph.outputs.includes(output)) continue;
    const [small, factor] = [unique(`${output}_smooth`), unique(`${output}_factors`)];
    constants.set(factor, tensorOf(read(norm.inputs[1]).dtype, [factors.length], factors));
    for (const name of products) renamed.set(`${name}\n${output}`, small);
    renamed.set(`${norm.name}\nsmooth`, small);
    added.set(norm.name, {
      name: unique(`${norm.name}_unsmoothed`),
      op: "Mul",
      inputs: [small, factor],
      outputs: [output],
      attributes: {},
    });
  }
  const nodes = graph.nodes.flatMap((node): readonly Node[] => {
    const inputs = node.inputs.map((input) => renamed.get(`${node.name}\n${input}`) ?? input);
    const small = renamed.get(`${node.name}\nsmooth`);
    const after = added.get(node.name);
    const outputs = small === undefined ? node.outputs : [small, ...node.outputs.slice(1)];
    return after ? [{ ...node, inputs, outputs }, after] : [{ ...node, inputs, outputs }];
  });
  return inferTypes({ ...graph, nodes, constants });
}

/** Each row along the axis times its factor. */
export function scaledRows(value: Tensor, axis: number, by: (row: number) => number): Tensor {
  const numbers = new Float64Array(value.data.length);
  forEachInRows(value, axis, (row, element, i) => {
    numbers[i] = element * by(row);
  });
  return tensorOf(value.dtype, value.shape, numbers);
}
