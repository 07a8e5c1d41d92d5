// Equalization without being asked: where channels would be lost otherwise.
import { equalizeLayers, layersThatLoseChannels } from "../methods/cross-layer-equalization/equalize-layers.ts";
import { crossLayerEqualizationMethod } from "../methods/cross-layer-equalization/method.ts";
import { methodOf } from "../methods/index.ts";
import { isQuantized, type RunOptions } from "../options/run-options.ts";
import type { Context } from "../run/context.ts";
import type { Subject } from "./subject.ts";

/** The subject with equalized layers where some lose channels, which is noted; as it is where the run equalizes anyway. */
export function withEvenChannels(subject: Subject, options: RunOptions, { onNote }: Context): Subject {
  const isAsked = options.methods.map(methodOf).includes(crossLayerEqualizationMethod);
  const { graph } = subject.start;
  const losing = isQuantized(options) && !isAsked ? layersThatLoseChannels(graph) : [];
  if (losing.length === 0) return subject;
  const names = `"${losing.slice(0, 5).join('", "')}"${losing.length > 5 ? ` and ${losing.length - 5} more` : ""}`;
  onNote?.(
    `The channels that ${names} give${losing.length === 1 ? "s" : ""} differ so much in size that rounding would lose some which count: the layers were equalized first, as --prepare ${crossLayerEqualizationMethod.name} does.`,
  );
  const even = equalizeLayers(graph).graph;
  return { ...subject, start: { ...subject.start, graph: even, float: even } };
}
