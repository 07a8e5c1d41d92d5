// ONNX bytes → graph: decoded, in float32 where it is half precision, verified, upgraded to the newest opset, typed, and rid of constant arithmetic.
import { errorAt, FrostbitError } from "../ir/errors.ts";
import type { Dim, Graph, OnnxModel, ValueType } from "../ir/graph.ts";
import { widened } from "../ir/half.ts";
import type { Tensor } from "../ir/tensor.ts";
import { type ByteSource, isStored, loaded, storedTensor } from "../ir/tensor-source.ts";
import { checkElements, readersOfConstants, verifyGraph } from "../ir/verify.ts";
import { fixAxes } from "../passes/fix-axes.ts";
import { foldConstants } from "../passes/fold-constants.ts";
import { widenHalf } from "../passes/half-precision.ts";
import { inferTypes } from "../passes/infer-types.ts";
import { withoutCenteredIntegers } from "./centered-integers.ts";
import { checkTypes } from "./check-schema.ts";
import { type DeclaredType, decodeModel } from "./decode-model.ts";
import type { ExternalSource } from "./external-data.ts";
import { withoutFloatWeights } from "./float-weights.ts";
import { withoutTables } from "./level-tables.ts";
import { withoutPackedIntegers } from "./packed-integers.ts";
import { upgradeGraph } from "./upgrade/upgrade-graph.ts";

/** What `readOnnx` is told besides the bytes. */
export interface ReadOptions {
  /** What messages call the model, usually its file name. */
  readonly name: string;
  /** Opens files of external data. */
  readonly external?: ExternalSource;
}

/**
 * Reads a model of opset 7 to 25. The graph has the operators of opset 25, half precision is float32, and what constants alone
 * determine is computed. Of a `ByteSource`, large tensors are read when they are used. Throws BAD_MODEL, or UNSUPPORTED_OP with
 * all nodes that cannot be handled.
 *
 * @example
 * const { graph } = readOnnx(bytes, { name: "model.onnx" });
 */
export function readOnnx(file: Uint8Array | ByteSource, { name, external }: ReadOptions): OnnxModel {
  return inFile(name, () => {
    const { graph, origin, declared } = decodeModel(file, name, external);
    const { graph: wide, half } = widenHalf(graph, declared);
    if (wide !== graph) checkHalf(graph, origin.opset, declared);
    const upgraded = upgradeGraph(checkedWhenRead(verifyGraph(wide), name), origin.opset);
    const typed = inferTypes(upgraded);
    for (const node of graph.nodes) checkTypes(node, origin.opset, (value) => typed.values.get(value));
    const stored = withoutFloatWeights(withoutCenteredIntegers(withoutPackedIntegers(typed)));
    const folded = fixAxes(foldConstants(withoutTables(stored)));
    checkDeclared(new Map([...declared].map(([output, type]) => [output, inFloat32(type)])), folded.values);
    return { graph: folded, origin: half.size > 0 ? { ...origin, half } : origin };
  });
}

/** In float32, halves and floats are alike; in the file they are not. */
function checkHalf(graph: Graph, opset: number, declared: ReadonlyMap<string, DeclaredType>): void {
  const { values } = inferTypes(upgradeGraph(verifyGraph(graph), opset));
  for (const node of graph.nodes) checkTypes(node, opset, (value) => values.get(value));
  checkDeclared(declared, values);
}

/** What stays in its file is checked when it is first read, as the rest was. */
function checkedWhenRead(graph: Graph, file: string): Graph {
  if (![...graph.constants.values()].some(isStored)) return graph;
  const readers = readersOfConstants(graph);
  const checked = (name: string, constant: Tensor): Tensor => {
    if (!isStored(constant)) return constant;
    let isChecked = false;
    return storedTensor(constant.dtype, constant.shape, () =>
      inFile(file, () => {
        const inMemory = loaded(constant);
        if (!isChecked) checkElements(name, inMemory, readers.get(name) ?? []);
        isChecked = true;
        return inMemory.data;
      }),
    );
  };
  const constants = new Map([...graph.constants].map(([name, value]) => [name, checked(name, value)]));
  return { ...graph, constants };
}

/** Begins the messages of errors with the file's name, once. */
function inFile<T>(name: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof FrostbitError) || error.message.startsWith(`${name}: `)) throw error;
    throw errorAt(`${name}: `, error);
  }
}

/** What the file says about its outputs must be what its nodes compute; symbolic sizes agree with anything. */
function checkDeclared(declared: ReadonlyMap<string, DeclaredType>, values: ReadonlyMap<string, ValueType>): void {
  for (const [name, expected] of declared) {
    const actual = values.get(name);
    if (!actual || (actual.dtype === expected.dtype && isSameShape(actual.shape, expected.shape ?? actual.shape)))
      continue;
    throw new FrostbitError(
      "BAD_MODEL",
      `output "${name}" is declared as ${printType(expected)}, but the graph computes ${printType(actual)}.`,
    );
  }
}

const inFloat32 = (type: DeclaredType): DeclaredType => ({ ...type, dtype: widened(type.dtype) });

const isSameShape = (a: readonly Dim[], b: readonly Dim[]): boolean =>
  a.length === b.length &&
  a.every((size, axis) => typeof size === "string" || typeof b[axis] === "string" || size === b[axis]);

const printType = ({ dtype, shape }: DeclaredType): string => (shape ? `${dtype} [${shape.join(", ")}]` : dtype);
