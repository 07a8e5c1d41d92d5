// What gives samples: named inputs, perhaps labels, read by index.

import type { DType } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import type { LabelValues } from "./labels.ts";

/** How the axes of one image are ordered, after the batch axis: [channels, height, width] or [height, width, channels]. */
export type Layout = "nchw" | "nhwc";

/** What one sample has for one of the model's inputs. */
export interface InputType {
  readonly dtype: DType;
  /** Of one sample, without the batch axis. */
  readonly shape: readonly number[];
  /** Present on images alone: how `shape` is ordered. Only images are preprocessed and augmented. */
  readonly layout?: Layout;
  /** Where the model has its batch axis, set once model and data are known; `null`: it takes one scalar a run. By default the first. */
  readonly batchAxis?: number | null;
  /** What the model takes, set once model and data are known; by default bytes and floats become float32, and other types stay. */
  readonly preparedAs?: DType;
}

/** Some samples of a dataset, by input name. */
export interface Samples {
  /** Each of shape [samples, ...shape]; a scalar that all samples share may be of shape []. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  /** int64 class indices of shape [samples, ...labelShape]. */
  readonly labels?: Tensor;
  /** What the model's output should be: of shape [samples, ...shape]. */
  readonly target?: Tensor;
}

/**
 * What gives samples by index. `memoryDataset` makes one of tensors; anything else that has these fields will do, such as what
 * reads a file as it goes. The same index must always give the same sample, or a resumed run is another run.
 */
export interface Dataset {
  /** What messages and the report call it. */
  readonly name: string;
  /** How many samples there are, 1 or more. */
  readonly length: number;
  /** By the name of the model's input; where both have only one, any name does. */
  readonly inputs: ReadonlyMap<string, InputType>;
  /** Whether samples have class indices. */
  readonly hasLabels: boolean;
  /** Of one sample's labels where each position has one, as [height, width]; absent: one a sample. */
  readonly labelShape?: readonly number[];
  /** What the labels hold, where that is known. */
  readonly labelValues?: LabelValues;
  /** The axis of the classes in the output that the labels are of, where that is known: it decides where two would do. */
  readonly classAxis?: number;
  /** Whether labels are the next tokens of a text: a model of it is judged by its perplexity. */
  readonly isText?: boolean;
  /** Why the labels that were given are no class indices. */
  readonly notClasses?: string;
  /** Present where samples have tensors that the model's output should be, which the loss "mse" follows: of one sample. */
  readonly target?: { readonly dtype: DType; readonly shape: readonly number[] };
  /** Names of the classes, in the order of their indices. */
  readonly classes?: readonly string[];
  /**
   * Present where samples are filled up to one length: how many places along the first axis of every input each of them has. What lies
   * behind changes nothing of what a model gives for the sample, as where a mask leaves it out, so that a batch may be cut to its longest.
   */
  readonly lengths?: Int32Array;
  /** What changes with any of the samples, where that takes less than reading them all, which is done otherwise: resuming asks for it. */
  readonly digest?: () => Promise<string>;
  /** Where this is a part of other data: which sample there one of these is, for messages. */
  readonly originOf?: (index: number) => number;
  /** The samples at these indices, 0 to `length` − 1, in this order, in their own memory. */
  read(indices: Int32Array): Samples | Promise<Samples>;
}

/** What a name of data stands for; either part may be missing. */
export interface Splits {
  readonly train?: Dataset;
  readonly test?: Dataset;
  readonly classes?: readonly string[];
}

/** What a run is given: `openData` makes it, or a program by hand. */
export interface Source {
  /** What ranges are taken from and what is trained on. */
  readonly train: Dataset;
  /** What is measured on, and never trained on. */
  readonly test: Dataset;
  /** Names of the classes, in the order of their indices. */
  readonly classes?: readonly string[];
  /** Whether `test` is a share taken from the training data because there was no test split. */
  readonly heldOut: boolean;
}

/** What a user calls the sample: its place in the data that were opened. */
export const sampleOf = (dataset: Dataset, index: number): number => dataset.originOf?.(index) ?? index;

/** By name, because a spread would leave out what an instance of a class inherits. */
function fieldsOf(dataset: Dataset): Omit<Dataset, "read" | "originOf"> {
  const { name, length, inputs, hasLabels, labelShape, labelValues, classAxis, notClasses, target, classes, lengths } =
    dataset;
  return {
    name,
    length,
    inputs,
    hasLabels,
    ...(labelShape && { labelShape }),
    ...(labelValues && { labelValues }),
    ...(classAxis !== undefined && { classAxis }),
    ...(notClasses !== undefined && { notClasses }),
    ...(target && { target }),
    ...(classes && { classes }),
    ...(lengths && { lengths }),
    ...(dataset.digest && { digest: () => dataset.digest!() }),
  };
}

/** The same samples with other descriptions of the same inputs. */
export const withInputs = (dataset: Dataset, inputs: Dataset["inputs"]): Dataset => ({
  ...fieldsOf(dataset),
  inputs,
  originOf: (index) => sampleOf(dataset, index),
  read: (indices) => dataset.read(indices),
});

/** The same samples, each as long as the others. */
export function withoutLengths(dataset: Dataset): Dataset {
  if (!dataset.lengths) return dataset;
  const { lengths: _, ...fields } = fieldsOf(dataset);
  return {
    ...fields,
    originOf: (index) => sampleOf(dataset, index),
    read: (indices) => dataset.read(indices),
  };
}

/** The samples of `dataset` at `indices`, renumbered from 0. */
export function subset(dataset: Dataset, indices: Int32Array, name = dataset.name): Dataset {
  const { lengths } = dataset;
  return {
    ...fieldsOf(dataset),
    name,
    length: indices.length,
    ...(lengths && { lengths: indices.map((index) => lengths[index]) }),
    originOf: (index) => sampleOf(dataset, indices[index]),
    read: (wanted) => dataset.read(wanted.map((index) => indices[index])),
  };
}

/** The first `count` samples; all of them if there are fewer. */
export function limit(dataset: Dataset, count: number): Dataset {
  return count >= dataset.length
    ? dataset
    : subset(
        dataset,
        Int32Array.from({ length: count }, (_, i) => i),
      );
}

/** What to throw where labels are needed; `consequence` goes on after "so". */
export const noLabels = ({ name }: Dataset, consequence: string): FrostbitError =>
  new FrostbitError(
    "BAD_DATA",
    `Dataset "${name}" has no labels, so ${consequence} Where there are some, name them too (npy:INPUTS,LABELS); a module that gives them must say hasLabels: true.`,
  );

const describeInputs = (names: readonly string[]): string => names.map((name) => `"${name}"`).join(", ");

/**
 * The dataset with its inputs named as the graph names them. Names must agree, except that a dataset's only input feeds
 * a graph's only input whatever the two are called.
 */
export function matchInputs(dataset: Dataset, graph: Pick<Graph, "inputs">): Dataset {
  const names = [...dataset.inputs.keys()];
  const missing = graph.inputs.filter((input) => !dataset.inputs.has(input));
  if (missing.length === 0) return dataset;
  if (names.length !== 1 || graph.inputs.length !== 1) {
    throw new FrostbitError(
      "BAD_DATA",
      `Dataset "${dataset.name}" has no input ${describeInputs(missing)}, which the model wants; it has ${describeInputs(names)}. Name the dataset's inputs as the model's.`,
    );
  }
  return renameInput(dataset, names[0], graph.inputs[0]);
}

function renameInput(dataset: Dataset, from: string, to: string): Dataset {
  const renamed = <T>(map: ReadonlyMap<string, T>): Map<string, T> =>
    new Map([...map].map(([name, value]) => [name === from ? to : name, value]));
  return {
    ...fieldsOf(dataset),
    inputs: renamed(dataset.inputs),
    originOf: (index) => sampleOf(dataset, index),
    read: async (indices) => {
      const samples = await dataset.read(indices);
      return { ...samples, inputs: renamed(samples.inputs) };
    },
  };
}
