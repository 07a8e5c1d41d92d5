// AttributeProto → Attribute.
import { type AttributeProto, AttributeProto_AttributeType as Type } from "onnx-buf";
import { FrostbitError } from "../ir/errors.ts";
import type { Attribute } from "../ir/graph.ts";
import { codeName, dtypeOfCode } from "./data-types.ts";
import { decodeTensor, type TensorContext } from "./decode-tensor.ts";

/** Attributes that hold an element type; in the graph they hold its name. 0 stands for none. */
export const dtypeAttributes: ReadonlySet<string> = new Set(["to", "dtype", "output_dtype"]);

/** Attributes in which the largest integers mean "to the end". */
const openEnded: ReadonlySet<string> = new Set(["starts", "ends"]);

export interface AttributeContext extends TensorContext {
  /** `Conv (node "/a")`, for messages. */
  readonly where: string;
}

/** `undefined` for an attribute that says nothing, or that went to `unsupported`. */
export function decodeAttribute(proto: AttributeProto, context: AttributeContext): Attribute | undefined {
  const place = `attribute "${proto.name}" of ${context.where}`;
  switch (proto.type) {
    case Type.FLOAT:
      return proto.f;
    case Type.INT:
      return dtypeAttributes.has(proto.name)
        ? decodeDType(Number(proto.i), place, context)
        : toNumber(proto.i, proto.name, place);
    case Type.STRING:
      return decodeText(proto.s);
    case Type.TENSOR:
      if (!proto.t) throw bad(`${place} holds no tensor.`);
      return decodeTensor(proto.t, place, context);
    case Type.FLOATS:
      return proto.floats;
    case Type.INTS:
      return proto.ints.map((value) => toNumber(value, proto.name, place));
    case Type.STRINGS:
      return proto.strings.map(decodeText);
    case Type.UNDEFINED:
      throw bad(`${place} has no type. Export the model again with a newer exporter.`);
    default:
      context.unsupported(`${place} holds ${Type[proto.type] ?? `something of type ${proto.type}`}`);
      return undefined;
  }
}

const bad = (message: string): FrostbitError => new FrostbitError("BAD_MODEL", message);

const decodeText = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

function decodeDType(code: number, place: string, context: AttributeContext): string | undefined {
  if (code === 0) return undefined;
  const dtype = dtypeOfCode(code);
  if (dtype) return dtype;
  const known = codeName(code);
  if (!known) throw bad(`${place} is ${code}; ONNX has no such element type.`);
  context.unsupported(`${place} is the element type ${known}`);
  return undefined;
}

function toNumber(value: bigint, name: string, place: string): number {
  const result = Number(value);
  if (Number.isSafeInteger(result)) return result;
  if (openEnded.has(name)) return value > 0n ? Number.MAX_SAFE_INTEGER : Number.MIN_SAFE_INTEGER;
  throw bad(`${place} is ${value}; expected an integer from -2^53 to 2^53.`);
}
