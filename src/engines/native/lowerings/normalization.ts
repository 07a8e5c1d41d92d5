// Batch normalization over channels-last images.
import { numberAttribute } from "../../../ops/attributes.ts";
import type { NativeOp } from "../lowering.ts";
import { fixed, type Value } from "../plan.ts";

function pixelsAndChannels({ shape }: Value): readonly number[] {
  const [batch, channels, ...spatial] = fixed(shape);
  return [spatial.reduce((product, size) => product * size, batch), channels];
}

const BatchNormalization: NativeOp = {
  lower: ({ node, input, output, emit }) => {
    const x = input(0, "channelsLast");
    emit("normalization", {
      inputs: [x, ...[1, 2, 3, 4].map((i) => input(i))],
      outputs: [output(0, "channelsLast")],
      ints: pixelsAndChannels(x),
      floats: [numberAttribute(node, "epsilon", 1e-5)],
      inPlace: [[0, 0]],
    });
  },
};

/** The statistics are computed even where nobody reads them. */
const BatchNormalizationTraining: NativeOp = {
  lower: ({ node, input, output, scratch, emit }) => {
    const x = input(0, "channelsLast");
    const ints = pixelsAndChannels(x);
    const statistic = (i: number): Value => output(i) ?? scratch("float32", [ints[1]]);
    const y = output(0, "channelsLast") ?? scratch("float32", x.shape, "channelsLast");
    emit("normalizationTraining", {
      inputs: [x, input(1), input(2)],
      outputs: [y, statistic(1), statistic(2)],
      ints,
      floats: [numberAttribute(node, "epsilon", 1e-5)],
    });
  },
};

const BatchNormalizationTrainingGradient: NativeOp = {
  lower: ({ node, input, output, emit }) => {
    const [dy, x] = [input(0, "channelsLast"), input(1, "channelsLast")];
    emit("normalizationTrainingGradient", {
      inputs: [dy, x, input(2), input(3), input(4)],
      outputs: [output(0, "channelsLast"), output(1), output(2)],
      ints: pixelsAndChannels(x),
      floats: [numberAttribute(node, "epsilon", 1e-5)],
      inPlace: [[0, 0]],
    });
  },
};

export const normalizationOps: Readonly<Record<string, NativeOp>> = {
  BatchNormalization,
  BatchNormalizationTraining,
  BatchNormalizationTrainingGradient,
};
