// AWQ (arXiv:2306.00978, §3.2): channels that count most are made larger before their weights are rounded, as much as serves best.
import { assert } from "../../ir/errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { numbersOf, type Tensor, tensorOf } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { removeDeadNodes } from "../../passes/remove-dead-nodes.ts";
import type { QuantizeOptions } from "../../quantizers/quantize-options.ts";
import { findSites, type Site } from "../../quantizers/sites.ts";
import { type Factors, type SmoothPlace, scaledRows } from "../../quantizers/smooth-layers.ts";
import { constantOf } from "../../rounding/grid.ts";
import { matrixFormOf, toMatrices } from "../../rounding/matrix-form.ts";
import { nearestWeights } from "../../rounding/nearest-weights.ts";
import { type Context, signalOf } from "../../run/context.ts";
import { withProgram } from "../../run/with-program.ts";

type Batches = () => AsyncIterable<ReadonlyMap<string, Tensor>>;

export interface FactorSearch {
  readonly graph: Graph;
  readonly quantize: QuantizeOptions;
  readonly places: readonly SmoothPlace[];
  readonly batches: Batches;
  /** How many exponents are tried: 0, 1/powers, … */
  readonly powers: number;
}

/** Of what a normalization gives, over all samples and positions. */
interface Seen {
  /** Σ x xᵀ, [channels, channels]. */
  readonly moments: Float64Array;
  /** Mean |x| by channel. */
  readonly magnitudes: Float64Array;
}

/** Of each place, those by which its layers' outputs change least when their weights are rounded; without places that are best as they are. */
export async function searchFactors(search: FactorSearch, context: Context): Promise<Factors> {
  const { graph, quantize, places, powers } = search;
  const weights = findSites(graph, quantize).weights;
  const seen = await observe(search, context);
  const chosen = new Map<SmoothPlace, Float64Array>();
  for (const [done, place] of places.entries()) {
    const { moments, magnitudes } = seen[done];
    const sites = weights.filter(({ value }) => place.layers.some(({ weight }) => weight === value));
    const tried = Array.from({ length: powers }, (_, i) => factorsOf(magnitudes, i / powers));
    const errors = sites.length === 0 ? [] : await errorsOf(search, { place, sites, moments, tried }, context);
    const best = errors.indexOf(Math.min(...errors));
    if (best > 0) chosen.set(place, tried[best]);
    context.onProgress?.({ phase: "search factors", done: done + 1, total: places.length });
  }
  return chosen;
}

/** s = mean|x|^α / √(max s · min s), as the authors' code has it: around 1. */
function factorsOf(magnitudes: Float64Array, power: number): Float64Array {
  const factors = magnitudes.map((magnitude) => Math.max(1e-4, magnitude ** power));
  const [most, least] = [Math.max(...factors), Math.min(...factors)];
  return factors.map((factor) => factor / Math.sqrt(most * least));
}

async function observe({ graph, places, batches }: FactorSearch, context: Context): Promise<readonly Seen[]> {
  const build = buildOn(graph);
  const outputs = places.map(({ norm }) => {
    const [value] = norm.outputs;
    const channels = Number(build.type(value).shape.at(-1));
    const x = build.node("Reshape", [value, build.ints([-1, channels])]);
    const turned = build.node("Transpose", [x], { perm: [1, 0] });
    return {
      moments: build.node("MatMul", [turned, x]),
      magnitudes: build.node("ReduceMean", [build.node("Abs", [x]), build.ints([0])], { keepdims: 0 }),
    };
  });
  const names = outputs.flatMap(({ moments, magnitudes }) => [moments, magnitudes]);
  const sums = new Map<string, Float64Array>();
  let count = 0;
  await withProgram(removeDeadNodes(build.graph(names)), context, async (program) => {
    for await (const inputs of batches()) {
      const found = await program.run(inputs, signalOf(context));
      for (const name of names) sums.set(name, added(sums.get(name), found.get(name)));
      count++;
    }
  });
  const sumOf = (name: string): Float64Array => {
    const sum = sums.get(name);
    assert(sum, "there were no samples");
    return sum;
  };
  return outputs.map(({ moments, magnitudes }) => ({
    moments: sumOf(moments),
    magnitudes: sumOf(magnitudes).map((sum) => sum / count),
  }));
}

function added(sum: Float64Array | undefined, found: Tensor | undefined): Float64Array {
  assert(found, "an output is missing");
  const values = numbersOf(found);
  return sum ? sum.map((each, i) => each + values[i]) : Float64Array.from(values);
}

interface Trials {
  readonly place: SmoothPlace;
  readonly sites: readonly Site[];
  readonly moments: Float64Array;
  readonly tried: readonly Float64Array[];
}

/** Of all layers of a place together, Σ‖(Q(W s) / s − W) x‖² = tr(Δ A Δᵀ) for each of the factors. */
async function errorsOf(
  { graph, quantize }: FactorSearch,
  { place, sites, moments, tried }: Trials,
  context: Context,
): Promise<readonly number[]> {
  const { dtype } = constantOf(graph, place.layers[0].weight);
  const channels = Math.sqrt(moments.length);
  const changes = (factors: Float64Array): Float64Array => changesOf(graph, quantize, { place, sites }, factors);
  const build = buildOn();
  const rows = changes(tried[0]).length / channels;
  const change = build.input("change", { dtype, shape: [rows, channels] });
  const product = build.node("MatMul", [change, build.constant(tensorOf(dtype, [channels, channels], moments))]);
  const error = build.node("ReduceSum", [build.node("Mul", [product, change])], { keepdims: 0 });
  return withProgram(build.graph([error]), context, async (program) => {
    const errors: number[] = [];
    for (const factors of tried) {
      const inputs = new Map([[change, tensorOf(dtype, [rows, channels], changes(factors))]]);
      const found = (await program.run(inputs, signalOf(context))).get(error);
      assert(found, "an output is missing");
      errors.push(numbersOf(found)[0]);
    }
    return errors;
  });
}

/** Δ = Q(W s) / s − W of the weights, [rows of all, channels]. */
function changesOf(
  graph: Graph,
  { observer }: QuantizeOptions,
  { place: { layers }, sites }: Pick<Trials, "place" | "sites">,
  factors: Float64Array,
): Float64Array {
  const scaled = layers.map(
    ({ weight, inputAxis }) =>
      [weight, scaledRows(constantOf(graph, weight), inputAxis, (channel) => factors[channel])] as const,
  );
  const scaledGraph = { ...graph, constants: new Map([...graph.constants, ...scaled]) };
  const rounded = nearestWeights(scaledGraph, sites, observer);
  const parts = sites.map(({ value }, i) => {
    const layer = layers.find(({ weight }) => weight === value);
    const form = layer && matrixFormOf(graph, layer);
    assert(form, `no product reads "${value}"`);
    const [given, back] = [
      constantOf(graph, value),
      scaledRows(rounded[i], layer.inputAxis, (channel) => 1 / factors[channel]),
    ].map((weight) => toMatrices(form, numbersOf(weight)));
    return back.map((w, at) => w - given[at]);
  });
  const all = new Float64Array(parts.reduce((sum, { length }) => sum + length, 0));
  parts.reduce((start, part) => {
    all.set(part, start);
    return start + part.length;
  }, 0);
  return all;
}
