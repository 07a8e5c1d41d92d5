import { expect, test } from "vitest";
import { quantizeTiny, tinyBatch, tinyClassifier, tinyOrigin } from "../../test/support/tiny-classifier.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { foldQuantizers } from "../quantizers/fold.ts";
import type { ExportedFile, ExportFormat, ExportSource } from "./format.ts";
import { exportFormats, writeFormat } from "./formats.ts";
import { checkVerification, type VerificationRun } from "./verify.ts";

const source: ExportSource = {
  folded: foldQuantizers(quantizeTiny(tinyClassifier("float32")), "float"),
  origin: tinyOrigin,
  storage: "packed",
};

const run: VerificationRun = {
  batches: [new Map([["input", tinyBatch("float32", 8).images]])],
  open: openDeployed,
  context: { engine: createReferenceEngine(), seed: 0 },
};

const formats: readonly (readonly [string, ExportFormat])[] = Object.entries(exportFormats);

/** The files with the bits of one stretch turned over: in weights, as they are most of a file. */
const corrupt = (files: readonly ExportedFile[], name: string): readonly ExportedFile[] =>
  files.map((file) => {
    if (file.name !== name) return file;
    const bytes = file.bytes.slice();
    const [from, to] = [Math.floor(0.3 * bytes.length), Math.floor(0.7 * bytes.length)];
    for (let i = from; i < to; i++) bytes[i] ^= 0x55;
    return { name, bytes };
  });

async function isVerified(format: ExportFormat, files: readonly ExportedFile[]): Promise<boolean> {
  try {
    checkVerification(await format.verify(source, files, run), undefined);
    return true;
  } catch {
    return false;
  }
}

test.each(formats)("what %s writes is verified, and what is damaged is not", async (name, format) => {
  const files = writeFormat(name, format, source);
  expect(await isVerified(format, files)).toBe(true);
  for (const file of files) expect(await isVerified(format, corrupt(files, file.name))).toBe(false);
});

test("layers that a format does not hold are refused by name", () => {
  const narrow: ExportFormat = {
    ...exportFormats.qdq,
    holds: { weightBits: { min: 2, max: 3 }, scales: ["channel"] },
  };
  expect(() => writeFormat("narrow", narrow, source)).toThrow(
    /Layer ".+" has weights of \d bits with one scale per channel; the format narrow holds 2 to 3 bits with one scale per channel\./,
  );
  const perTensor: ExportFormat = { ...exportFormats.qdq, holds: { ...exportFormats.qdq.holds, scales: ["tensor"] } };
  expect(() => writeFormat("coarse", perTensor, source)).toThrow(/the format coarse holds .* one scale per tensor\./);
});
