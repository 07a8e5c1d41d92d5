// Datasets that a user's JavaScript module exports: `train`, and perhaps `test` and `classes`.
import { z } from "zod";
import { type DType, dtypes } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Tensor } from "../ir/tensor.ts";
import type { Dataset, Samples } from "./dataset.ts";

const dtype = z.enum(Object.keys(dtypes) as [DType, ...DType[]]);

/** A Map, or a plain object with the same entries. */
const mapOf = <T extends z.ZodType>(value: T) =>
  z.union([
    z.map(z.string(), value),
    z.record(z.string(), value).transform((record) => new Map(Object.entries(record))),
  ]);

const inputType = z.object({
  dtype,
  shape: z.array(z.int().min(1)),
  layout: z.enum(["nchw", "nhwc"]).exactOptional(),
});

const dataset = z.object({
  name: z.string().optional(),
  length: z.int().min(1),
  inputs: mapOf(inputType),
  hasLabels: z.boolean().optional(),
  labelShape: z.array(z.int().min(1)).exactOptional(),
  target: z.object({ dtype, shape: z.array(z.int().min(1)) }).exactOptional(),
});

const tensor = z.custom<Tensor>(
  (value) =>
    typeof value === "object" &&
    value !== null &&
    "dtype" in value &&
    "shape" in value &&
    "data" in value &&
    ArrayBuffer.isView(value.data),
  "expected a tensor { dtype, shape, data }",
);
const samples = z.object({ inputs: mapOf(tensor), labels: tensor.exactOptional(), target: tensor.exactOptional() });

function parse<T>(schema: z.ZodType<T>, value: unknown, where: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = issue.path.length > 0 ? `.${issue.path.join(".")}` : "";
  throw new FrostbitError("BAD_DATA", `${where}${path}: ${issue.message}.`);
}

function parseDataset(value: unknown, file: string, split: string): Dataset {
  const where = `${file}: export "${split}"`;
  const described: z.output<typeof dataset> = parse(dataset, value, where);
  const { read, digest } = value as { read?: unknown; digest?: unknown };
  if (typeof read !== "function")
    throw new FrostbitError("BAD_DATA", `${where}.read is ${typeof read}; expected a function.`);
  return {
    name: described.name ?? `${file} ${split}`,
    length: described.length,
    inputs: described.inputs,
    hasLabels: described.hasLabels === true,
    ...(described.labelShape && { labelShape: described.labelShape }),
    ...(described.target && { target: described.target }),
    ...(typeof digest === "function" && { digest: async () => String(await digest.call(value)) }),
    read: async (indices) => {
      const result = parse(samples, await read.call(value, indices), `${where}.read()`) as Samples;
      if (result.labels && described.hasLabels === undefined)
        throw new FrostbitError(
          "BAD_DATA",
          `${where}.read() gives labels, but hasLabels is missing. Add hasLabels: true, or false if they are not to be used.`,
        );
      return result;
    },
  };
}

/**
 * What a data module exported, `train` and perhaps `test` and `classes`, checked; `file` is what messages call the module. Throws
 * BAD_DATA naming the export and field that is missing or of another form.
 */
export function parseDatasetModule(
  exported: unknown,
  file: string,
): { train: Dataset; test?: Dataset; classes?: readonly string[] } {
  const { train, test, classes } = exported as Record<string, unknown>;
  if (train === undefined) {
    throw new FrostbitError(
      "BAD_DATA",
      `${file} exports no "train". Expected: export const train = { length, inputs, hasLabels, read(indices) }.`,
    );
  }
  return {
    train: parseDataset(train, file, "train"),
    ...(test !== undefined && { test: parseDataset(test, file, "test") }),
    ...(classes !== undefined && { classes: parse(z.array(z.string()), classes, `${file}: export "classes"`) }),
  };
}
