// Where the samples of a batch go: rules for `OpDefinition.sampleAxis`.
import type { Node } from "../ir/graph.ts";
import { numberAttribute } from "./attributes.ts";
import type { SampleRule, SamplesContext } from "./definition.ts";
import { productOf } from "./dims.ts";

/** The one axis that all agree on; "anywhere" where no input has samples. */
export function agreed(axes: readonly (number | undefined)[]): ReturnType<SampleRule> {
  const distinct = new Set(axes.filter((axis) => axis !== undefined));
  if (distinct.size > 1) return "coupled";
  const [axis] = distinct;
  return axis ?? "anywhere";
}

/** Axes are counted from the back, as broadcasting does. */
export const alignedSamples: SampleRule = ({ axes, inputs, outputs }) => {
  const rank = outputs[0].shape.length;
  return agreed(axes.map((axis, i) => (axis < 0 ? undefined : axis + rank - (inputs[i]?.shape.length ?? 0))));
};

/** The axis along which the first input alone has samples; −1 otherwise. */
export const axisOfFirst = ({ axes }: SamplesContext): number =>
  axes.slice(1).some((axis) => axis >= 0) ? -1 : axes[0];

const rankOfFirst = ({ inputs }: SamplesContext): number => inputs[0]?.shape.length ?? 0;

/** Samples of the first input keep their axis if the node treats entries along it by themselves. */
export const samplesWhere =
  (isFree: (axis: number, node: Node, rank: number) => boolean): SampleRule =>
  (context) => {
    const axis = axisOfFirst(context);
    return axis >= 0 && isFree(axis, context.node, rankOfFirst(context)) ? axis : "coupled";
  };

/** The first axis is ONNX's batch. */
export const leadingSamples = samplesWhere((axis) => axis === 0);
/** Channels go their own way too. */
export const leadingOrChannelSamples = samplesWhere((axis) => axis <= 1);

/** Entries along the axis that the node's attribute names are tied to each other. */
export const samplesBesideAxis = (byDefault: number): SampleRule =>
  samplesWhere((axis, node, rank) => {
    const mixed = numberAttribute(node, "axis", byDefault);
    return axis !== (mixed < 0 ? mixed + rank : mixed);
  });

/** Entries along the node's axis and all after it are tied to each other. */
export const samplesBeforeAxis = (byDefault: number): SampleRule =>
  samplesWhere((axis, node, rank) => {
    const first = numberAttribute(node, "axis", byDefault);
    return axis < (first < 0 ? first + rank : first);
  });

/** Elements keep their order in memory: samples stay whole if the number of elements before each stays the same. */
export const samplesInOrder: SampleRule = (context) => {
  const axis = axisOfFirst(context);
  const from = context.inputs[0]?.shape ?? [];
  const to = context.outputs[0].shape;
  const moved = axis < 0 ? -1 : to.indexOf(from[axis]);
  const isWhole = moved >= 0 && productOf(from.slice(0, axis)) === productOf(to.slice(0, moved));
  return isWhole ? moved : "coupled";
};
