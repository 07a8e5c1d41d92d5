// Batch normalization over channels-last images.
import type { Node } from "../../../ir/graph.ts";
import { numberAttribute } from "../../../ops/attributes.ts";
import type { NativeOp } from "../lowering.ts";
import { fixed, type Value } from "../plan.ts";

const channelsOf = ({ shape }: Value): number => fixed(shape)[1];

const epsilonOf = (node: Node): readonly number[] => [numberAttribute(node, "epsilon", 1e-5)];

const BatchNormalization: NativeOp = {
  lower: ({ node, input, output, emitFused }) => {
    const x = input(0, "channelsLast");
    emitFused("normalization", {
      elementwise: [x],
      broadcast: [1, 2, 3, 4].map((i) => input(i)),
      results: [output(0, "channelsLast")],
      floats: epsilonOf(node),
      width: channelsOf(x),
    });
  },
};

/** The statistics are computed even where nothing reads them. */
const BatchNormalizationTraining: NativeOp = {
  lower: ({ node, input, output, scratch, emitFused }) => {
    const x = input(0, "channelsLast");
    const width = channelsOf(x);
    const [mean, variance] = [1, 2].map((i) => output(i) ?? scratch("float32", [width]));
    emitFused("statistics", { elementwise: [x], epilogue: [mean, variance], width });
    const y = output(0, "channelsLast");
    if (!y) return;
    const broadcast = [input(1), input(2), mean, variance];
    emitFused("normalization", { elementwise: [x], broadcast, results: [y], floats: epsilonOf(node), width });
  },
};

const BatchNormalizationTrainingGradient: NativeOp = {
  lower: ({ node, input, output, scratch, emitFused }) => {
    const [dy, x] = [input(0, "channelsLast"), input(1, "channelsLast")];
    const [gamma, mean, variance] = [input(2), input(3), input(4)];
    const width = channelsOf(x);
    const floats = epsilonOf(node);
    const [dgamma, dbeta] = [1, 2].map((i) => output(i) ?? scratch("float32", [width]));
    emitFused("normalizationSums", {
      elementwise: [dy, x],
      broadcast: [mean, variance],
      epilogue: [dgamma, dbeta],
      floats,
      width,
    });
    const dx = output(0, "channelsLast");
    if (!dx) return;
    const broadcast = [gamma, mean, variance, dgamma, dbeta];
    emitFused("normalizationGradient", { elementwise: [dy, x], broadcast, results: [dx], floats, width });
  },
};

export const normalizationOps: Readonly<Record<string, NativeOp>> = {
  BatchNormalization,
  BatchNormalizationTraining,
  BatchNormalizationTrainingGradient,
};
