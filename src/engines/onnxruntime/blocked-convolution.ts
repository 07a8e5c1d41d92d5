// Convolutions in ONNX Runtime's blocked layout, with filters that are computed at run time.
import type { Emitter } from "./emitter.ts";
import { blockedDomain } from "./lowering.ts";

export const roundUp = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;

/** A filter [M, C, kh, kw] in blocks: [M/block, C/block, kh, kw, block of C, block of M]; M is filled up with zeros. */
export function blockFilter(emit: Emitter, w: string, shape: readonly number[], block: number): string {
  const [rows, channels, ...kernel] = shape;
  const padded = roundUp(rows, block);
  const whole = padded === rows ? w : emit.node("Pad", [w, emit.ints([0, 0, 0, 0, padded - rows, 0, 0, 0])]);
  if (channels < block) {
    const split = emit.reshape(whole, [padded / block, block, channels, ...kernel]);
    return emit.reshape(emit.transpose(split, [0, 2, 3, 4, 1]), [padded, channels, ...kernel]);
  }
  const split = emit.reshape(whole, [padded / block, block, channels / block, block, ...kernel]);
  return emit.reshape(emit.transpose(split, [0, 2, 4, 5, 3, 1]), [padded, channels, ...kernel]);
}

export interface BlockedWindow {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
}

/** Convolution of a blocked x (or a plain one with fewer channels than a block) with a blocked filter; the result is blocked. */
export function blockedConv(
  emit: Emitter,
  inputs: readonly (string | undefined)[],
  { kernel, strides, dilations, pads }: BlockedWindow,
  more: { readonly group?: number; readonly activation?: string } = {},
): string {
  const attributes = { kernel_shape: kernel, strides, dilations, pads, group: 1, ...more };
  return emit.node(`${blockedDomain}::Conv`, inputs, attributes);
}

/** y = scale · x + shift (+ sum), per channel, in one pass; `scale` and `shift` are [C]. */
export function blockedAffine(
  emit: Emitter,
  { x, scale, shift, sum, channels }: { x: string; scale: string; shift: string; sum?: string; channels: number },
): string {
  const filter = emit.reshape(scale, [channels, 1, 1, 1]);
  const window = { kernel: [1, 1], strides: [1, 1], dilations: [1, 1], pads: [0, 0, 0, 0] };
  return blockedConv(emit, [x, filter, shift, sum], window, { group: channels });
}
