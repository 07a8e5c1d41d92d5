// Ranges whose end makes everything else 0: a mask of −10,000, or a broken channel; and channels that others make 0.
import { firstSamples } from "../evaluate/first-samples.ts";
import { assert } from "../ir/errors.ts";
import { consumers, describeNode, type Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import type { Qparams } from "../quantizers/qparams.ts";
import { boundsOfActivations } from "../quantizers/quantizer.ts";
import type { Site } from "../quantizers/sites.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withProgram } from "../run/with-program.ts";
import { channelCheck } from "./lost-channels.ts";

interface Calibrated {
  readonly graph: Graph;
  readonly sites: readonly Site[];
  /** By site name. */
  readonly qparams: ReadonlyMap<string, Qparams>;
}

/** How many values of a tensor are other than 0, how many of these quantizing keeps, and how many are in the outer half of its range. */
interface Counts {
  readonly values: number;
  readonly kept: number;
  readonly ends: number;
}

/** Less than a hundredth of what is not at the end survives. */
const isDominated = ({ values, kept, ends }: Counts): boolean =>
  ends > 0 && values > ends && kept - ends < 0.01 * (values - ends);

/** What a site's quantizer tells apart: values that differ by a step, up to the largest. */
interface Reach {
  readonly step: number;
  readonly largest: number;
}

function reachOf({ bits, symmetric, name }: Site, qparams: Calibrated["qparams"]): Reach {
  const { low, high } = boundsOfActivations(bits, symmetric);
  const found = qparams.get(name);
  assert(found, `site "${name}" has no qparams`);
  const [step, zero] = [found.scale, found.zeroPoint].map((value) => numbersOf(value)[0]);
  return { step, largest: step * Math.max(high - zero, zero - low) };
}

/** Masks and broken channels are in every sample. */
const samples = 8;

/** Looks at the first samples. */
export async function noteDominatedRanges(
  { graph, sites, qparams }: Calibrated,
  batches: () => AsyncIterable<ReadonlyMap<string, Tensor>>,
  context: Context,
): Promise<void> {
  if (sites.length === 0) return;
  const build = buildOn(graph);
  const layers = linearLayers(graph);
  const counted = sites.map((site) => {
    const { step, largest } = reachOf(site, qparams);
    const magnitude = build.node("Abs", [site.value]);
    const counts = [0, step / 2, largest / 2].map((least) => {
      // 1 above, else 0; without a comparison, which engines do not fuse.
      const above = build.node("Relu", [build.node("Sub", [magnitude, build.scalar(least, site.value)])]);
      return build.node("ReduceSum", [build.node("Sign", [above])], { keepdims: 0 });
    });
    return { site, step, largest, counts, channels: channelCheck({ graph, build, layers }, site) };
  });
  const wanted = counted.flatMap(({ counts, channels }) => [...counts, ...(channels?.outputs ?? [])]);
  await withProgram(build.graph(wanted), context, async (program) => {
    for await (const inputs of batches()) {
      const outputs = await program.run(firstSamples(graph, inputs, samples), signalOf(context));
      for (const { site, step, largest, counts, channels } of counted) {
        const [values, kept, ends] = counts.map((name) => Number(outputs.get(name)?.data[0]));
        const note = isDominated({ values, kept, ends })
          ? noteOf(graph, site, largest)
          : channels?.noteOf(outputs, step);
        if (note !== undefined) context.onNote?.(note);
      }
      return;
    }
  });
}

function noteOf(graph: Graph, { value }: Site, largest: number): string {
  const readers = (consumers(graph).get(value) ?? []).map(describeNode);
  return `The range of "${value}", which ${readers.slice(0, 3).join(", ")} read${readers.length === 1 ? "s" : ""}, ends at ±${largest.toPrecision(3)}: what is not near its end is rounded to 0. A mask or a broken channel does this. Leave the layer in float with --layers, or take another --observer: percentile or mse.`;
}
