// Rows of integers as ggml's blocks, each with its scale.
import { narrowTensor } from "../../ir/half.ts";
import { tensor } from "../../ir/tensor.ts";
import { type IntegerLayer, inputsPerGroup, type LayerForm } from "./decoder-weights.ts";
import type { GgmlType } from "./gguf-file.ts";

type BlockType = Extract<GgmlType, "q4_0" | "q4_1" | "q8_0" | "q2_0">;

interface BlockForm {
  /** Elements of a block. */
  readonly size: number;
  readonly sizeBytes: number;
}

export const blockForms: Readonly<Record<BlockType, BlockForm>> = {
  q4_0: { size: 32, sizeBytes: 18 },
  q4_1: { size: 32, sizeBytes: 20 },
  q8_0: { size: 32, sizeBytes: 34 },
  q2_0: { size: 64, sizeBytes: 18 },
};

/** Which holds a layer's grid exactly, but for the rounding of z · scale to float16 in q4_1; `undefined` where none does. */
export function blockTypeOf(layer: LayerForm): BlockType | undefined {
  const { bits, isSymmetric } = layer;
  if (bits > 4) return isSymmetric ? "q8_0" : undefined;
  if (bits === 2 && isSymmetric && inputsPerGroup(layer) % blockForms.q2_0.size === 0) return "q2_0";
  return isSymmetric ? "q4_0" : "q4_1";
}

/** One block: its integers, and the grid that they are of. */
interface Block {
  readonly at: DataView;
  readonly integers: ArrayLike<number>;
  readonly zeroPoint: number;
  readonly scale: number;
}

/** Nibbles: element i beside element i + 16. */
function putNibbles(at: DataView, start: number, nibble: (i: number) => number): void {
  for (let i = 0; i < 16; i++) at.setUint8(start + i, nibble(i) | (nibble(i + 16) << 4));
}

const put: Readonly<Record<BlockType, (block: Block) => void>> = {
  // w = d (q − 8)
  q4_0: ({ at, integers, zeroPoint, scale }) => {
    at.setUint16(0, halfOf(scale), true);
    putNibbles(at, 2, (i) => integers[i] - zeroPoint + 8);
  },
  // w = d q + m
  q4_1: ({ at, integers, zeroPoint, scale }) => {
    at.setUint16(0, halfOf(scale), true);
    at.setUint16(2, halfOf(-zeroPoint * scale), true);
    putNibbles(at, 4, (i) => integers[i]);
  },
  // w = d q, q signed
  q8_0: ({ at, integers, zeroPoint, scale }) => {
    at.setUint16(0, halfOf(scale), true);
    for (let i = 0; i < 32; i++) at.setInt8(2 + i, integers[i] - zeroPoint);
  },
  // w = d (q − 1)
  q2_0: ({ at, integers, zeroPoint, scale }) => {
    at.setUint16(0, halfOf(scale), true);
    for (let byte = 0; byte < 16; byte++) {
      let packed = 0;
      for (let i = 0; i < 4; i++) packed |= (integers[4 * byte + i] - zeroPoint + 1) << (2 * i);
      at.setUint8(2 + byte, packed);
    }
  },
};

const halfOf = (value: number): number =>
  narrowTensor(tensor("float32", [], Float32Array.of(value)), "float16").data[0] as number;

/** How a layer's rows are laid out: in another order, and widened with zeros to whole blocks. */
export interface RowLayout {
  /** By place in the file, the row of the layer; none for a row of zeros. */
  readonly rows: readonly (number | undefined)[];
  readonly inputs: number;
}

export function blocksOf(layer: IntegerLayer, type: BlockType, { rows, inputs }: RowLayout): Uint8Array {
  const { size, sizeBytes } = blockForms[type];
  const perRow = inputs / size;
  const bytes = new Uint8Array(rows.length * perRow * sizeBytes);
  rows.forEach((row, place) => {
    for (let block = 0; block < perRow; block++) {
      const at = new DataView(bytes.buffer, (place * perRow + block) * sizeBytes, sizeBytes);
      put[type](row === undefined ? zeros(at, size) : blockAt(layer, row, block * size, at, size));
    }
  });
  return bytes;
}

const zeros = (at: DataView, size: number): Block => ({ at, integers: new Uint8Array(size), zeroPoint: 0, scale: 0 });

/** What is beyond the row's end stands for 0. */
function blockAt(layer: IntegerLayer, row: number, start: number, at: DataView, size: number): Block {
  const { inputs, groups } = layer;
  const group = row * groups + Math.min(groups - 1, Math.floor(start / inputsPerGroup(layer)));
  const zeroPoint = layer.zeroPoints[group];
  const integers = new Uint8Array(size).fill(zeroPoint);
  integers.set(layer.integers.subarray(row * inputs + start, row * inputs + Math.min(inputs, start + size)));
  return { at, integers, zeroPoint, scale: layer.scales[group] };
}
