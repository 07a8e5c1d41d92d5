// MNIST's idx files: two zero bytes, an element type, the number of axes, their sizes big-endian, then bytes.
import { FrostbitError } from "../ir/errors.ts";
import { sizeOf, type Tensor, tensor } from "../ir/tensor.ts";

const unsignedByte = 0x08;

/** Bytes as uint8, which is what MNIST and the sets made after it hold. `name` is what error messages call the file. */
export function readIdx(bytes: Uint8Array, name: string): Tensor {
  const bad = (what: string): FrostbitError => new FrostbitError("BAD_DATA", `${name}: ${what}`);
  if (bytes.length < 4 || bytes[0] !== 0 || bytes[1] !== 0)
    throw bad("not an idx file: it does not start with two zero bytes.");
  const [type, rank] = [bytes[2], bytes[3]];
  if (type !== unsignedByte)
    throw bad(`elements of type 0x${type.toString(16).padStart(2, "0")}; expected 0x08, bytes.`);
  const start = 4 + 4 * rank;
  if (rank === 0 || bytes.length < start) throw bad(`the file ends within its header of ${rank} axes.`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const shape = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis));
  const wanted = sizeOf(shape);
  if (bytes.length - start !== wanted)
    throw bad(
      `[${shape.join(", ")}] wants ${wanted} bytes from byte ${start} on, the file has ${bytes.length - start}. Is it complete?`,
    );
  return tensor("uint8", shape, bytes.slice(start));
}
