// Choices at random, by where an element is when it lies row-major.
import { assert } from "../../../ir/errors.ts";
import { numberAttribute } from "../../../ops/attributes.ts";
import type { NativeOp } from "../lowering.ts";
import { fixed, type MemoryLayout } from "../plan.ts";

const RandomChoice: NativeOp = {
  integers: [2],
  lower: (lowering) => {
    const { node, optional, as, output, named, emitFused } = lowering;
    const like = optional(0) ?? optional(1);
    assert(like, "RandomChoice without a and b");
    const { layout } = like;
    const operands = [0, 1].map((i) => {
      const value = optional(i);
      return value && as(value, layout);
    });
    const [channels, plane] = channelsOf(fixed(like.shape), layout);
    emitFused("randomChoice", {
      elementwise: operands,
      broadcast: [named(node.inputs[2])],
      results: [output(0, layout)],
      ints: [Math.ceil(numberAttribute(node, "probability", 0.5) * 2 ** 32), channels, plane],
      width: channels === 1 ? 0 : channels,
    });
  },
};

/** Elements that lie together, and how far apart they are row-major: the channels of channels-last images. */
function channelsOf(shape: readonly number[], layout: MemoryLayout): readonly [channels: number, plane: number] {
  if (layout === "plain") return [1, 1];
  const [, channels, ...plane] = shape;
  return [channels, plane.reduce((product, size) => product * size, 1)];
}

export const randomOps: Readonly<Record<string, NativeOp>> = { RandomChoice };
