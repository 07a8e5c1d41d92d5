// The container of llama.cpp's models, GGUF version 3: fields, then tensors' places, then their bytes.
import { assert } from "../../ir/errors.ts";

/** How tensors' elements are stored, by ggml's numbers. */
const ggmlTypes = { f32: 0, f16: 1, q4_0: 2, q4_1: 3, q8_0: 8, q2_0: 42 } as const;
export type GgmlType = keyof typeof ggmlTypes;

export interface GgufTensor {
  readonly name: string;
  /** Rows first, as ours are; the file has them the other way round. */
  readonly shape: readonly number[];
  readonly type: GgmlType;
  readonly bytes: Uint8Array;
}

export type GgufValue =
  | { readonly type: "uint32" | "int32" | "float32"; readonly value: number }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "array"; readonly of: "int32" | "float32"; readonly value: readonly number[] }
  | { readonly type: "array"; readonly of: "string"; readonly value: readonly string[] };

export const uint32 = (value: number): GgufValue => ({ type: "uint32", value });
export const float32 = (value: number): GgufValue => ({ type: "float32", value });
export const text = (value: string): GgufValue => ({ type: "string", value });
export const bool = (value: boolean): GgufValue => ({ type: "bool", value });

const valueTypes = { uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9 } as const;
const alignment = 32;
const version = 3;

const bytesOf = (sizeBytes: number, write: (view: DataView) => void): Uint8Array => {
  const bytes = new Uint8Array(sizeBytes);
  write(new DataView(bytes.buffer));
  return bytes;
};
const u32 = (value: number): Uint8Array => bytesOf(4, (view) => view.setUint32(0, value, true));
const u64 = (value: number): Uint8Array => bytesOf(8, (view) => view.setBigUint64(0, BigInt(value), true));
const encoder = new TextEncoder();

function stringParts(value: string): readonly Uint8Array[] {
  const bytes = encoder.encode(value);
  return [u64(bytes.length), bytes];
}

function scalarParts(type: Exclude<keyof typeof valueTypes, "array">, value: unknown): readonly Uint8Array[] {
  if (type === "string") return stringParts(String(value));
  if (type === "bool") return [Uint8Array.of(value === true ? 1 : 0)];
  if (type === "float32") return [bytesOf(4, (view) => view.setFloat32(0, Number(value), true))];
  return [u32(Number(value) >>> 0)];
}

function valueParts(field: GgufValue): readonly Uint8Array[] {
  const head = u32(valueTypes[field.type]);
  if (field.type !== "array") return [head, ...scalarParts(field.type, field.value)];
  const { of, value } = field;
  return [head, u32(valueTypes[of]), u64(value.length), ...value.flatMap((each) => scalarParts(of, each))];
}

const padding = (size: number): Uint8Array => new Uint8Array((alignment - (size % alignment)) % alignment);

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

export function writeGguf(fields: Readonly<Record<string, GgufValue>>, tensors: readonly GgufTensor[]): Uint8Array {
  let offset = 0;
  const places = tensors.map(({ bytes }) => {
    const start = offset;
    offset += bytes.length + padding(bytes.length).length;
    return start;
  });
  assert(new Set(tensors.map(({ name }) => name)).size === tensors.length, "a tensor of GGUF twice");
  const header = joined([
    encoder.encode("GGUF"),
    u32(version),
    u64(tensors.length),
    u64(Object.keys(fields).length),
    ...Object.entries(fields).flatMap(([key, field]) => [...stringParts(key), ...valueParts(field)]),
    ...tensors.flatMap(({ name, shape, type }, i) => [
      ...stringParts(name),
      u32(shape.length),
      ...shape.toReversed().map(u64),
      u32(ggmlTypes[type]),
      u64(places[i]),
    ]),
  ]);
  return joined([header, padding(header.length), ...tensors.flatMap(({ bytes }) => [bytes, padding(bytes.length)])]);
}
