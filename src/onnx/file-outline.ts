// An ONNX file without the data of its large initializers, read in parts: what decodes it needs no more memory than its nodes.
import { type ByteSource, minStoredBytes } from "../ir/tensor-source.ts";
import { fieldNumbers, fieldOf, joinPieces, type Piece, pieceOf } from "./pieces.ts";

/** A file whose large initializers have no raw data. */
export interface FileOutline {
  readonly bytes: Uint8Array;
  /** The raw data that was left out, by the initializer's place among all. */
  readonly rawData: ReadonlyMap<number, ByteSource>;
}

const windowBytes = 4096;

/** Reads a source forwards with few calls. */
function createReader(source: ByteSource): (offset: number, length: number) => Uint8Array {
  let start = 0;
  let window: Uint8Array = new Uint8Array();
  return (offset, length) => {
    if (length > windowBytes) return source.read(offset, length);
    if (offset < start || offset + length > start + window.length)
      [start, window] = [offset, source.read(offset, Math.min(windowBytes, source.sizeBytes - offset))];
    return window.subarray(offset - start, offset - start + length);
  };
}

interface Field {
  readonly number: number;
  readonly isMessage: boolean;
  /** Where its tag begins, where its content begins, and where it ends. */
  readonly start: number;
  readonly content: number;
  readonly end: number;
}

/** Thrown and caught in this file alone. */
class Malformed extends Error {}

/** `undefined` where the bytes are not a protobuf message. */
export function outlineFile(source: ByteSource): FileOutline | undefined {
  const read = createReader(source);
  const rawData = new Map<number, ByteSource>();
  let initializers = 0;

  function varint(at: number, end: number): readonly [value: number, next: number] {
    const bytes = read(at, Math.min(10, end - at));
    const length = bytes.findIndex((byte) => byte < 128) + 1;
    if (length === 0) throw new Malformed();
    let value = 0;
    for (let i = length - 1; i >= 0; i--) value = value * 128 + (bytes[i] & 127);
    return [value, at + length];
  }

  function fieldAt(start: number, limit: number): Field {
    const [tag, content] = varint(start, limit);
    const [number, wireType] = [Math.floor(tag / 8), tag % 8];
    const field = (from: number, end: number, isMessage = false): Field => {
      if (end > limit) throw new Malformed();
      return { number, isMessage, start, content: from, end };
    };
    if (wireType === 0) return field(content, varint(content, limit)[1]);
    if (wireType === 1) return field(content, content + 8);
    if (wireType === 5) return field(content, content + 4);
    if (wireType !== 2) throw new Malformed();
    const [length, from] = varint(content, limit);
    return field(from, from + length, true);
  }

  /** A message in which `replace` gives other content for some fields. */
  function rewrite(
    start: number,
    end: number,
    replace: (field: Field) => readonly Piece[] | undefined,
  ): readonly Piece[] {
    const pieces: Piece[] = [];
    let copied = start;
    for (let at = start; at < end; ) {
      const field = fieldAt(at, end);
      const content = field.isMessage ? replace(field) : undefined;
      if (content) {
        pieces.push(pieceOf(read(copied, at - copied)), ...fieldOf(field.number, content));
        copied = field.end;
      }
      at = field.end;
    }
    return [...pieces, pieceOf(read(copied, end - copied))];
  }

  const rewriteTensor = (tensor: Field, index: number): readonly Piece[] =>
    rewrite(tensor.content, tensor.end, ({ number, content, end }) => {
      if (number !== fieldNumbers.tensorRawData) return undefined;
      rawData.delete(index);
      if (end - content < minStoredBytes) return undefined;
      rawData.set(index, {
        sizeBytes: end - content,
        read: (offset, length) => source.read(content + offset, length),
      });
      return [];
    });

  const rewriteGraph = (graph: Field): readonly Piece[] =>
    rewrite(graph.content, graph.end, (field) => {
      if (field.number !== fieldNumbers.graphInitializer) return undefined;
      const index = initializers++;
      return field.end - field.content < minStoredBytes ? undefined : rewriteTensor(field, index);
    });

  try {
    const pieces = rewrite(0, source.sizeBytes, (field) =>
      field.number === fieldNumbers.modelGraph ? rewriteGraph(field) : undefined,
    );
    return { bytes: joinPieces(pieces), rawData };
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}
