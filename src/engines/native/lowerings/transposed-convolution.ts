// ConvTranspose: the input gradient of a convolution, and a bias.
import { transposedConvolution } from "../../../ops/convolution-shape.ts";
import { geometryOf } from "../convolution-geometry.ts";
import type { NativeOp } from "../lowering.ts";
import { fixed } from "../plan.ts";
import { combine } from "./elementwise.ts";

const ConvTranspose: NativeOp = {
  lower: (lowering) => {
    const { node, input, optional, output, scratch, emit } = lowering;
    const x = input(0, "channelsLast");
    const w = input(1, "plain");
    const bias = optional(2);
    const y = output(0, "channelsLast");
    if (!y) return;
    const { window } = transposedConvolution(node, x.shape, fixed(w.shape));
    const product = bias ? scratch("float32", y.shape, "channelsLast") : y;
    const { ints } = geometryOf(node, window, fixed(y.shape), fixed(x.shape));
    emit("convolutionInputGradient", { inputs: [x, w], outputs: [product], ints });
    if (!bias) return;
    const perChannel = { ...bias, shape: [...bias.shape, ...window.kernel.map(() => 1)] };
    combine(lowering, "Add", product, perChannel, y);
  },
};

export const transposedConvolutionOps: Readonly<Record<string, NativeOp>> = { ConvTranspose };
