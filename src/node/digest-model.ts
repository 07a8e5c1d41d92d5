// What a model consists of, as digests of its files.
import { dirname, join } from "node:path";
import type { Report } from "../report/report.ts";
import { digestOfFile } from "./file-digest.ts";
import { fileSource } from "./file-source.ts";
import { modelFilesOf } from "./read-model.ts";

/** The file, and what is beside it: all of it is read. */
export function digestOfModel(modelPath: string): Report["input"] {
  const { file: path, beside } = modelFilesOf(modelPath);
  const externalData = beside.map((location) => ({
    path: location,
    ...digestOfFile(fileSource(join(dirname(path), location))),
  }));
  return { path, ...digestOfFile(fileSource(path)), externalData };
}

/** As text, without where they are. */
export const modelFields = ({ sha256: model, externalData }: Report["input"]): Readonly<Record<string, string>> => ({
  model,
  "external data": externalData.map(({ sha256 }) => sha256).join(" "),
});
