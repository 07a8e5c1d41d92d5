// A convolution as the networks of the step benches have them.
import type { Builder } from "../../src/ir/builder.ts";
import { filled, uniform } from "./tensors.ts";

export interface Convolution {
  readonly channels: number;
  readonly size: number;
  readonly stride?: number;
  readonly group?: number;
  /** Whether a Relu follows: yes unless told otherwise. */
  readonly isActive?: boolean;
}

/** With batch normalization, and Relu. Weights are random and seeded. */
export function convolution(
  build: Builder,
  x: string,
  name: string,
  { channels, size, stride = 1, group = 1, isActive = true }: Convolution,
): string {
  const inputs = Number(build.type(x).shape[1]) / group;
  const edge = (size - 1) / 2;
  const weight = uniform([channels, inputs, size, size], (3 / (inputs * size * size)) ** 0.5, channels);
  const y = build.node(
    "Conv",
    [x, build.constant(weight, `${name}.weight`)],
    { kernel_shape: [size, size], pads: [edge, edge, edge, edge], strides: [stride, stride], group },
    name,
  );
  const parameters = [1, 0, 0, 1].map((value, i) => build.constant(filled([channels], value), `${name}.norm${i}`));
  const normalized = build.node("BatchNormalization", [y, ...parameters], { epsilon: 1e-5 }, `${name}.norm`);
  return isActive ? build.node("Relu", [normalized]) : normalized;
}
