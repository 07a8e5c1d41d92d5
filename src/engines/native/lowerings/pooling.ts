// Pools over channels-last images; one and two spatial axes are three with sizes of 1.
import type { Node } from "../../../ir/graph.ts";
import { numberAttribute } from "../../../ops/attributes.ts";
import { poolWindow } from "../../../ops/pool-shape.ts";
import type { NativeOp } from "../lowering.ts";
import { fixed, type Value } from "../plan.ts";

const three = (sizes: readonly number[], fill: number): readonly number[] => [
  ...Array.from({ length: 3 - sizes.length }, () => fill),
  ...sizes,
];

/** As native/src/steps/pooling.cpp reads it. */
function windowInts(node: Node, x: Value, y: Value): readonly number[] {
  const [input, output] = [fixed(x.shape), fixed(y.shape)];
  const { kernel, strides, dilations, pads } = poolWindow(node, input);
  const ones = [kernel, strides, dilations].flatMap((list) => three(list, 1));
  return [
    input[0],
    input[1],
    ...three(input.slice(2), 1),
    ...three(output.slice(2), 1),
    ...ones,
    ...three(pads.slice(0, kernel.length), 0),
    numberAttribute(node, "count_include_pad", 0),
    ...three(pads.slice(kernel.length), 0),
  ];
}

const pool = (kernel: string): NativeOp => ({
  lower: ({ node, input, output, emit }) => {
    const x = input(0, "channelsLast");
    const y = output(0, "channelsLast");
    if (y) emit(kernel, { inputs: [x], outputs: [y], ints: windowInts(node, x, y) });
  },
});

const MaxPool: NativeOp = {
  anyType: true,
  accepts: (node, graph) => graph.values.get(node.inputs[0])?.dtype === "float32",
  lower: (lowering) => {
    const { node, input, output, emit } = lowering;
    pool("maxPool").lower(lowering);
    const x = input(0, "channelsLast");
    const indices = output(1, "channelsLast");
    if (indices) emit("maxPoolIndices", { inputs: [x], outputs: [indices], ints: windowInts(node, x, indices) });
  },
};

const MaxPoolGradient: NativeOp = {
  lower: ({ node, input, output, emit }) => {
    const [dy, x] = [input(0, "channelsLast"), input(1, "channelsLast")];
    const dx = output(0, "channelsLast");
    if (dx) emit("maxPoolGradient", { inputs: [dy, x], outputs: [dx], ints: windowInts(node, dx, dy) });
  },
};

const AveragePoolGradient: NativeOp = {
  lower: ({ node, input, output, emit }) => {
    const dy = input(0, "channelsLast");
    const dx = output(0, "channelsLast");
    if (dx) emit("averagePoolGradient", { inputs: [dy], outputs: [dx], ints: windowInts(node, dx, dy) });
  },
};

export const poolingOps: Readonly<Record<string, NativeOp>> = {
  MaxPool,
  AveragePool: pool("averagePool"),
  MaxPoolGradient,
  AveragePoolGradient,
};
