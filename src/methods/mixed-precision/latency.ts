// What there is to spend of time: each layer as it is exported, at each width, timed in the runtime that deploys.
import { FrostbitError } from "../../ir/errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { sizeOf, type Tensor, tensorOf } from "../../ir/tensor.ts";
import { setBatchSize } from "../../passes/set-batch-size.ts";
import { type LinearLayer, linearLayers } from "../../quantizers/linear-layers.ts";
import type { QuantizeOptions } from "../../quantizers/quantize-options.ts";
import type { Context } from "../../run/context.ts";
import { cutUnit } from "../../units/cut-unit.ts";
import type { MethodJob } from "../method.ts";
import { type Budget, quantizedAt, type Widths, withWidths } from "./budget.ts";
import type { Choice, Choices } from "./choices.ts";
import { latencyOf } from "./options.ts";
import type { Inputs } from "./replace-weights.ts";

type TimeFiles = MethodJob<unknown>["timeFiles"];

/** Milliseconds of one sample. */
export interface Latencies {
  readonly float: number;
  /** By width, of the whole network with these bits for every layer that is chosen. */
  readonly whole: ReadonlyMap<number, number>;
  /** By the place of a choice and by width, of its layers alone. */
  readonly layers: readonly ReadonlyMap<number, number>[];
}

export interface LatencyJob {
  readonly graph: Graph;
  readonly quantize: QuantizeOptions;
  readonly choices: Choices;
  readonly widths: readonly number[];
  /** One sample. */
  readonly inputs: Inputs;
  readonly timeFiles: TimeFiles;
}

export async function measureLatencies(job: LatencyJob, context: Context): Promise<Latencies> {
  const { graph, quantize, choices, widths, inputs, timeFiles } = job;
  const { free } = choices;
  const atWidth = new Map(
    widths.map((width) => [
      width,
      quantizedAt(
        graph,
        withWidths(
          quantize,
          free,
          free.map(() => width),
        ),
      ),
    ]),
  );
  const [float, ...whole] = await timeFiles([graph, ...atWidth.values()], inputs);
  const layers: ReadonlyMap<number, number>[] = [];
  for (const choice of free) {
    if (context.signal?.aborted) throw new FrostbitError("ABORTED", "Stopped while layers were timed.");
    layers.push(await layerLatencies(choice, atWidth, timeFiles));
    context.onProgress?.({ phase: "time layers", done: layers.length, total: free.length });
  }
  return { float, whole: new Map(widths.map((width, i) => [width, whole[i]])), layers };
}

/** Widths in turn, so that what else the machine does counts for all. */
async function layerLatencies(
  { layers: names }: Choice,
  atWidth: ReadonlyMap<number, Graph>,
  timeFiles: TimeFiles,
): Promise<ReadonlyMap<number, number>> {
  const total = new Map([...atWidth.keys()].map((width) => [width, 0]));
  for (const name of names) {
    const cuts = [...atWidth.values()].map((graph) => layerAlone(graph, name));
    const times = await timeFiles(cuts, new Map(cuts[0].inputs.map((input) => [input, drawn(cuts[0], input)])));
    [...total.keys()].forEach((width, i) => {
      total.set(width, (total.get(width) ?? 0) + times[i]);
    });
  }
  return total;
}

function layerAlone(graph: Graph, name: string): Graph {
  const layer = linearLayers(graph).find((other): other is LinearLayer => other.name === name);
  if (!layer) throw new Error(`internal: no layer "${name}"`);
  return cutUnit(setBatchSize(graph, 1), [layer.input], [layer.node.outputs[0]]);
}

/** Values from 0 to 1: what they are makes no difference to the time. */
function drawn(graph: Graph, input: string): Tensor {
  const { dtype = "float32", shape = [] } = graph.values.get(input) ?? {};
  const sizes = shape.map((size) => (typeof size === "number" ? size : 1));
  return tensorOf(
    dtype,
    sizes,
    Float64Array.from({ length: sizeOf(sizes) }, (_, i) => ((i * 37) % 101) / 101),
  );
}

/** Costs are microseconds; what is not of these layers takes what the whole network takes beside them. */
export function latencyBudget(
  { free }: Choices,
  latencies: Latencies,
  maxLatency: string | number,
  widths: Widths,
): Budget {
  const { float, whole, layers } = latencies;
  const rests = [...whole].map(([width, ms]) => ms - layers.reduce((sum, each) => sum + (each.get(width) ?? 0), 0));
  const rest = rests.toSorted((a, b) => a - b)[rests.length >> 1];
  const costOf: Budget["costOf"] = (choice, width) => Math.ceil(1000 * (layers[free.indexOf(choice)].get(width) ?? 0));
  const amountOf: Budget["amountOf"] = (cost) => cost / 1000 + rest;
  return {
    option: "maxLatency",
    costOf,
    available: Math.floor(1000 * (latencyOf(maxLatency, float) - rest)),
    amountOf,
    unit: "ms",
    outOfReach: () => tooSlow(maxLatency, latencies, { amountOf, costOf }, free, widths),
  };
}

const ms = (value: number): string => `${value.toPrecision(3)} ms`;

/** What every width reaches. */
const reached = ({ float, whole }: Latencies): string =>
  `Measured for one sample: ${[...whole].map(([width, time]) => `${width} bits ${ms(time)}`).join(", ")}, float ${ms(float)}.`;

const remedy = "Below 8 bits layers become smaller, not faster; --placement runtime has integer kernels.";

const tooSlow = (
  maxLatency: string | number,
  latencies: Latencies,
  { amountOf, costOf }: Pick<Budget, "amountOf" | "costOf">,
  free: readonly Choice[],
  widths: Widths,
): FrostbitError => {
  const least = free.reduce((sum, choice) => sum + Math.min(...widths.map((width) => costOf(choice, width))), 0);
  return new FrostbitError(
    "BAD_OPTION",
    `maxLatency is ${ms(latencyOf(maxLatency, latencies.float))}; with the fastest bits for every layer the model would take ${ms(amountOf(least))}. ${reached(latencies)} ${remedy}`,
  );
};

/** Of the file as it was written. Throws VERIFICATION. */
export function checkLatency(
  maxLatency: string | number,
  latencies: Latencies,
  measured: { readonly float: number; readonly deployed: number },
): void {
  const most = latencyOf(maxLatency, measured.float);
  if (measured.deployed <= most) return;
  throw new FrostbitError(
    "VERIFICATION",
    `The file takes ${ms(measured.deployed)} for one sample in ONNX Runtime; maxLatency is ${ms(most)}. ${reached(latencies)} ${remedy}`,
  );
}
