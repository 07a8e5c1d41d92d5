// Models of any size, of each of the kinds that reading has to take in proportion.
import { toBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema, type NodeProto } from "onnx-buf";
import { int, int64s, type ModelParts, modelProto, node, shapeless, value, weights } from "./onnx-model.ts";

const counted = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
const hidden = (i: number, first = "x"): string => (i === 0 ? first : `h${i}`);
const output = (name: string) => shapeless(name, 1);

/** A chain of `count` links, each from the value that the one before gives. */
const chain = (
  count: number,
  link: (from: string, to: string, i: number) => readonly NodeProto[],
  parts: Partial<ModelParts> = {},
): ModelParts => ({
  inputs: [value("x", ["N", 2])],
  outputs: [output(`h${count}`)],
  ...parts,
  nodes: counted(count, (i) => link(hidden(i), `h${i + 1}`, i)).flat(),
});

const named = (op: string, inputs: readonly string[], outputs: readonly string[], attributes = {}): NodeProto =>
  node(op, inputs, outputs, attributes, { name: `${op}_${outputs[0].slice(-20)}` });

const relu = (from: string, to: string): readonly NodeProto[] => [named("Relu", [from], [to])];
const long = "a".repeat(1_000_000);

/** By kind, the model of a size. */
export const largeModels: Readonly<Record<string, (count: number) => ModelParts>> = {
  "outputs of a Split": (count) => ({
    inputs: [value("x", ["N", count])],
    outputs: [output("y")],
    nodes: [
      named(
        "Split",
        ["x"],
        counted(count, (i) => `p${i}`),
        { axis: int(1) },
      ),
      named(
        "Concat",
        counted(count, (i) => `p${i}`),
        ["y"],
        { axis: int(1) },
      ),
    ],
  }),
  "known elements that a Split takes apart": (count) => ({
    inputs: [value("x", ["N", 2])],
    outputs: [output("y")],
    nodes: [
      named(
        "Split",
        ["many", "ones"],
        counted(count, (i) => `p${i}`),
      ),
      named(
        "Concat",
        counted(count, (i) => `p${i}`),
        ["joined"],
        { axis: int(0) },
      ),
      named("Cast", ["joined"], ["floats"], { to: int(1) }),
      named("ReduceMax", ["floats"], ["most"]),
      named("Add", ["x", "most"], ["y"]),
    ],
    initializers: [
      int64s(
        "many",
        counted(count, (i) => i),
      ),
      int64s(
        "ones",
        counted(count, () => 1),
      ),
    ],
  }),
  inputs: (count) => ({
    inputs: counted(count, (i) => value(`x${i}`, ["N", 2])),
    outputs: [output("y")],
    nodes: [
      named(
        "Sum",
        counted(count, (i) => `x${i}`),
        ["y"],
      ),
    ],
  }),
  "inputs of a fixed batch": (count) => ({
    inputs: counted(count, (i) => value(`x${i}`, [1, 2])),
    outputs: [output("y")],
    nodes: [
      named(
        "Sum",
        counted(count, (i) => `x${i}`),
        ["y"],
      ),
    ],
  }),
  "symbolic sizes in one sum": (count) => ({
    inputs: counted(count, (i) => value(`x${i}`, [`size${i}`])),
    outputs: [output("y")],
    nodes: [
      named(
        "Concat",
        counted(count, (i) => `x${i}`),
        ["y"],
        { axis: int(0) },
      ),
    ],
  }),
  outputs: (count) => ({
    inputs: [value("x", ["N", 2])],
    outputs: counted(count, (i) => output(`y${i}`)),
    nodes: counted(count, (i) => relu("x", `y${i}`)).flat(),
  }),
  layers: (count) => chain(count, relu),
  "layers of a fixed batch": (count) => chain(count, relu, { inputs: [value("x", [1, 2])] }),
  "layers, the last first": (count) => {
    const parts = chain(count, relu);
    return { ...parts, nodes: parts.nodes.toReversed() };
  },
  "layers of one name": (count) => chain(count, (from, to) => [node("Relu", [from], [to], {}, { name: "same" })]),
  products: (count) =>
    chain(count, (from, to, i) => [named("MatMul", [from, `w${i}`], [to])], {
      initializers: counted(count, (i) => weights(`w${i}`, [2, 2])),
    }),
  "products of one weight": (count) =>
    chain(count, (from, to) => [named("MatMul", [from, "w"], [to])], { initializers: [weights("w", [2, 2])] }),
  "initializers that nobody reads": (count) => ({
    inputs: [value("x", ["N", 2])],
    outputs: [output("y")],
    nodes: [...relu("x", "y")],
    initializers: counted(count, (i) => weights(`w${i}`, [2])),
  }),
  "quantized layers": (count) =>
    chain(
      count,
      (from, to, i) => [
        named("QuantizeLinear", [from, "s"], [`q${i}`]),
        named("DequantizeLinear", [`q${i}`, "s"], [`d${i}`]),
        named("MatMul", [`d${i}`, `w${i}`], [to]),
      ],
      { initializers: [weights("s", []), ...counted(count, (i) => weights(`w${i}`, [2, 2]))] },
    ),
  "layers of an older opset": (count) => ({
    ...chain(count, (from, to) => [named("Softmax", [from], [to], { axis: int(1) })], {
      inputs: [value("x", ["N", 2, 3])],
    }),
    opset: 11,
  }),
  "symbolic sizes": (count) =>
    chain(
      count,
      (from, to, i) => [
        named("Shape", [from], [`s${i}`]),
        named("Reshape", [from, `s${i}`], [`r${i}`]),
        named("Concat", [`r${i}`, `r${i}`], [`c${i}`], { axis: int(1) }),
        named("Slice", [`c${i}`, "one", "end", "one"], [to]),
      ],
      { inputs: [value("x", ["N", "L", 4])], initializers: [int64s("one", [1]), int64s("end", [2 ** 31 - 1])] },
    ),
  "layers behind a name of 1 MB": (count) => ({
    inputs: [value(long, ["N", "L", 4])],
    outputs: [output(`h${count}`)],
    nodes: counted(count, (i) => named("Softmax", [hidden(i, long)], [`h${i + 1}`])),
  }),
  "layers behind a size whose name is 1 MB": (count) =>
    chain(count, (from, to, i) => [named("Concat", [from, from], [to], { axis: int(i % 2) })], {
      inputs: [value("x", ["N", long, 4])],
    }),
};

export const largeModel = (kind: string, count: number): Uint8Array =>
  toBinary(ModelProtoSchema, modelProto(largeModels[kind](count)));
