// From stored images to what the model was trained on: (x · scale - mean) / std per channel, in the model's layout.
import { checkChoice, checkNames } from "../ir/check-options.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Layout } from "./dataset.ts";

/** From stored images to what the model was trained on: (x · scale − mean) / std per channel. Only images are preprocessed. */
export interface Preprocess {
  /** Multiplies the stored value, 0 to 255 in images of bytes. */
  readonly scale: number;
  /** One value per channel, or one for all; subtracted after scaling. */
  readonly mean: readonly number[];
  /** One value per channel, or one for all; divides last. Not 0. */
  readonly std: readonly number[];
  /** The layout that the model wants. */
  readonly layout: Layout;
  /** The order of the colours that the model wants, which mean and std are in; stored ones are red, green, blue. "rgb" where absent. */
  readonly channels?: "rgb" | "bgr";
}

export const preprocessPresets = {
  none: { scale: 1, mean: [0], std: [1], layout: "nchw" },
  unit: { scale: 1 / 255, mean: [0], std: [1], layout: "nchw" },
  symmetric: { scale: 1 / 255, mean: [0.5], std: [0.5], layout: "nchw" },
  imagenet: { scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], layout: "nchw" },
  cifar10: { scale: 1 / 255, mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.2435, 0.2616], layout: "nchw" },
  mnist: { scale: 1 / 255, mean: [0.1307], std: [0.3081], layout: "nchw" },
} as const satisfies Record<string, Preprocess>;

/**
 * Usual choices by name: "none" x, "unit" x/255, "symmetric" −1 to 1, the others with their data set's mean and deviation.
 * @useDeclaredType
 */
export type PreprocessPreset = keyof typeof preprocessPresets;

/**
 * A preset with some of its values replaced. Throws BAD_OPTION for other names, and where `std` holds a 0.
 *
 * @example
 * const preprocess = resolvePreprocess("unit", { mean: [0.5], std: [0.25] });
 */
export function resolvePreprocess(preset: PreprocessPreset = "none", changes: Partial<Preprocess> = {}): Preprocess {
  checkChoice("preprocess", preset, Object.keys(preprocessPresets));
  checkNames("resolvePreprocess", changes, [...Object.keys(preprocessPresets.none), "channels"]);
  if (changes.layout !== undefined) checkChoice("preprocess.layout", changes.layout, ["nchw", "nhwc"]);
  if (changes.channels !== undefined) checkChoice("preprocess.channels", changes.channels, ["rgb", "bgr"]);
  const result = { ...preprocessPresets[preset], ...changes };
  const bad = result.std.find((value) => !(Math.abs(value) > 0));
  if (bad !== undefined) {
    throw new FrostbitError("BAD_OPTION", `preprocess.std holds ${bad}; expected numbers other than 0.`);
  }
  return result;
}

/** Whether stored values stay what they are. */
export const isNeutral = ({ scale, mean, std, channels }: Preprocess): boolean =>
  channels !== "bgr" && scale === 1 && mean.every((value) => value === 0) && std.every((value) => value === 1);

/** Scale and offset of one channel: y = x · factor + offset. */
export interface ChannelMap {
  readonly factor: number;
  readonly offset: number;
}

/** Where a stored channel is in what the model takes. Throws BAD_OPTION where blue and red are to change places and there are no three. */
export function placeOfChannel({ channels: order }: Preprocess, channels: number): (channel: number) => number {
  if (order !== "bgr") return (channel) => channel;
  if (channels === 3) return (channel) => 2 - channel;
  throw new FrostbitError(
    "BAD_OPTION",
    `preprocess.channels is bgr, and the images have ${channels} channel${channels === 1 ? "" : "s"}; expected 3.`,
  );
}

/** One map per channel. Throws where `mean` or `std` has another number of channels. */
export function channelMaps(preprocess: Preprocess, channels: number): readonly ChannelMap[] {
  const pick = (list: readonly number[], what: string, channel: number): number => {
    if (list.length === 1) return list[0];
    if (list.length === channels) return list[channel];
    throw new FrostbitError(
      "BAD_OPTION",
      `preprocess.${what} has ${list.length} values, the images have ${channels} channel${channels === 1 ? "" : "s"}. Give one value, or one per channel.`,
    );
  };
  return Array.from({ length: channels }, (_, channel) => {
    const mean = pick(preprocess.mean, "mean", channel);
    const std = pick(preprocess.std, "std", channel);
    return { factor: preprocess.scale / std, offset: -mean / std };
  });
}
