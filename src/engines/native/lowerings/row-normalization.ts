// Normalizations of rows by their own statistics: of the last axes, or of each channel of each image.
import type { Node } from "../../../ir/graph.ts";
import { sizeOf } from "../../../ir/tensor.ts";
import { numberAttribute } from "../../../ops/attributes.ts";
import { resolveAxis } from "../../../ops/operands.ts";
import type { NativeOp } from "../lowering.ts";
import { fixed, type Value } from "../plan.ts";

/** A parameter that all rows share: how many elements repeat along a row, each once. */
const shared = (parameter: Value | undefined): readonly number[] => [
  parameter ? sizeOf(fixed(parameter.shape)) : 1,
  1,
  1,
];

/** Over the last axes, less their mean (LayerNormalization) or not (RMSNormalization). */
const overLastAxes = (isCentred: boolean): NativeOp => ({
  lower: ({ node, input, optional, output, emit }) => {
    const [x, scale, bias] = [input(0, "plain"), input(1, "plain"), optional(2)];
    const shape = fixed(x.shape);
    const axis = resolveAxis(node, numberAttribute(node, "axis", -1), shape.length);
    const [rows, length] = [sizeOf(shape.slice(0, axis)), sizeOf(shape.slice(axis))];
    emit("normalizeRows", {
      inputs: [x, scale, bias],
      outputs: [output(0), output(1), output(2)],
      ints: [rows, length, Number(isCentred), ...shared(scale), ...shared(bias)],
      floats: [numberAttribute(node, "epsilon", 1e-5)],
      inPlace: [[0, 0]],
    });
  },
});

/** Over the spatial axes of so many groups of channels. */
const overGroups = (groupsOf: (node: Node, channels: number) => number): NativeOp => ({
  lower: ({ node, input, output, emit }) => {
    const [x, scale, bias] = [input(0, "plain"), input(1), input(2)];
    const [batch, channels, ...spatial] = fixed(x.shape);
    const groups = groupsOf(node, channels);
    const [perGroup, pixels] = [channels / groups, sizeOf(spatial)];
    emit("normalizeRows", {
      inputs: [x, scale, bias],
      outputs: [output(0), undefined, undefined],
      ints: [batch * groups, perGroup * pixels, 1, perGroup, pixels, groups, perGroup, pixels, groups],
      floats: [numberAttribute(node, "epsilon", 1e-5)],
      inPlace: [[0, 0]],
    });
  },
});

export const rowNormalizationOps: Readonly<Record<string, NativeOp>> = {
  LayerNormalization: overLastAxes(true),
  RMSNormalization: overLastAxes(false),
  InstanceNormalization: overGroups((_, channels) => channels),
  GroupNormalization: overGroups((node) => numberAttribute(node, "num_groups", 1)),
};
