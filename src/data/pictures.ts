// Which of the inputs are pictures: those that are preprocessed and augmented.
import { FrostbitError } from "../ir/errors.ts";
import { type Dataset, type InputType, type Layout, withInputs } from "./dataset.ts";

const channelCounts: readonly number[] = [1, 3, 4];

/** Samples of rank 3 are images, channels first unless only the last axis can be one of channels (1, 3 or 4). */
function guessLayout(shape: readonly number[]): Layout | undefined {
  if (shape.length !== 3) return undefined;
  return channelCounts.includes(shape[2]) && !channelCounts.includes(shape[0]) ? "nhwc" : "nchw";
}

/** Bytes or floats of three axes. */
export const mayBePicture = ({ dtype, shape }: InputType): boolean =>
  (dtype === "uint8" || dtype === "float32" || dtype === "float64") && shape.length === 3;

/**
 * Which inputs are pictures: those of bytes whose samples have three axes. Floats of three axes may be anything, and are taken for
 * a picture where no other input could be one.
 */
export function guessPictures(inputs: ReadonlyMap<string, InputType>): readonly string[] {
  const candidates = [...inputs].filter(([, type]) => mayBePicture(type));
  const ofBytes = candidates.filter(([, { dtype }]) => dtype === "uint8");
  const found = ofBytes.length > 0 || candidates.length > 1 ? ofBytes : candidates;
  return found.map(([name]) => name);
}

/** The inputs with the layouts of those that are pictures, and no others. */
export function withPictures(
  inputs: ReadonlyMap<string, InputType>,
  pictures: readonly string[],
): ReadonlyMap<string, InputType> {
  return new Map(
    [...inputs].map(([name, { layout: known, ...type }]) => {
      const layout = pictures.includes(name) ? (known ?? guessLayout(type.shape)) : undefined;
      return [name, { ...type, ...(layout && { layout }) }];
    }),
  );
}

/** The dataset with `names` as its pictures, whatever was guessed. Throws BAD_OPTION for a name that is not an input, or none of a picture's form. */
export function choosePictures(dataset: Dataset, names: readonly string[]): Dataset {
  for (const name of names) {
    const type = dataset.inputs.get(name);
    if (type && mayBePicture(type)) continue;
    const is = type ? `is ${type.dtype} [${type.shape.join(", ")}] a sample` : "is not an input";
    throw new FrostbitError(
      "BAD_OPTION",
      `preprocessInputs names "${name}", which ${is} of "${dataset.name}"; expected bytes or floats of three axes. The inputs are ${[...dataset.inputs.keys()].map((input) => `"${input}"`).join(", ")}.`,
    );
  }
  return withInputs(dataset, withPictures(dataset.inputs, names));
}
