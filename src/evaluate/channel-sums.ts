// Sums over each channel of an output, in two models: a channel that one of them lost does not show in the whole output's figure.

import { sizeOf, type Tensor } from "../ir/tensor.ts";
import { sqnrDb } from "./difference.ts";

/** Sums over what one channel gave in the samples so far: of both models' values, and of their difference. */
interface Sums {
  count: number;
  a: number;
  aa: number;
  b: number;
  bb: number;
  noise: number;
}

/** By axis: −1 stands for the output as a whole. */
export type ChannelSums = Map<number, readonly Sums[]>;

/** Axes longer than this are positions, not channels. */
const mostChannels = 256;

/** Those that may be of channels: of images the second, of lists the last. */
const channelAxes = (shape: readonly number[]): readonly number[] =>
  [...new Set([1, shape.length - 1])].filter((axis) => axis > 0 && shape[axis] > 1 && shape[axis] <= mostChannels);

const noSums = (): Sums => ({ count: 0, a: 0, aa: 0, b: 0, bb: 0, noise: 0 });

/** Adds a batch of an output, of which axis 0 is the samples. */
export function addChannels(sums: ChannelSums, { shape }: Tensor, a: ArrayLike<number>, b: ArrayLike<number>): void {
  for (const axis of [-1, ...channelAxes(shape)]) {
    const channels = axis < 0 ? 1 : shape[axis];
    const known = sums.get(axis);
    const all = known?.length === channels ? known : Array.from({ length: channels }, noSums);
    sums.set(axis, all);
    const inner = axis < 0 ? a.length : sizeOf(shape.slice(axis + 1));
    for (let start = 0, channel = 0; start < a.length; start += inner, channel = (channel + 1) % channels)
      addRun(all[channel], a, b, start, start + inner);
  }
}

/** As numbers: by axis, its number, how many channels it has, and their sums. */
export const numbersOfChannels = (sums: ChannelSums): readonly number[] =>
  [...sums].flatMap(([axis, channels]) => [
    axis,
    channels.length,
    ...channels.flatMap(({ count, a, aa, b, bb, noise }) => [count, a, aa, b, bb, noise]),
  ]);

const sumsOfChannel = Object.keys(noSums()).length;

/** From the numbers of one batch after the other. */
export function channelsFrom(numbers: ArrayLike<number>): ChannelSums {
  const sums: ChannelSums = new Map();
  for (let at = 0; at < numbers.length; ) {
    const [axis, count] = [numbers[at], numbers[at + 1]];
    const known = sums.get(axis);
    const all = known?.length === count ? known : Array.from({ length: count }, noSums);
    sums.set(axis, all);
    for (const [channel, own] of all.entries()) {
      const start = at + 2 + sumsOfChannel * channel;
      const [n, a, aa, b, bb, noise] = Array.from({ length: sumsOfChannel }, (_, i) => numbers[start + i]);
      own.count += n;
      own.a += a;
      own.aa += aa;
      own.b += b;
      own.bb += bb;
      own.noise += noise;
    }
    at += 2 + sumsOfChannel * count;
  }
  return sums;
}

function addRun(sums: Sums, a: ArrayLike<number>, b: ArrayLike<number>, start: number, end: number): void {
  for (let i = start; i < end; i++) {
    sums.a += a[i];
    sums.aa += a[i] * a[i];
    sums.b += b[i];
    sums.bb += b[i] * b[i];
    sums.noise += (b[i] - a[i]) ** 2;
  }
  sums.count += end - start;
}

/** What became of an output's channels in the second model. */
export interface ChannelDistance {
  /** Of the channel with the least, SQNR in dB. */
  readonly leastDb: number;
  /** The axis that this channel is of, −1 where the output as a whole has the least, and its place there. */
  readonly axis: number;
  readonly channel: number;
  /** How many channels stay the same in the second model, but for a hundredth of their variance, and vary in the first. */
  readonly still: number;
  /** How many are mostly noise. */
  readonly noisy: number;
  /** How many the axis has that lost the most. */
  readonly channels: number;
}

/** SQNR in dB below which a channel is mostly noise; an output as a whole already where noise is half of it. */
const noisyDb = { channel: 3, output: 6 } as const;
/** Of what is between 0 and 1, a probability or a share, this deviation is nothing. */
const smallShare = 0.02;
/** A channel that varies by less than this part of the one that varies most does not count. */
const smallPart = 1e-5;
/** What is left of a variance that is lost. */
const lostVariance = 0.01;

export function channelDistance(sums: ChannelSums, isShare: boolean): ChannelDistance {
  const axes = [...sums].map(([axis, channels]) => {
    const lost = countLost(channels, isShare, axis < 0 ? noisyDb.output : noisyDb.channel);
    return { axis, ...leastOf(channels), ...lost, channels: channels.length };
  });
  const { leastDb, axis, channel } = axes.reduce((a, b) => (b.leastDb < a.leastDb ? b : a));
  const lossOf = ({ still, noisy, channels }: (typeof axes)[number]): number => (still + noisy) / channels;
  const { still, noisy, channels } = axes.reduce((a, b) => (lossOf(b) > lossOf(a) ? b : a));
  return { leastDb, axis, channel, still, noisy, channels };
}

const decibels = ({ aa, noise }: Sums): number => sqnrDb({ signal: aa, noise, largest: 0 });

/** Channels that are 0 throughout have no SQNR. */
function leastOf(channels: readonly Sums[]): { readonly leastDb: number; readonly channel: number } {
  let least = { leastDb: Number.POSITIVE_INFINITY, channel: 0 };
  for (const [channel, sums] of channels.entries()) {
    const leastDb = decibels(sums);
    if (sums.aa !== 0 && !(leastDb >= least.leastDb)) least = { leastDb, channel };
  }
  return least;
}

function countLost(
  channels: readonly Sums[],
  isShare: boolean,
  noisyBelow: number,
): Pick<ChannelDistance, "still" | "noisy"> {
  const before = channels.map(({ count, a, aa }) => variance(count, a, aa));
  const most = before.reduce((largest, value) => Math.max(largest, value), 0);
  const small = isShare ? smallShare ** 2 : smallPart ** 2 * most;
  let [still, noisy] = [0, 0];
  for (const [i, sums] of channels.entries()) {
    const { count, aa, b, bb, noise } = sums;
    // Sums of squares tell no variance that is smaller than their own rounding.
    const varies = before[i] > small && before[i] > 1e-9 * (aa / count);
    if (varies && variance(count, b, bb) <= lostVariance * before[i]) still++;
    else if (!(noise / count <= small) && !(decibels(sums) >= noisyBelow)) noisy++;
  }
  return { still, noisy };
}

const variance = (count: number, sum: number, squares: number): number => squares / count - (sum / count) ** 2;
