// NumPy's .npy files, format versions 1 to 3, in C order.

import { type DType, dtypes } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import { allocate, sizeOf, type Tensor, tensor } from "../ir/tensor.ts";

const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];

/** NumPy's type codes without byte order. */
const codes: Readonly<Record<string, DType>> = {
  f4: "float32",
  f8: "float64",
  f2: "float16",
  i1: "int8",
  u1: "uint8",
  i2: "int16",
  u2: "uint16",
  i4: "int32",
  u4: "uint32",
  i8: "int64",
  u8: "uint64",
  b1: "bool",
};

interface Header {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bigEndian: boolean;
  /** Where the elements start. */
  readonly start: number;
}

/** `name` is what error messages call the file. */
export function readNpy(bytes: Uint8Array, name: string): Tensor {
  const { dtype, shape, bigEndian, start } = readHeader(bytes, name);
  const size = dtypes[dtype].array.BYTES_PER_ELEMENT;
  const count = sizeOf(shape);
  const wanted = count * size;
  if (bytes.length - start < wanted) {
    throw bad(
      name,
      `${dtype} [${shape.join(", ")}] wants ${wanted} bytes from byte ${start} on, the file has ${bytes.length - start}. It is truncated.`,
    );
  }
  const data = allocate(dtype, count);
  const raw = new Uint8Array(data.buffer);
  raw.set(bytes.subarray(start, start + wanted));
  if (bigEndian) swapBytes(raw, size);
  return tensor(dtype, shape, data);
}

const bad = (name: string, what: string): FrostbitError => new FrostbitError("BAD_DATA", `${name}: ${what}`);

function swapBytes(raw: Uint8Array, size: number): void {
  for (let i = 0; i < raw.length; i += size) raw.subarray(i, i + size).reverse();
}

function readHeader(bytes: Uint8Array, name: string): Header {
  if (bytes.length < 10 || magic.some((byte, i) => bytes[i] !== byte))
    throw bad(name, `not a .npy file: it does not start with "\\x93NUMPY".`);
  const version = bytes[6];
  if (version < 1 || version > 3) throw bad(name, `.npy format version ${version}; expected 1, 2 or 3.`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const textStart = version === 1 ? 10 : 12;
  if (bytes.length < textStart) throw bad(name, "the file ends within its header.");
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = textStart + length;
  if (start > bytes.length)
    throw bad(
      name,
      `the header claims ${length} bytes, the file has ${bytes.length - textStart} after byte ${textStart}.`,
    );
  const text = new TextDecoder(version === 3 ? "utf-8" : "latin1").decode(bytes.subarray(textStart, start));
  return { ...parseHeader(text, name), start };
}

function parseHeader(text: string, name: string): Omit<Header, "start"> {
  const descr = /['"]descr['"]\s*:\s*(?:['"]([^'"]*)['"]|(\[))/.exec(text);
  const order = /['"]fortran_order['"]\s*:\s*(True|False)/.exec(text);
  const shape = /['"]shape['"]\s*:\s*\(([\dL,\s]*)\)/.exec(text);
  if (!descr || !order || !shape)
    throw bad(name, `cannot read the header ${JSON.stringify(text.trim().slice(0, 200))}.`);
  if (descr[2])
    throw bad(name, "the array is structured (fields); expected plain numbers. Save each field as a separate array.");
  if (order[1] === "True")
    throw bad(name, "the array is in Fortran order; expected C order. Save it with numpy.ascontiguousarray.");
  const sizes = shape[1]
    .split(",")
    .map((part) => part.trim().replace(/L$/, ""))
    .filter((part) => part !== "");
  return { ...parseType(descr[1], name), shape: checkShape(sizes.map(Number), name) };
}

function checkShape(shape: readonly number[], name: string): readonly number[] {
  if (!Number.isSafeInteger(sizeOf(shape)) || sizeOf(shape) > 2 ** 40)
    throw bad(name, `absurd shape [${shape.join(", ")}].`);
  return shape;
}

function parseType(descr: string, name: string): { dtype: DType; bigEndian: boolean } {
  const dtype = codes[descr.slice(1)];
  if (descr.includes("O"))
    throw bad(
      name,
      "the array holds Python objects; expected numbers. Convert it first, for example with astype(numpy.float32).",
    );
  if (!dtype || !"<>|=".includes(descr[0]))
    throw bad(name, `elements of type "${descr}"; expected one of ${Object.keys(codes).join(", ")}.`);
  return { dtype, bigEndian: descr[0] === ">" };
}

/** The bytes of a version 1 file (2 where the header needs it), little-endian, elements aligned to 64 bytes. */
export function writeNpy({ dtype, shape, data }: Tensor): Uint8Array {
  const code = Object.keys(codes).find((key) => codes[key] === dtype);
  if (code === undefined) throw new FrostbitError("BAD_DATA", `.npy files cannot hold ${dtype}; convert it first.`);
  const order = data.BYTES_PER_ELEMENT === 1 ? "|" : "<";
  const sizes = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const text = `{'descr': '${order}${code}', 'fortran_order': False, 'shape': (${sizes}), }`;
  const long = text.length > 60_000;
  const textStart = long ? 12 : 10;
  const start = Math.ceil((textStart + text.length + 1) / 64) * 64;
  const result = new Uint8Array(start + data.byteLength).fill(0x20, textStart, start);
  result.set([...magic, long ? 2 : 1, 0]);
  const view = new DataView(result.buffer);
  if (long) view.setUint32(8, start - textStart, true);
  else view.setUint16(8, start - textStart, true);
  result.set(new TextEncoder().encode(text), textStart);
  result[start - 1] = 0x0a;
  result.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), start);
  return result;
}
