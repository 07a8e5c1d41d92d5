// Integer products with ranges found at each run: DynamicQuantizeLinear, MatMulInteger or ConvInteger, and the scales behind them.
import { assert } from "../ir/errors.ts";
import { type Graph, type Node, producers } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { transposedMatrix } from "../ir/transposed-matrix.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { isTransposed } from "../ops/matrix-shape.ts";
import type { Folded } from "../quantizers/fold.ts";
import { isDepthwise, type LinearLayer } from "../quantizers/linear-layers.ts";
import { type Emitter, emitInto, suffixOf } from "./emit.ts";
import { foldWeights } from "./fold-weights.ts";

/** The type of matrices. Those of convolutions are bytes always: ONNX Runtime has no other kernel for them in browsers. */
export type MatrixType = "int8" | "uint8";

const integerOps: Readonly<Record<string, "MatMulInteger" | "ConvInteger">> = {
  MatMul: "MatMulInteger",
  Gemm: "MatMulInteger",
  Conv: "ConvInteger",
};

/** Depthwise convolutions lose most by one scale for all channels of what enters them, and are a small part of a model. */
const isInteger = (graph: Graph, layer: LinearLayer): boolean =>
  Object.hasOwn(integerOps, layer.node.op) && !isDepthwise(graph, layer);

/** Takes a prepared graph; the same graph where it has no such layer. */
export function dynamicInt8(graph: Graph, matrices: MatrixType): Graph {
  const folded = foldWeights(graph, { asymmetricWeights: false }, (layer) => isInteger(graph, layer));
  return folded.layers.length === 0 ? graph : withIntegerProducts(folded, matrices);
}

interface Quantized {
  readonly integers: string;
  readonly scale: string;
  readonly zeroPoint: string;
}

function withIntegerProducts({ graph, layers }: Folded, matrices: MatrixType): Graph {
  const isLayer = new Set(layers.map(({ node }) => node));
  const made = producers(graph);
  const emit = emitInto(graph);
  const quantized = new Map<string, Quantized>();
  for (const node of graph.nodes) {
    const dequantize = isLayer.has(node.name) ? made.get(node.inputs[1]) : undefined;
    if (!dequantize) {
      emit.push(node);
      continue;
    }
    const [input] = node.inputs;
    const entering = quantized.get(input) ?? quantizeInput(emit, input);
    quantized.set(input, entering);
    integerProduct(emit, node, entering, weightOf(graph, node, dequantize, matrices));
  }
  return emit.graph();
}

function quantizeInput(emit: Emitter, input: string): Quantized {
  const integers = emit.value(`${input}:integers`, "uint8");
  const scale = emit.value(`${input}:scale`, "float32");
  const zeroPoint = emit.value(`${input}:zero_point`, "uint8");
  const outputs = [integers, scale, zeroPoint];
  emit.push({
    name: `${integers}:DynamicQuantizeLinear`,
    op: "DynamicQuantizeLinear",
    inputs: [input],
    outputs,
    attributes: {},
  });
  return { integers, scale, zeroPoint };
}

interface IntegerWeight {
  /** The hint of its constants' names. */
  readonly name: string;
  readonly integers: Tensor;
  readonly zeroPoint: Tensor;
  /** In the shape of the product's channels. */
  readonly scale: Tensor;
  /** Of the product, in the scale. */
  readonly factor: number;
}

/** As the integer operators take it: matrices [inputs, rows], filters [rows, inputs, …] as bytes around 128. */
function weightOf(graph: Graph, node: Node, dequantize: Node, matrices: MatrixType): IntegerWeight {
  const [integers, scale] = dequantize.inputs.map((name) => graph.constants.get(name));
  assert(integers && scale, `the weight of "${node.name}" is not constant`);
  const [name] = dequantize.inputs;
  const alpha = node.op === "Gemm" ? numberAttribute(node, "alpha", 1) : 1;
  const scales = Array.from(numbersOf(scale), (value) => value * alpha);
  if (node.op === "Conv")
    return {
      name,
      ...asBytes(integers),
      scale: tensorOf("float32", [scales.length, ...integers.shape.slice(2).map(() => 1)], scales),
      factor: alpha,
    };
  const matrix = isTransposed(node, "transB") ? transposedMatrix(integers) : integers;
  const zeros = { integers: matrix, zeroPoint: tensorOf("int8", [], [0]) };
  return {
    name: matrix === integers ? name : `${name}:transposed`,
    ...(matrices === "uint8" ? asBytes(matrix) : zeros),
    scale: tensorOf("float32", [scales.length], scales),
    factor: alpha,
  };
}

const middle = 128;

const asBytes = (integers: Tensor): Pick<IntegerWeight, "integers" | "zeroPoint"> => ({
  integers: { ...integers, dtype: "uint8", data: Uint8Array.from(numbersOf(integers), (q) => q + middle) },
  zeroPoint: tensorOf("uint8", [], [middle]),
});

/** The chain that ONNX Runtime makes one kernel of: integers, Cast, times the product of both scales. */
function integerProduct(emit: Emitter, node: Node, entering: Quantized, weight: IntegerWeight): void {
  const { constant } = emit;
  const [output] = node.outputs;
  const op = integerOps[node.op];
  const hint = `${weight.name}:${weight.integers.dtype}`;
  const inputs = [
    entering.integers,
    constant(hint, weight.integers),
    entering.zeroPoint,
    constant(`zero:${weight.zeroPoint.dtype}`, weight.zeroPoint),
  ];
  const attributes = op === "ConvInteger" ? node.attributes : {};
  const sum = emit.call(op, inputs, { dtype: "int32", hint: `${output}:sum` }, attributes);
  const float = emit.call("Cast", [sum], { dtype: "float32", hint: `${output}:float` }, { to: "float32" });
  const scale = constant(`${weight.name}:scale:${sizeOf(weight.scale.shape)}${suffixOf(weight.factor)}`, weight.scale);
  const scales = emit.call("Mul", [entering.scale, scale], { dtype: "float32", hint: `${output}:scales` });
  const [, , bias] = node.inputs;
  if (!bias) return void emit.call("Mul", [float, scales], { output });
  const product = emit.call("Mul", [float, scales], { dtype: "float32", hint: `${output}:product` });
  emit.call("Add", [product, biasOf(emit, bias, weight)], { output });
}

/** In the shape of the product's channels. */
function biasOf({ constants, constant }: Emitter, name: string, { scale }: IntegerWeight): string {
  const value = constants.get(name);
  assert(value, `bias "${name}" is not a constant`);
  return constant(`${name}:of_channels:${scale.shape.join("x")}`, { ...value, shape: scale.shape });
}
