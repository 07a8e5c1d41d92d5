// A model that is quantized already, as files have it: its QuantizeLinear and DequantizeLinear become quantizers that train.
import { dtypes } from "../ir/dtype.ts";
import { type Graph, type Node, producers } from "../ir/graph.ts";
import { sortNodes } from "../ir/sort-nodes.ts";
import { numbersOf, scalar, sizeOf, type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { uniqueNamesIn } from "../ir/unique-names.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { type Granularity, granularityAttributes, granularityOf, isGrouped } from "../ops/granularity.ts";
import { weightAxesOf } from "../ops/linear.ts";
import { inferTypes } from "../passes/infer-types.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { lookupBehind } from "./lookups.ts";
import { forEachScaled } from "./qparams.ts";
import { type Bounds, boundsOf, boundsOfActivations, wideBoundsOf } from "./quantizer.ts";

interface State {
  readonly graph: Graph;
  readonly producerOf: ReadonlyMap<string, Node>;
  readonly constants: Map<string, Tensor>;
  /** Adds a constant under a name like this; the same key gives the same constant. */
  readonly add: (key: string, name: string, make: () => Tensor) => string;
  readonly unique: (name: string) => string;
}

/**
 * Pairs of QuantizeLinear and DequantizeLinear with one scale become FakeQuantize; integer weights of linear layers, with scales
 * per row or of groups of inputs, become float weights behind FakeQuantize, lookups of their rows among it; int32 biases become float. Everything else stays as it is, and stays frozen.
 */
export function recognizeQuantizers(file: Graph): Graph {
  const graph = withoutIdleReshapes(file);
  const constants = new Map(graph.constants);
  const shared = new Map<string, string>();
  const unique = uniqueNamesIn(graph);
  const add: State["add"] = (key, name, make) => {
    const found = shared.get(key) ?? unique(name);
    if (!shared.has(key)) constants.set(found, make());
    shared.set(key, found);
    return found;
  };
  const state: State = { graph, producerOf: producers(graph), constants, add, unique };
  const rowAxes = weightAxes(graph);
  const renamed = new Map<string, string>();
  /** By the constant of its integers. */
  const weights = new Map<string, RecognizedWeight>();
  const nodes = graph.nodes.flatMap((node): readonly Node[] => {
    if (!isDequantizer(node)) return [node];
    const bias = biasOf(state, node);
    if (bias !== undefined) renamed.set(node.outputs[0], bias);
    if (bias !== undefined) return [];
    const rowAxis = rowAxes.get(node.outputs[0]);
    const make = node.op === "LevelDequantize" ? levelQuantizer : weightQuantizer;
    const weight = make(state, node, rowAxis);
    if (weight) renamed.set(node.outputs[0], weight.outputs[0]);
    if (weight) weights.set(node.inputs[0], { dequantize: node, output: weight.outputs[0] });
    return [weight ?? activationQuantizer(state, node) ?? node];
  });
  const rename = (name: string): string => renamed.get(name) ?? name;
  const rewired = nodes.map((node) => {
    const lookup = lookupOf(state, weights, node);
    return lookup ?? { ...node, inputs: node.inputs.map(rename) };
  });
  const values = new Map(graph.values);
  for (const [name, { dtype, shape }] of constants) values.set(name, { dtype, shape });
  // A table may be looked up before the layer whose weight it is.
  return removeDeadNodes(inferTypes({ ...graph, nodes: sortNodes({ ...graph, nodes: rewired }), constants, values }));
}

/** Of weights that are stored as integers, or as indices of levels. */
export const isDequantizer = ({ op }: Node): boolean => op === "DequantizeLinear" || op === "LevelDequantize";

/** The dequantizer that gives a value, behind a Reshape that changes nothing: our files have them for ONNX Runtime's sake. */
export function dequantizerOf(graph: Graph, producerOf: ReadonlyMap<string, Node>, value: string): Node | undefined {
  const node = producerOf.get(value);
  const shapeOf = (name: string): string => String(graph.values.get(name)?.shape);
  const isIdle = node?.op === "Reshape" && shapeOf(node.inputs[0]) === shapeOf(value);
  const candidate = isIdle ? producerOf.get(node.inputs[0]) : node;
  return candidate && isDequantizer(candidate) ? candidate : undefined;
}

/** Readers of weights behind such a Reshape read the DequantizeLinear itself. */
function withoutIdleReshapes(graph: Graph): Graph {
  const producerOf = producers(graph);
  const idle = new Map<string, string>();
  for (const { op, outputs } of graph.nodes) {
    const before = op === "Reshape" ? dequantizerOf(graph, producerOf, outputs[0]) : undefined;
    if (before && graph.constants.has(before.inputs[0]) && !graph.outputs.includes(outputs[0]))
      idle.set(outputs[0], before.outputs[0]);
  }
  if (idle.size === 0) return graph;
  const nodes = graph.nodes
    .filter(({ outputs }) => !idle.has(outputs[0]))
    .map((node) => ({ ...node, inputs: node.inputs.map((input) => idle.get(input) ?? input) }));
  return { ...graph, nodes };
}

/** Which values are weights of linear layers alone, and along which axis their rows are. */
function weightAxes(graph: Graph): ReadonlyMap<string, number> {
  const axes = new Map<string, number>();
  const other = new Set(graph.outputs);
  for (const node of graph.nodes)
    node.inputs.forEach((input, i) => {
      const axis = i === 1 ? weightAxesOf(node, graph.values.get(input)?.shape ?? [])?.rows : undefined;
      if (axis === undefined || (axes.get(input) ?? axis) !== axis) other.add(input);
      else axes.set(input, axis);
    });
  return new Map([...axes].filter(([name]) => !other.has(name)));
}

interface Dequantizer {
  readonly scale: Tensor;
  /** One per scale. */
  readonly zeroPoints: readonly number[];
  readonly granularity: Granularity;
}

/** The constant scale and zero points of a node; `undefined` where they are computed. */
function qparamsOf({ graph }: State, node: Node): Dequantizer | undefined {
  const [x, scaleName, zeroName] = node.inputs;
  const scale = graph.constants.get(scaleName);
  const zeroPoint = zeroName ? graph.constants.get(zeroName) : undefined;
  const rank = graph.values.get(x)?.shape.length;
  if (!scale || rank === undefined || (zeroName && !zeroPoint) || !/^float(32|64)$/.test(scale.dtype)) return undefined;
  const isOne = sizeOf(scale.shape) === 1;
  return {
    scale,
    zeroPoints: zeroPoint ? toNumbers(zeroPoint) : new Array<number>(scale.data.length).fill(0),
    granularity: isOne ? "tensor" : granularityOf({ ...node, attributes: { axis: 1, ...node.attributes } }, rank),
  };
}

/** `conv1.weight` of `conv1.weight_quantized`. */
const floatName = (integers: string): string => integers.replace(/[_:](quantized|integers)$/, "");

/** An int32 vector at its scale, as integer kernels take biases. */
function biasOf(state: State, node: Node): string | undefined {
  const integers = state.graph.constants.get(node.inputs[0]);
  if (node.op !== "DequantizeLinear") return undefined;
  const qparams = qparamsOf(state, node);
  if (integers?.dtype !== "int32" || integers.shape.length !== 1 || !qparams) return undefined;
  const { scale, zeroPoints, granularity } = qparams;
  if (isGrouped(granularity)) return undefined;
  const at = (list: ArrayLike<number>, i: number): number => (list.length === 1 ? list[0] : list[i]);
  const scales = numbersOf(scale);
  return state.add(node.outputs[0], floatName(node.inputs[0]), () =>
    tensorOf(
      scale.dtype,
      integers.shape,
      toNumbers(integers).map((value, i) => (value - at(zeroPoints, i)) * at(scales, i)),
    ),
  );
}

function weightQuantizer(state: State, node: Node, rowAxis: number | undefined): Node | undefined {
  const integers = state.graph.constants.get(node.inputs[0]);
  const storedQparams = qparamsOf(state, node);
  if (!integers || !storedQparams || rowAxis === undefined || integers.shape.length < 2) return undefined;
  if (dtypes[integers.dtype].bits > 8) return undefined;
  const qparams = byRowOrGroup(storedQparams, integers.shape, rowAxis);
  if (!qparams) return undefined;
  const { scale, zeroPoints, granularity } = qparams;
  const { dtype } = scale;
  const scales = numbersOf(scale);
  const weight = new Float64Array(integers.data.length);
  const codes = { ...integers, data: Float64Array.from(toNumbers(integers)) };
  forEachScaled(codes, granularity, scale.shape, (at, value, i) => {
    weight[i] = (value - zeroPoints[at]) * scales[at];
  });
  const name = floatName(node.inputs[0]);
  const range = rangeOf(integers, zeroPoints);
  const of = `of ${node.inputs[0]}`;
  const { shape } = scale;
  // A separate name: folding makes a value of the file's name again.
  const outputs = [state.unique(`${name}_fake_quantized`)];
  return fakeQuantize(
    state,
    { ...node, outputs },
    {
      value: state.add(node.inputs[0], name, () => tensorOf(dtype, integers.shape, weight)),
      scale: state.add(`${node.inputs[1]} ${of}`, `${name}_scale`, () => scale),
      zeroPoint: range.isSymmetric
        ? ""
        : state.add(`zero point ${of}`, `${name}_zero_point`, () =>
            tensorOf(
              dtype,
              shape,
              zeroPoints.map((zeroPoint) => zeroPoint + range.shift),
            ),
          ),
      ...range,
      granularity,
    },
  );
}

/** Levels in rising order, each once: indices are what the quantizer makes of the weight again. */
function levelQuantizer(
  { graph: { constants: given }, add, unique }: State,
  node: Node,
  rowAxis: number | undefined,
): Node | undefined {
  const [indices, scale, levels] = node.inputs.map((name) => given.get(name));
  if (!indices || !scale || !levels || granularityOf(node) === "tensor") return undefined;
  if (numberAttribute(node, "axis") !== rowAxis) return undefined;
  const [name, scales, all] = [floatName(node.inputs[0]), numbersOf(scale), numbersOf(levels)];
  const weight = new Float64Array(indices.data.length);
  const places = { ...indices, data: Float64Array.from(toNumbers(indices)) };
  forEachScaled(places, granularityOf(node), scale.shape, (row, place, i) => {
    weight[i] = all[place] * scales[row];
  });
  const rising = [...new Set(all)].sort((a, b) => a - b);
  const constant = (as: string, value: Tensor): string => add(`${as} of ${node.name}`, as, () => value);
  return {
    ...node,
    op: "LevelQuantize",
    outputs: [unique(`${name}_fake_quantized`)],
    inputs: [
      constant(name, tensorOf(scale.dtype, indices.shape, weight)),
      constant(`${name}_scale`, scale),
      constant(`${name}_levels`, tensorOf(levels.dtype, [rising.length], rising)),
    ],
    attributes: { ...node.attributes, bits: Math.max(2, Math.ceil(Math.log2(rising.length))) },
  };
}

interface RecognizedWeight {
  /** As the file has it. */
  readonly dequantize: Node;
  /** The value that the weight's quantizer gives. */
  readonly output: string;
}

/** A Gather of the rows of a recognized weight, where nodes look its integers and their scales up one by one. */
function lookupOf(
  { graph, producerOf }: State,
  weights: ReadonlyMap<string, RecognizedWeight>,
  node: Node,
): Node | undefined {
  const found = lookupBehind(graph, producerOf, node);
  const weight = found && weights.get(found.integers);
  if (!weight) return undefined;
  const [, scale, zeroPoint = ""] = weight.dequantize.inputs;
  const isAlike = (name: string, other: string): boolean =>
    String(unlessZeros(graph, name)) === String(unlessZeros(graph, other));
  const isSameAxis = granularityAxis(weight.dequantize) === found.axis;
  if (!isSameAxis || !isAlike(scale, found.scale) || !isAlike(zeroPoint, found.zeroPoint)) return undefined;
  return { ...node, op: "Gather", inputs: [weight.output, found.indices], attributes: { axis: found.axis } };
}

/** Zero points that are all 0 are none. */
function unlessZeros({ constants }: Graph, name: string): readonly number[] {
  const values = toNumbers(constants.get(name) ?? nothing);
  return values.some((value) => value !== 0) ? values : [];
}

const nothing = tensorOf("int64", [0], []);

/** Along which each row has its scale; `undefined` where groups have them. */
function granularityAxis(node: Node): number | undefined {
  const granularity = granularityOf({ ...node, attributes: { axis: 1, ...node.attributes } }, 2);
  return granularity === "tensor" || isGrouped(granularity) ? undefined : granularity.axis;
}

/** The scales of a weight as ours are: one per row, or of groups along another axis; `undefined` for other granularities. */
function byRowOrGroup(qparams: Dequantizer, shape: readonly number[], rowAxis: number): Dequantizer | undefined {
  const { scale, zeroPoints, granularity } = qparams;
  if (granularity === "tensor") {
    const rows = shape[rowAxis];
    return {
      scale: tensorOf(scale.dtype, [rows], new Array<number>(rows).fill(numbersOf(scale)[0])),
      zeroPoints: new Array<number>(rows).fill(zeroPoints[0]),
      granularity: { axis: rowAxis },
    };
  }
  if (!isGrouped(granularity)) return granularity.axis === rowAxis ? qparams : undefined;
  return granularity.axis === rowAxis ? undefined : sharedOverWindow(qparams);
}

/** Where all places of a window have the same scales and zero points, one of each for all. */
function sharedOverWindow({ scale, zeroPoints, granularity }: Dequantizer): Dequantizer {
  const window = sizeOf(scale.shape.slice(2));
  const scales = numbersOf(scale);
  const isShared = zeroPoints.every((zeroPoint, i) => {
    const first = i - (i % window);
    return scales[i] === scales[first] && zeroPoint === zeroPoints[first];
  });
  if (window === 1 || !isShared) return { scale, zeroPoints, granularity };
  const shape = scale.shape.map((size, axis) => (axis < 2 ? size : 1));
  const first = (_: number, i: number): boolean => i % window === 0;
  return {
    scale: tensorOf(scale.dtype, shape, Array.from(scales).filter(first)),
    zeroPoints: zeroPoints.filter(first),
    granularity,
  };
}

interface CodeRange {
  readonly isSymmetric: boolean;
  readonly bits: number;
  readonly bounds: Bounds;
  /** What lifts the file's integers to those above zero. */
  readonly shift: number;
}

/**
 * The fewest bits that hold a weight's integers, whatever type stores them. Around the middle of the type: in the restricted
 * range, or in the whole one if they use its lowest.
 */
function rangeOf(integers: Tensor, zeroPoints: readonly number[]): CodeRange {
  const isUnsigned = integers.dtype.startsWith("u");
  const middle = isUnsigned ? 2 ** (dtypes[integers.dtype].bits - 1) : 0;
  const isSymmetric = zeroPoints.every((zeroPoint) => zeroPoint === middle);
  let [low, high] = [0, 0];
  for (const code of isSymmetric ? toNumbers(integers) : [...toNumbers(integers), ...zeroPoints]) {
    const value = isSymmetric ? code - middle : code;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (!isSymmetric && isUnsigned) {
    const bits = Math.max(2, Math.ceil(Math.log2(high + 1)));
    return { isSymmetric, bits, bounds: boundsOf(bits, false), shift: 0 };
  }
  const bits = Math.max(2, Math.ceil(Math.log2(Math.max(high + 1, -low))) + 1);
  const wide = wideBoundsOf(bits);
  if (!isSymmetric) return { isSymmetric, bits, bounds: boundsOf(bits, false), shift: -wide.low };
  return { isSymmetric, bits, bounds: low === wide.low ? wide : boundsOf(bits, true), shift: 0 };
}

interface Pair {
  readonly quantize: Node;
  readonly bounds: Bounds;
}

/** The QuantizeLinear that a DequantizeLinear undoes, with a Clip between them where not all integers are used. */
function pairOf({ graph, producerOf }: State, node: Node): Pair | undefined {
  const before = producerOf.get(node.inputs[0]);
  const clip = before?.op === "Clip" ? before : undefined;
  const quantize = clip ? producerOf.get(clip.inputs[0]) : before;
  if (quantize?.op !== "QuantizeLinear") return undefined;
  const dtype = graph.values.get(node.inputs[0])?.dtype ?? "uint8";
  if (!clip) return { quantize, bounds: boundsOfActivations(dtypes[dtype].bits, !dtype.startsWith("u")) };
  const [low, high] = clip.inputs.slice(1).map((bound) => graph.constants.get(bound));
  return low && high ? { quantize, bounds: { low: toNumbers(low)[0], high: toNumbers(high)[0] } } : undefined;
}

const isSame = (a: Dequantizer, b: Dequantizer): boolean =>
  String(a.scale.data) === String(b.scale.data) && String(a.zeroPoints) === String(b.zeroPoints);

function activationQuantizer(state: State, node: Node): Node | undefined {
  if (node.op !== "DequantizeLinear") return undefined;
  const pair = pairOf(state, node);
  const qparams = qparamsOf(state, node);
  const other = pair && qparamsOf(state, pair.quantize);
  if (!pair || !qparams || !other || !isSame(qparams, other) || sizeOf(qparams.scale.shape) !== 1) return undefined;
  const { low, high } = pair.bounds;
  const bits = Math.log2(high - low + 1);
  const { scale, zeroPoints } = qparams;
  // A FakeQuantize's zero point is one of its integers.
  if (!Number.isInteger(bits) || bits > 8 || zeroPoints[0] < low || zeroPoints[0] > high) return undefined;
  const [, scaleName] = node.inputs;
  const isSymmetric = zeroPoints[0] === 0 && low === boundsOfActivations(bits, true).low;
  const zeroPoint = zeroPoints[0] - low;
  return fakeQuantize(state, node, {
    value: pair.quantize.inputs[0],
    scale:
      scale.shape.length === 0
        ? scaleName
        : state.add(scaleName, scaleName, () => tensorOf(scale.dtype, [], numbersOf(scale))),
    zeroPoint: isSymmetric
      ? ""
      : state.add(`${scaleName} ${zeroPoint}`, `${scaleName}_zero_point`, () => scalar(scale.dtype, zeroPoint)),
    bits,
    bounds: boundsOfActivations(bits, isSymmetric),
    granularity: "tensor",
  });
}

interface Recognized {
  readonly value: string;
  readonly scale: string;
  readonly zeroPoint: string;
  readonly bits: number;
  readonly bounds: Bounds;
  readonly granularity: Granularity;
}

function fakeQuantize(
  state: State,
  node: Node,
  { value, scale, zeroPoint, bits, bounds, granularity }: Recognized,
): Node {
  const dtype = state.constants.get(scale)?.dtype ?? "float32";
  const bound = (number: number): string =>
    state.add(`${dtype}:${number}`, `${dtype}:${number}`, () => scalar(dtype, number));
  return {
    name: node.name,
    op: "FakeQuantize",
    inputs: [value, scale, zeroPoint, bound(bounds.low), bound(bounds.high)],
    outputs: node.outputs,
    attributes: { bits, ...granularityAttributes(granularity) },
  };
}
