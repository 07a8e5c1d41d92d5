import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { DType } from "../ir/dtype.ts";
import { sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { bytesSource } from "../ir/tensor-source.ts";
import { readNpy, writeNpy } from "./npy.ts";
import { readSafetensors, writeSafetensors } from "./safetensors.ts";

const dtypes: readonly DType[] = ["float32", "float64", "float16", "int8", "uint8", "int32", "int64", "uint64", "bool"];
const tensors = fc
  .record({ dtype: fc.constantFrom(...dtypes), shape: fc.array(fc.nat(4), { maxLength: 4 }), seed: fc.nat(100) })
  .map(
    ({ dtype, shape, seed }): Tensor =>
      tensorOf(
        dtype,
        shape,
        Array.from({ length: sizeOf(shape) }, (_, i) => (i * 7 + seed) % 2),
      ),
  );

const text = (content: string): Uint8Array => new TextEncoder().encode(content);
const npy = (header: string, version = 1): Uint8Array => {
  const length =
    version === 1 ? [header.length & 255, header.length >> 8] : [header.length & 255, header.length >> 8, 0, 0];
  return Uint8Array.from([0x93, ...text("NUMPY"), version, 0, ...length, ...text(header), 1, 2, 3, 4]);
};

describe("npy", () => {
  test("what is written is read back", () => {
    fc.assert(
      fc.property(tensors, (value) => {
        expect(readNpy(writeNpy(value), "x.npy")).toEqual(value);
      }),
    );
  });

  test("the elements are aligned to 64 bytes and the header ends with a newline", () => {
    const bytes = writeNpy(tensorOf("float32", [3], [1, 2, 3]));
    expect(bytes.length).toBe(128 + 12);
    expect(bytes[127]).toBe(10);
    expect(new TextDecoder().decode(bytes.subarray(10, 127)).trim()).toBe(
      "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
    );
  });

  test.each([1, 2, 3])("version %i is read, big-endian too", (version) => {
    const value = readNpy(npy("{'descr': '>i2', 'fortran_order': False, 'shape': (2,)}", version), "x.npy");
    expect(value).toEqual(tensorOf("int16", [2], [258, 772]));
  });

  test.each([
    [
      "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2)}",
      "x.npy: the array is in Fortran order; expected C order. Save it with numpy.ascontiguousarray.",
    ],
    [
      "{'descr': '|O', 'fortran_order': False, 'shape': (2,)}",
      "x.npy: the array holds Python objects; expected numbers.",
    ],
    [
      "{'descr': '<U3', 'fortran_order': False, 'shape': (2,)}",
      'x.npy: elements of type "<U3"; expected one of f4, f8',
    ],
    ["{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", "x.npy: the array is structured"],
    [
      "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
      "x.npy: float32 [2] wants 8 bytes from byte 65 on, the file has 4. It is truncated.",
    ],
    ["{'descr': '<f4', 'fortran_order': False, 'shape': (999999999, 999999999)}", "x.npy: absurd shape"],
    ["nonsense", 'x.npy: cannot read the header "nonsense".'],
  ])("%s is refused", (header, message) => {
    expect(() => readNpy(npy(header), "x.npy")).toThrow(message);
  });

  test("other files, and headers longer than the file, are refused", () => {
    expect(() => readNpy(text("PK what is this"), "x.npy")).toThrow("x.npy: not a .npy file");
    expect(() => readNpy(npy("{}").slice(0, 11), "x.npy")).toThrow(
      "x.npy: the header claims 2 bytes, the file has 1 after byte 10.",
    );
  });
});

const file = (header: unknown, data: number): Uint8Array => {
  const json = text(JSON.stringify(header));
  const result = new Uint8Array(8 + json.length + data);
  new DataView(result.buffer).setBigUint64(0, BigInt(json.length), true);
  result.set(json, 8);
  return result;
};

describe("safetensors", () => {
  test("what is written is read back", () => {
    const names = fc.oneof(fc.string({ minLength: 1 }), fc.constantFrom("10", "2", "__proto__", "constructor", "a.b"));
    fc.assert(
      fc.property(fc.array(fc.tuple(names, tensors)), fc.dictionary(fc.string(), fc.string()), (entries, metadata) => {
        const given = new Map(entries.filter(([name]) => name !== "__metadata__"));
        const read = readSafetensors(bytesSource(writeSafetensors(given, new Map(Object.entries(metadata)))), "x");
        expect(new Map(read.tensors)).toEqual(given);
        expect(Object.fromEntries(read.metadata)).toEqual({ ...metadata });
      }),
    );
  });

  test("the bytes do not depend on the order of the tensors", () => {
    const [a, b] = [tensorOf("float32", [2], [1, 2]), tensorOf("int8", [3], [1, 2, 3])];
    expect(
      writeSafetensors(
        new Map([
          ["a", a],
          ["b", b],
        ]),
      ),
    ).toEqual(
      writeSafetensors(
        new Map([
          ["b", b],
          ["a", a],
        ]),
      ),
    );
  });

  const f32 = (start: number, end: number, shape: readonly number[] = [(end - start) / 4]) => ({
    dtype: "F32",
    shape,
    data_offsets: [start, end],
  });
  test.each([
    [file({ a: f32(0, 8), b: f32(4, 12) }, 12), 'x: tensors "a" and "b" overlap at byte 4 of the data.'],
    [file({ a: f32(0, 8) }, 4), 'x: tensor "a" wants bytes 0-8 of the data, which has 4. The file is truncated.'],
    [file({ a: f32(0, 8, [3]) }, 8), 'x: tensor "a", F32 [3], needs 12 bytes; bytes 0-8 are 8.'],
    [file({ a: f32(4, 8) }, 8), "x: bytes 0-4 of the data belong to no tensor."],
    [file({ a: f32(0, 4) }, 8), "x: bytes 4-8 of the data belong to no tensor."],
    [
      file({ a: { dtype: "F8", shape: [1], data_offsets: [0, 1] } }, 1),
      'x: tensor "a" has dtype "F8"; expected one of F64, F32',
    ],
    [
      file({ a: { dtype: "F32", shape: [-1], data_offsets: [0, 4] } }, 4),
      'x: tensor "a" has shape [-1]; expected sizes.',
    ],
    [file([], 0), "x: the header is not a JSON object."],
    [Uint8Array.of(1, 2), "x: 2 bytes; a safetensors file starts with 8 bytes of header length."],
    [new Uint8Array(16).fill(255), "x: bytes 0-8 claim a header of 18446744073709551615 bytes, the file has 16."],
    [Uint8Array.from([2, 0, 0, 0, 0, 0, 0, 0, 123, 123]), "x: the header at bytes 8-10 is not JSON."],
  ])("malformed file %# is refused", (bytes, message) => {
    expect(() => readSafetensors(bytesSource(bytes), "x")).toThrow(message);
  });
});
