// Layers that the runtime computes faster with floats than with integers: found by timing files, since what a kernel gains depends on
// what is before and behind it.
import type { Graph } from "../ir/graph.ts";
import { quantizedAt } from "../methods/mixed-precision/budget.ts";
import { withInputTypes } from "../passes/with-input-types.ts";
import { writeModel } from "../quantize/export-model.ts";
import { latenciesInTurn } from "../quantize/measure-run.ts";
import { type Latency, timeShares } from "../quantize/outcome.ts";
import type { Run } from "../quantize/quantize-model.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import { bitsOfLayer } from "../quantizers/quantize-options.ts";
import { withFloatKernels } from "./rungs.ts";

/** Of the layers, from the first on and up to the last: neighbours share a boundary of kernels. */
const shares = [1 / 8, 1 / 4, 1 / 2, 3 / 4];

/** Of the time; less may be chance. */
const leastGain = 0.03;

/** The layers at either end of the network that are to compute with floats, whichever share makes the file fastest; none where none does. */
export async function slowLayers(run: Run): Promise<readonly string[]> {
  const { graph } = run.subject.start;
  const { quantize } = run.job.options;
  const names = linearLayers(graph).flatMap(({ name }) => (bitsOfLayer(quantize, name) ? [name] : []));
  const ends = endsOf(names);
  const fileOf = (group: readonly string[]): Uint8Array =>
    bytesOf(run, quantizedAt(graph, { ...quantize, layers: withFloatKernels(quantize.layers, group) }));
  const files = [[], ...ends].map(fileOf);
  const [float, whole, ...times] = await latenciesInTurn(run, [run.subject.file(), ...files]);
  const costs = [whole, ...times].map((time) => shareOf(float, time));
  return ends[fastest(costs) - 1] ?? [];
}

/** Of the float model's time, in one sample or in many, whichever is more. */
export const shareOf = (float: Latency, own: Latency): number => Math.max(...timeShares(float, own));

/** The place of the least cost; 0 where the first is hardly more. */
export function fastest(costs: readonly number[]): number {
  const least = Math.min(...costs);
  return least < (1 - leastGain) * costs[0] ? costs.indexOf(least) : 0;
}

/** The groups, each once. */
export function endsOf(names: readonly string[]): readonly (readonly string[])[] {
  const counts = new Set(shares.map((share) => Math.round(share * names.length)).filter((count) => count > 0));
  return [...counts]
    .filter((count) => count < names.length)
    .flatMap((count) => [names.slice(0, count), names.slice(-count)]);
}

/** Ranges that say nothing change no time. */
const bytesOf = ({ job, subject }: Run, graph: Graph): Uint8Array =>
  writeModel(job, withInputTypes(graph, subject.inputs)).files[0].bytes;
