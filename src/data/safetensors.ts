// Safetensors files: 8 bytes of header length, a JSON header, then the tensors' bytes without gaps.

import { type DType, dtypes } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import { sizeOf, type Tensor } from "../ir/tensor.ts";
import { type ByteSource, elementsOf, storedInParts } from "../ir/tensor-source.ts";

export interface SafetensorsFile {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

const codes: Readonly<Record<string, DType>> = {
  F64: "float64",
  F32: "float32",
  F16: "float16",
  BF16: "bfloat16",
  I64: "int64",
  U64: "uint64",
  I32: "int32",
  U32: "uint32",
  I16: "int16",
  U16: "uint16",
  I8: "int8",
  U8: "uint8",
  BOOL: "bool",
};
const codeOf = new Map(Object.entries(codes).map(([code, dtype]) => [dtype, code]));

/** The reference implementation's limit. */
const maxHeaderBytes = 100_000_000;
const metadataKey = "__metadata__";

interface Entry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Both relative to the end of the header. */
  readonly start: number;
  readonly end: number;
}

/** Reads the header; every tensor is read whenever it is used. `file` is what error messages call the file. */
export function readSafetensors(source: ByteSource, file: string): SafetensorsFile {
  const { header, start } = readHeader(source, file);
  const available = source.sizeBytes - start;
  const entries = Object.entries(header)
    .filter(([name]) => name !== metadataKey)
    .map(([name, value]) => readEntry(file, name, value, available));
  checkCoverage(file, entries, available);
  const tensors = new Map(entries.map((entry) => [entry.name, tensorAt(source, start, entry)]));
  return { tensors, metadata: readMetadata(file, header[metadataKey]) };
}

const bad = (file: string, what: string): FrostbitError => new FrostbitError("BAD_DATA", `${file}: ${what}`);

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function readHeader(source: ByteSource, file: string): { header: Record<string, unknown>; start: number } {
  const { sizeBytes } = source;
  if (sizeBytes < 8) throw bad(file, `${sizeBytes} bytes; a safetensors file starts with 8 bytes of header length.`);
  const head = source.read(0, 8);
  const length = new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(Math.min(maxHeaderBytes, sizeBytes - 8))) {
    throw bad(
      file,
      `bytes 0-8 claim a header of ${length} bytes, the file has ${sizeBytes}. It is truncated, or not a safetensors file.`,
    );
  }
  return { header: parseHeader(source.read(8, Number(length)), file), start: 8 + Number(length) };
}

function parseHeader(bytes: Uint8Array, file: string): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new FrostbitError("BAD_DATA", `${file}: the header at bytes 8-${8 + bytes.length} is not JSON.`, { cause });
  }
  if (!isRecord(header)) throw bad(file, "the header is not a JSON object.");
  return header;
}

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isSizes = (value: unknown): value is readonly number[] => Array.isArray(value) && value.every(isSize);

function readEntry(file: string, name: string, value: unknown, available: number): Entry {
  const where = `tensor "${name}"`;
  if (!isRecord(value)) throw bad(file, `${where} is described by ${JSON.stringify(value)}; expected an object.`);
  const { dtype: code, shape, data_offsets: offsets } = value;
  const dtype = typeof code === "string" && Object.hasOwn(codes, code) ? codes[code] : undefined;
  if (!dtype)
    throw bad(file, `${where} has dtype ${JSON.stringify(code)}; expected one of ${Object.keys(codes).join(", ")}.`);
  if (!isSizes(shape)) throw bad(file, `${where} has shape ${JSON.stringify(shape)}; expected sizes.`);
  if (!isSizes(offsets) || offsets.length !== 2)
    throw bad(file, `${where} has data_offsets ${JSON.stringify(offsets)}; expected two offsets.`);
  const [start, end] = offsets;
  const wanted = sizeOf(shape) * dtypes[dtype].array.BYTES_PER_ELEMENT;
  if (start > end || end > available)
    throw bad(file, `${where} wants bytes ${start}-${end} of the data, which has ${available}. The file is truncated.`);
  if (end - start !== wanted)
    throw bad(
      file,
      `${where}, ${code} [${shape.join(", ")}], needs ${wanted} bytes; bytes ${start}-${end} are ${end - start}.`,
    );
  return { name, dtype, shape, start, end };
}

function checkCoverage(file: string, entries: readonly Entry[], available: number): void {
  let end = 0;
  let before: Entry | undefined;
  for (const entry of [...entries].sort((a, b) => a.start - b.start || a.end - b.end)) {
    if (entry.start < end)
      throw bad(file, `tensors "${before?.name}" and "${entry.name}" overlap at byte ${entry.start} of the data.`);
    if (entry.start > end) throw bad(file, `bytes ${end}-${entry.start} of the data belong to no tensor.`);
    end = entry.end;
    before = entry;
  }
  if (end !== available) throw bad(file, `bytes ${end}-${available} of the data belong to no tensor.`);
}

function tensorAt(source: ByteSource, dataStart: number, { dtype, shape, start }: Entry): Tensor {
  const bytes = dtypes[dtype].array.BYTES_PER_ELEMENT;
  return storedInParts(dtype, shape, (from, to) =>
    elementsOf(source.read(dataStart + start + from * bytes, (to - from) * bytes), dtype, to - from),
  );
}

function readMetadata(file: string, value: unknown): ReadonlyMap<string, string> {
  if (value === undefined) return new Map();
  if (!isRecord(value)) throw bad(file, `${metadataKey} is ${JSON.stringify(value)}; expected an object of strings.`);
  return new Map(
    Object.entries(value).map(([key, text]) => {
      if (typeof text !== "string")
        throw bad(file, `${metadataKey}.${key} is ${JSON.stringify(text)}; expected a string.`);
      return [key, text];
    }),
  );
}

const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number =>
  a < b ? -1 : a > b ? 1 : 0;

/** By hand, because JavaScript objects put keys that look like numbers first. */
const json = (entries: readonly (readonly [string, unknown])[]): string =>
  `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`;

/** The same tensors and metadata give the same bytes, in whatever order they come. */
export function writeSafetensors(
  tensors: ReadonlyMap<string, Tensor>,
  metadata: ReadonlyMap<string, string> = new Map(),
): Uint8Array {
  const sorted = [...tensors].sort(byName);
  let offset = 0;
  const entries = sorted.map(([name, value]) => {
    const start = offset;
    offset += sizeOf(value.shape) * dtypes[value.dtype].array.BYTES_PER_ELEMENT;
    return [name, { dtype: codeFor(name, value), shape: value.shape, data_offsets: [start, offset] }] as const;
  });
  const meta = JSON.stringify(Object.fromEntries([...metadata].sort(byName)));
  const described = json(entries).slice(1);
  const text =
    metadata.size === 0 ? `{${described}` : `{"${metadataKey}":${meta}${entries.length > 0 ? "," : ""}${described}`;
  return assemble(text, sorted, offset);
}

function codeFor(name: string, { dtype }: Tensor): string {
  const code = codeOf.get(dtype);
  if (code === undefined || name === metadataKey)
    throw new FrostbitError("BAD_DATA", `Safetensors cannot hold tensor "${name}" of ${dtype}.`);
  return code;
}

function assemble(header: string, tensors: readonly (readonly [string, Tensor])[], dataBytes: number): Uint8Array {
  const text = new TextEncoder().encode(header);
  const length = Math.ceil(text.length / 8) * 8;
  const result = new Uint8Array(8 + length + dataBytes).fill(0x20, 8, 8 + length);
  new DataView(result.buffer).setBigUint64(0, BigInt(length), true);
  result.set(text, 8);
  let offset = 8 + length;
  for (const [, value] of tensors) {
    const { data } = value;
    result.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset);
    offset += data.byteLength;
  }
  return result;
}
