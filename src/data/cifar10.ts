// CIFAR-10's binary records: 1 byte of label, then 1024 bytes each of red, green and blue, row by row.
import { FrostbitError } from "../ir/errors.ts";
import type { Dataset } from "./dataset.ts";

const pixels = 3 * 32 * 32;
const recordBytes = 1 + pixels;

/** A dataset over the records of one or more files, which it keeps as they are. */
export function cifar10Dataset(name: string, files: ReadonlyMap<string, Uint8Array>): Dataset {
  const records = [...files].flatMap(([file, bytes]) => recordsOf(file, bytes));
  return {
    name,
    length: records.length,
    inputs: new Map([["image", { dtype: "uint8", shape: [3, 32, 32], layout: "nchw" }]]),
    hasLabels: true,
    read: (indices) => {
      const data = new Uint8Array(indices.length * pixels);
      const labels = new BigInt64Array(indices.length);
      indices.forEach((index, row) => {
        data.set(records[index].subarray(1), row * pixels);
        labels[row] = BigInt(records[index][0]);
      });
      return {
        inputs: new Map([["image", { dtype: "uint8", shape: [indices.length, 3, 32, 32], data }]]),
        labels: { dtype: "int64", shape: [indices.length], data: labels },
      };
    },
  };
}

function recordsOf(file: string, bytes: Uint8Array): Uint8Array[] {
  if (bytes.length === 0 || bytes.length % recordBytes !== 0) {
    throw new FrostbitError(
      "BAD_DATA",
      `${file} has ${bytes.length} bytes; expected a multiple of ${recordBytes}, CIFAR-10's binary record. Is it the binary version, complete?`,
    );
  }
  return Array.from({ length: bytes.length / recordBytes }, (_, i) => {
    const record = bytes.subarray(i * recordBytes, (i + 1) * recordBytes);
    if (record[0] > 9) {
      throw new FrostbitError(
        "BAD_DATA",
        `${file}: record ${i} at byte ${i * recordBytes} has label ${record[0]}; expected 0 to 9. Is it CIFAR-10's binary version?`,
      );
    }
    return record;
  });
}
