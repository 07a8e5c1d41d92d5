// Protobuf messages in pieces, which are made when they are written: those of tensors are as large as the model.

/** Some of a message's bytes, known by their number before they are made. */
export interface Piece {
  readonly sizeBytes: number;
  /** One behind the other; made one after the other. */
  readonly parts: () => Iterable<Uint8Array>;
}

export const pieceOf = (bytes: Uint8Array): Piece => ({ sizeBytes: bytes.length, parts: () => [bytes] });

/** Protobuf's numbers of the fields that lead to raw data. */
export const fieldNumbers = { modelGraph: 7, graphInitializer: 5, tensorRawData: 9 } as const;

const lengthDelimited = 2;

/** A field that holds a message or bytes. */
export function fieldOf(number: number, content: readonly Piece[]): readonly Piece[] {
  const head = [...encodeVarint(number * 8 + lengthDelimited), ...encodeVarint(sizeOfPieces(content))];
  return [pieceOf(Uint8Array.from(head)), ...content];
}

const sizeOfPieces = (pieces: readonly Piece[]): number => pieces.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);

export function joinPieces(pieces: readonly Piece[]): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(sizeOfPieces(pieces));
  let end = 0;
  for (const { parts } of pieces)
    for (const bytes of parts()) {
      result.set(bytes, end);
      end += bytes.length;
    }
  return result;
}

function encodeVarint(value: number): readonly number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return [...bytes, rest];
}
