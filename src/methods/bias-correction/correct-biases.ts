// Empirical bias correction (Data-Free Quantization, arXiv:1906.04721, §4.2 and appendix D): each layer's mean output again.
import type { CalibrationBatches } from "../../calibration/calibration-data.ts";
import { startCounting } from "../../distributed/tally.ts";
import type { Program } from "../../engines/engine.ts";
import { assert } from "../../ir/errors.ts";
import { consumers, type Graph, type Node } from "../../ir/graph.ts";
import { numbersOf, type Tensor, tensorOf, zeros } from "../../ir/tensor.ts";
import { uniqueNames } from "../../ir/unique-names.ts";
import { buildOn } from "../../ops/infer.ts";
import { channelAxisOf } from "../../ops/linear.ts";
import { type LinearLayer, linearLayers, onlyReader } from "../../quantizers/linear-layers.ts";
import { type Context, signalOf } from "../../run/context.ts";
import { compileOptions, withProgram } from "../../run/with-program.ts";

/** Where a layer's correction is kept. */
interface Place {
  readonly layer: LinearLayer;
  /** The constant that takes it, once for each channel. */
  readonly name: string;
  /** What a unit of the correction adds to the constant: −1 to a running mean. */
  readonly factor: number;
}

/**
 * The quantized graph with biases by which, layer after layer, each channel's mean over the batches is the float graph's. The
 * graphs name their layers alike. Where a normalization follows, its running mean takes the correction; layers without a bias get
 * one; products without an addition are left alone.
 */
export async function correctBiases(
  quantized: Graph,
  float: Graph,
  batches: CalibrationBatches,
  context: Context,
): Promise<Graph> {
  const graph = withBiases(quantized);
  const places = placesOf(graph);
  const names = places.map(({ layer }) => layer.node.name);
  const wanted = meansGraph(float, names);
  const targets = await withProgram(wanted.graph, context, (program) =>
    meansOver(program, wanted.outputs, batches, context),
  );
  return withVariables(graph, places, context, async (program, outputs, add) => {
    for (const [done, place] of places.entries()) {
      const seen = await meansOver(program, outputs.slice(done, done + 1), batches, context);
      await add(place, (channel) => place.factor * (targets[done][channel] - seen[0][channel]));
      context.onProgress?.({ phase: "correct biases", done: done + 1, total: places.length });
    }
  });
}

/** Each of these layers' output, averaged over all axes but its channels. */
function meansGraph(graph: Graph, layers: readonly string[]): { graph: Graph; outputs: readonly string[] } {
  const build = buildOn(graph);
  const nodes = new Map(graph.nodes.map((node) => [node.name, node]));
  const outputs = layers.map((name) => {
    const node = nodes.get(name);
    assert(node, `there is no layer "${name}"`);
    const rank = build.type(node.outputs[0]).shape.length;
    const channels = channelAxisOf(node, rank);
    const axes = Array.from({ length: rank }, (_, axis) => axis).filter((axis) => axis !== channels);
    return build.node("ReduceMean", [node.outputs[0], build.ints(axes)], { keepdims: 0 });
  });
  return { graph: build.graph(outputs), outputs };
}

/** The means of the outputs over all samples, by channel; several processes share the batches. */
async function meansOver(
  program: Program,
  outputs: readonly string[],
  batches: CalibrationBatches,
  context: Context,
): Promise<readonly Float64Array[]> {
  const counting = startCounting(context.communicator);
  for await (const inputs of batches(context.communicator)) {
    const found = await program.run(inputs, { fetch: outputs, ...signalOf(context) });
    const count = inputs.values().next().value?.shape[0] ?? 1;
    const sums = outputs.map((output) => {
      const means = found.get(output);
      assert(means, `output "${output}" is missing`);
      return Array.from(numbersOf(means), (mean) => mean * count);
    });
    counting.add({ sums: [[count], ...sums], lists: [] });
  }
  const counted = await counting.end();
  assert(counted, "there were no samples");
  const [[samples], ...sums] = counted.sums.map((sum) => Array.from(sum));
  return sums.map((sum) => Float64Array.from(sum, (value) => value / samples));
}

type Add = (place: Place, by: (channel: number) => number) => Promise<void>;

/** Runs the graph with its biases as variables; gives it with what they became. */
async function withVariables(
  graph: Graph,
  places: readonly Place[],
  context: Context,
  change: (program: Program, outputs: readonly string[], add: Add) => Promise<void>,
): Promise<Graph> {
  const values = new Map(places.map(({ name }) => [name, constantOf(graph, name)]));
  const constants = new Map([...graph.constants].filter(([name]) => !values.has(name)));
  const layers = places.map(({ layer }) => layer.node.name);
  const measured = meansGraph({ ...graph, constants, variables: [...graph.variables, ...values.keys()] }, layers);
  const executable = await context.engine.compile(measured.graph, compileOptions(context));
  const variables = await context.engine.variables(values);
  try {
    await change(executable.bind(variables), measured.outputs, async ({ name }, by) => {
      const old = constantOf({ constants: values }, name);
      const next = tensorOf(
        old.dtype,
        old.shape,
        Array.from(numbersOf(old), (value, channel) => value + by(channel)),
      );
      values.set(name, next);
      await variables.write(name, next);
    });
  } finally {
    variables.dispose();
    await executable.dispose();
  }
  return { ...graph, constants: new Map([...graph.constants, ...values]) };
}

function constantOf({ constants }: Pick<Graph, "constants">, name: string): Tensor {
  const value = constants.get(name);
  assert(value, `"${name}" is not a constant`);
  return value;
}

/** Layers of two inputs that no normalization follows get a bias of zeros. */
function withBiases(graph: Graph): Graph {
  const readers = consumers(graph);
  const constants = new Map(graph.constants);
  const values = new Map(graph.values);
  const unique = uniqueNames(values.keys());
  const bare = new Map(
    linearLayers(graph)
      .filter(({ node, bias, takesBias }) => takesBias && bias === "" && !normAfter(graph, readers, node))
      .map((layer) => [layer.node.name, layer]),
  );
  const nodes = graph.nodes.map((node) => {
    const layer = bare.get(node.name);
    if (!layer) return node;
    const weight = constantOf(graph, layer.weight);
    const name = unique(`${layer.name}.bias`);
    const bias = zeros(weight.dtype, [weight.shape[layer.rowAxis] * layer.channelsPerRow]);
    constants.set(name, bias);
    values.set(name, { dtype: bias.dtype, shape: bias.shape });
    return { ...node, inputs: [...node.inputs.slice(0, 2), name] };
  });
  return { ...graph, nodes, constants, values };
}

function normAfter(graph: Graph, readers: ReadonlyMap<string, readonly Node[]>, node: Node): Node | undefined {
  const next = onlyReader(graph, readers, node.outputs[0]);
  return next?.op === "BatchNormalization" && next.inputs[0] === node.outputs[0] ? next : undefined;
}

/** Constants that one node alone reads, and that hold one number a channel. */
function placesOf(graph: Graph): readonly Place[] {
  const readers = consumers(graph);
  return linearLayers(graph).flatMap((layer): Place[] => {
    const { node } = layer;
    const place = placeOf(graph, readers, layer);
    const channels = Number(graph.values.get(layer.weight)?.shape[layer.rowAxis]) * layer.channelsPerRow;
    const shape = graph.values.get(place.name)?.shape ?? [];
    const isAlone = (readers.get(place.name)?.length ?? 0) === 1 && graph.constants.has(place.name);
    const fits = shape.filter((size) => size !== 1).every((size) => size === channels) && shape.at(-1) === channels;
    const isQuantized = graph.nodes.some(({ op, outputs }) => op === "FakeQuantize" && outputs[0] === node.inputs[1]);
    return isAlone && fits && isQuantized ? [place] : [];
  });
}

function placeOf(graph: Graph, readers: ReadonlyMap<string, readonly Node[]>, layer: LinearLayer): Place {
  const { node } = layer;
  const norm = normAfter(graph, readers, node);
  if (norm) return { layer, name: norm.inputs[3], factor: -1 };
  if (layer.takesBias) return { layer, name: layer.bias, factor: 1 / layer.biasFactor };
  const next = onlyReader(graph, readers, node.outputs[0]);
  const added = next?.op === "Add" ? next.inputs.find((input) => input !== node.outputs[0]) : undefined;
  return { layer, name: added ?? "", factor: 1 };
}
