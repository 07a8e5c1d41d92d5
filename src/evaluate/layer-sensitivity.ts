// The report's data for each layer: the distribution of its values, and the effect on the outputs of quantizing that layer alone.

import { isFloat } from "../ir/dtype.ts";
import { assert } from "../ir/errors.ts";
import { type Graph, type Node, producers, type ValueType } from "../ir/graph.ts";
import { castTensor, numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { uniqueNamesIn } from "../ir/unique-names.ts";
import { scoresWithoutLabels } from "../passes/class-scores.ts";
import { totalMultiplyAdds } from "../passes/count-operations.ts";
import { onlyOutputs } from "../passes/gather-early.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { type Histogram, histogramOf, rangesOf } from "../quantizers/histogram.ts";
import { type LinearLayer, linearLayers } from "../quantizers/linear-layers.ts";
import { isQuantizer, quantizerOf } from "../quantizers/quantizer.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withProgram, withVariables } from "../run/with-program.ts";
import { makeVariables } from "../training/make-variables.ts";
import { affordableSamples, planFetches } from "./batch-that-fits.ts";
import { difference, sqnrDb } from "./difference.ts";
import { fetchEach } from "./fetch-each.ts";
import { countSamples, firstSamples, typedForOne } from "./first-samples.ts";

type Inputs = ReadonlyMap<string, Tensor>;

/** What each quantized layer costs, and what enters it. */
export interface LayerMeasures {
  /**
   * By layer, dB: the first output where this layer alone is quantized, against where none is. Infinite: no difference. Empty where
   * so many runs take too long.
   */
  readonly sensitivityDb: ReadonlyMap<string, number>;
  /** By layer, of what enters it. */
  readonly inputs: ReadonlyMap<string, Histogram>;
  /** On how many samples all this was measured. */
  readonly samples: number;
}

/** Multiply-adds: about a second on two cores. */
const budget = 6e10;

/** The same that one sample may take: about half a minute. A language model with 200 layers takes more. */
const mostOperations = 1.5e12;

/** On the first samples of `batch`: a large model is measured on few, on one at least. */
export async function measureLayers(graph: Graph, batch: Inputs, context: Context): Promise<LayerMeasures> {
  const layers = linearLayers(graph).filter(({ input }) => !graph.constants.has(input));
  const typed = typedForOne(graph, batch);
  const runs = layers.length + 2;
  const most = affordableSamples(typed, countSamples(graph, batch), budget / runs);
  const isTooMuch = runs * totalMultiplyAdds(typed) > mostOperations;
  const { samples, groups } = planFetches(typed, layers, ({ input }) => [input], most);
  const inputs = firstSamples(graph, batch, samples);
  const histograms = new Map<string, Histogram>();
  const producerOf = producers(graph);
  const fetched = { groups, inputs, valuesOf: ({ input }: LinearLayer) => [input] };
  for await (const [{ name, node, input }, values] of fetchEach(graph, fetched, context)) {
    const value = values.get(input);
    assert(value, `layer input "${input}" is missing`);
    const quantize = producerOf.get(node.inputs[0]);
    const ranges = isQuantizer(quantize) ? rangesOf(graph, quantizerOf(quantize)) : undefined;
    histograms.set(name, histogramOf(value, ranges));
  }
  return {
    samples: countSamples(graph, inputs),
    inputs: new Map(layers.map(({ name }) => [name, histograms.get(name) as Histogram])),
    sensitivityDb: isTooMuch ? new Map() : await layerSensitivity(graph, inputs, context),
  };
}

/**
 * By layer that has a quantizer of its weight or input. All runs share one program: quantizers of what is computed have a switch,
 * an input of the graph, and weights are variables.
 */
export async function layerSensitivity(
  quantized: Graph,
  inputs: Inputs,
  context: Context,
): Promise<ReadonlyMap<string, number>> {
  const output = scoresWithoutLabels(quantized)?.logits ?? quantized.outputs[0];
  const { graph: inFloat, weights } = withFloatWeights(onlyOutputs(quantized, [output]));
  const { graph: replaceable, initial } = makeVariables(inFloat, [...weights.keys()]);
  const { graph, switches } = addSwitches(replaceable);
  const result = new Map<string, number>();
  const layers = linearLayers(quantized)
    .map(({ name, node }) => ({
      name,
      own: node.inputs.slice(0, 2).filter((value) => switches.has(value) || weights.has(value)),
    }))
    .filter(({ own }) => own.length > 0);
  if (layers.length === 0) return result;
  await withVariables(graph, initial, context, async (program, variables) => {
    const run = async (on: readonly string[]): Promise<ArrayLike<number>> => {
      const flags = [...switches].map(
        ([value, flag]) => [flag, tensorOf("bool", [], [Number(on.includes(value))])] as const,
      );
      const changed = (await program.run(new Map([...inputs, ...flags]), signalOf(context))).get(output);
      assert(changed, `no output "${output}"`);
      return numbersOf(isFloat(changed.dtype) ? changed : castTensor(changed, "float64"));
    };
    const reference = await run([]);
    for (const [done, { name, own }] of layers.entries()) {
      const replaced = own.filter((value) => weights.has(value));
      for (const value of replaced)
        await variables.write(value, await computed(weights.get(value) as Graph, value, context));
      result.set(name, sqnrDb(difference(reference, await run(own))));
      for (const value of replaced) await variables.write(value, initial.get(value) as Tensor);
      context.onProgress?.({ phase: "measure layers", done: done + 1, total: layers.length });
    }
  });
  return result;
}

/** What a graph without inputs gives. */
async function computed(graph: Graph, output: string, context: Context): Promise<Tensor> {
  const outputs = await withProgram(graph, context, (program) => program.run(new Map(), signalOf(context)));
  const result = outputs.get(output);
  assert(result, `no output "${output}"`);
  return result;
}

interface FloatWeights {
  /** Quantized weights are constants, in float. */
  readonly graph: Graph;
  /** By a weight's name: the graph that quantizes it. */
  readonly weights: ReadonlyMap<string, Graph>;
}

function withFloatWeights(graph: Graph): FloatWeights {
  const constants = new Map(graph.constants);
  const weights = new Map<string, Graph>();
  const nodes = graph.nodes.filter((node) => {
    if (!isQuantizer(node) || !node.inputs.every((input) => input === "" || graph.constants.has(input))) return true;
    const [output] = node.outputs;
    constants.set(output, graph.constants.get(node.inputs[0]) as Tensor);
    weights.set(output, removeDeadNodes({ ...graph, inputs: [], nodes: [node], outputs: [output] }));
    return false;
  });
  return { graph: { ...graph, nodes, constants }, weights };
}

interface Switched {
  readonly graph: Graph;
  /** By a quantizer's output, the input that switches it on: a bool of shape []. */
  readonly switches: ReadonlyMap<string, string>;
}

/** y = FakeQuantize(x, …) becomes y = Where(switch, FakeQuantize(x, …), x). */
function addSwitches(graph: Graph): Switched {
  const unique = uniqueNamesIn(graph);
  const values = new Map(graph.values);
  const switches = new Map<string, string>();
  const nodes = graph.nodes.flatMap((node): Node[] => {
    if (!isQuantizer(node)) return [node];
    const [output] = node.outputs;
    const [flag, rounded] = [unique(`${output}_switch`), unique(`${output}_rounded`)];
    values.set(flag, { dtype: "bool", shape: [] });
    values.set(rounded, graph.values.get(output) as ValueType);
    switches.set(output, flag);
    const chosen = {
      name: unique(`${node.name}_switched`),
      op: "Where",
      inputs: [flag, rounded, node.inputs[0]],
      outputs: [output],
      attributes: {},
    };
    return [{ ...node, outputs: [rounded] }, chosen];
  });
  return { graph: { ...graph, inputs: [...graph.inputs, ...switches.values()], nodes, values }, switches };
}
