// The folder of real models and data sets, where there is one.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe } from "vitest";
import { readSafetensors } from "../../src/data/safetensors.ts";
import { bytesSource } from "../../src/ir/tensor-source.ts";

const frostbitData = process.env["FROSTBIT_DATA"];

/** A suite that needs real data: skipped, and named so, where FROSTBIT_DATA is not set. */
export const describeWithData = (name: string, body: (folder: string) => void): void => {
  if (frostbitData && existsSync(frostbitData)) describe(name, () => body(frostbitData));
  else describe.skip(`${name} (skipped: FROSTBIT_DATA is not set)`, () => body(""));
};

export const readBytes = (...path: string[]): Uint8Array => new Uint8Array(readFileSync(join(...path)));
export const readTensors = (...path: string[]) =>
  readSafetensors(bytesSource(readBytes(...path)), path[path.length - 1]).tensors;
