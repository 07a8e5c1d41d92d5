// Tensors whose bytes are in a file beside the model.
import type { TensorProto } from "onnx-buf";
import { FrostbitError } from "../ir/errors.ts";
import type { ByteSource } from "../ir/tensor-source.ts";

/** Opens a file by its location as the model names it: relative to the model's folder, without "..". */
export type ExternalSource = (location: string) => ByteSource;

interface Place {
  readonly location: string;
  readonly offset: number;
  readonly length: number | undefined;
}

/** What reads the bytes of an external tensor that takes `sizeBytes`; `where` names it in messages. */
export function openExternal(
  proto: TensorProto,
  where: string,
  sizeBytes: number,
  source: ExternalSource | undefined,
): () => Uint8Array {
  const { location, offset, length } = placeOf(proto, where);
  checkLocation(location, where);
  if (length !== undefined && length !== sizeBytes)
    throw bad(`${where} takes ${sizeBytes} bytes, but its external data is ${length} bytes long.`);
  if (!source)
    throw new FrostbitError(
      "IO",
      `${where} is in the external file "${location}", and no external files were given. Read the model from its folder.`,
    );
  const file = source(location);
  if (offset + sizeBytes > file.sizeBytes)
    throw bad(
      `${where} wants bytes ${offset}-${offset + sizeBytes} of "${location}", which has ${file.sizeBytes} bytes. The external data file is truncated, or the offset is wrong.`,
    );
  return () => file.read(offset, sizeBytes);
}

const bad = (message: string): FrostbitError => new FrostbitError("BAD_MODEL", message);

export function placeOf(proto: TensorProto, where: string): Place {
  const entries = new Map(proto.externalData.map(({ key, value }) => [key, value]));
  const location = entries.get("location");
  if (!location) throw bad(`${where} is external, but says no location.`);
  const number = (key: string): number | undefined => {
    const text = entries.get(key);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value))
      throw bad(`${where} has the external ${key} "${text}"; expected a number of bytes.`);
    return value;
  };
  return { location, offset: number("offset") ?? 0, length: number("length") };
}

/** Refuses what could lead out of the model's folder, whatever the platform. */
function checkLocation(location: string, where: string): void {
  const isAbsolute = /^([/\\]|[A-Za-z]:)/.test(location);
  if (!isAbsolute && !location.split(/[/\\]/).includes("..") && !location.includes("\0")) return;
  throw bad(
    `${where} is in "${location}", outside the model's folder. External data must be named relative to the model, without "..".`,
  );
}
