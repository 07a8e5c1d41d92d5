// Normalizations of rows by their own statistics: of the last axes, or of each channel of each image.
import { sizeOf } from "../../../ir/tensor.ts";
import { numberAttribute } from "../../../ops/attributes.ts";
import { resolveAxis } from "../../../ops/operands.ts";
import type { NativeOp } from "../lowering.ts";
import { fixed, type Value } from "../plan.ts";

/** How many elements of a parameter repeat along a row. */
const period = (parameter: Value | undefined): number => (parameter ? sizeOf(fixed(parameter.shape)) : 1);

const LayerNormalization: NativeOp = {
  lower: ({ node, input, optional, output, emit }) => {
    const [x, scale, bias] = [input(0, "plain"), input(1, "plain"), optional(2)];
    const shape = fixed(x.shape);
    const axis = resolveAxis(node, numberAttribute(node, "axis", -1), shape.length);
    const [rows, length] = [sizeOf(shape.slice(0, axis)), sizeOf(shape.slice(axis))];
    emit("normalizeRows", {
      inputs: [x, scale, bias],
      outputs: [output(0), output(1), output(2)],
      ints: [rows, length, period(scale), 1, period(bias), 1],
      floats: [numberAttribute(node, "epsilon", 1e-5)],
      inPlace: [[0, 0]],
    });
  },
};

const InstanceNormalization: NativeOp = {
  lower: ({ node, input, output, emit }) => {
    const [x, scale, bias] = [input(0, "plain"), input(1), input(2)];
    const [batch, channels, ...spatial] = fixed(x.shape);
    emit("normalizeRows", {
      inputs: [x, scale, bias],
      outputs: [output(0), undefined, undefined],
      ints: [batch * channels, sizeOf(spatial), 1, channels, 1, channels],
      floats: [numberAttribute(node, "epsilon", 1e-5)],
      inPlace: [[0, 0]],
    });
  },
};

export const rowNormalizationOps: Readonly<Record<string, NativeOp>> = { LayerNormalization, InstanceNormalization };
