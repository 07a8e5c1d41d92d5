// Valid models whose structure is changed a little, by a seeded generator: most stay models, and all stay small.
import { clone, create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  TensorProto_DataType as DataType,
  TensorShapeProto_DimensionSchema as DimensionSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  TensorProtoSchema,
  ValueInfoProtoSchema,
} from "onnx-buf";
import { createRandom } from "../malformed/mutations.js";

const textOf = (value) => new TextEncoder().encode(value);
const int = (name, i) => create(AttributeProtoSchema, { name, type: AttributeType.INT, i: BigInt(i) });
const ints = (name, values) =>
  create(AttributeProtoSchema, { name, type: AttributeType.INTS, ints: values.map(BigInt) });
const float = (name, f) => create(AttributeProtoSchema, { name, type: AttributeType.FLOAT, f });
const string = (name, value) => create(AttributeProtoSchema, { name, type: AttributeType.STRING, s: textOf(value) });

/** What attributes are set to, within their range and beyond. */
const someInt =
  (...values) =>
  (name, { choose }) =>
    int(name, choose(values));
const someInts = (lengths, values) => (name, random) =>
  ints(
    name,
    Array.from({ length: random.choose(lengths) }, () => random.choose(values)),
  );
const someFloat =
  (...values) =>
  (name, { choose }) =>
    float(name, choose(values));
const someText =
  (...values) =>
  (name, { choose }) =>
    string(name, choose(values));
const flag = someInt(0, 1, 1, 0, 2, -1);

const permutation = (name, { integer }) => {
  const length = 1 + integer(4);
  const order = Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = integer(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return ints(name, integer(8) === 0 ? order.with(0, length) : order);
};

const attributeValues = {
  allowzero: flag,
  alpha: someFloat(0, 0.5, 1, -1, 2),
  antialias: flag,
  approximate: someText("none", "tanh", "exact"),
  auto_pad: someText("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", "same_upper"),
  axes: someInts([0, 1, 2, 3], [0, 1, 2, 3, -1, -2, -3, -4, 4]),
  axis: someInt(0, 1, 2, 3, -1, -2, -3, -4, 4),
  batch_axis: someInt(0, 1),
  batch_dims: someInt(0, 1, 2, -1),
  beta: someFloat(0, 0.5, 1, -1, 2),
  bias: someFloat(0, 1, 2, -0.5),
  block_size: someInt(0, 1, 2, 3, 16),
  blocksize: someInt(1, 2, 3, 0),
  ceil_mode: flag,
  coordinate_transformation_mode: someText(
    ...[
      "half_pixel",
      "asymmetric",
      "align_corners",
      "pytorch_half_pixel",
      "half_pixel_symmetric",
      "tf_crop_and_resize",
    ],
  ),
  count_include_pad: flag,
  cubic_coeff_a: someFloat(-0.75, -0.5, 0),
  detect_negative: flag,
  detect_positive: flag,
  dilations: someInts([1, 2, 2, 2, 3], [1, 1, 2, 3, 0, -1]),
  direction: someText("LEFT", "RIGHT", "left"),
  dtype: someInt(1, 6, 7, 9, 11, 2, 3, 0),
  end: someInt(0, 1, 2, -1, -2, 7),
  epsilon: someFloat(1e-5, 1e-3, 0, 1),
  equation: someText("ij,jk->ik", "ij,kj->kj", "ij,ij->i", "ii->i", "i...,i...->...", "ij->ji", "ij,jk", "...", "ij->"),
  exclude_outside: flag,
  exclusive: flag,
  fmod: flag,
  gamma: someFloat(0, 1, 2),
  group: someInt(1, 2, 3, 4, 0, -1),
  is_causal: flag,
  k: someInt(0, 1, 2, 9),
  keepdims: flag,
  kernel_shape: someInts([1, 2, 2, 2, 3], [1, 2, 3, 5, 0, -1]),
  lambd: someFloat(0, 0.5, 1),
  largest: flag,
  max: someFloat(-1, 0, 1),
  min: someFloat(-1, 0, 1),
  mode: someText(
    ...["nearest", "linear", "cubic", "constant", "reflect", "edge", "wrap", "DCR", "CRD", "bilinear", "x"],
  ),
  momentum: someFloat(0, 0.5, 0.9),
  nearest_mode: someText("round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "round"),
  noop_with_empty_axes: flag,
  num_groups: someInt(1, 2, 3, 0),
  num_heads: someInt(1, 2, 3, 0),
  num_outputs: someInt(0, 1, 2, 3, 5),
  output_dtype: someInt(2, 3, 4, 5, 1),
  output_padding: someInts([1, 2], [0, 1, 2, -1]),
  output_shape: someInts([1, 2], [1, 3, 8, 9]),
  p: someInt(1, 2, 3, 0),
  pads: someInts([2, 4, 4, 4, 6, 8], [0, 0, 1, 2, 3, -1]),
  perm: permutation,
  reduction: someText("none", "add", "mul", "max", "min", "mean", "sum"),
  reverse: flag,
  saturate: flag,
  scale: someFloat(0, 0.5, 2),
  select_last_index: flag,
  size: someInt(1, 2, 3, 4, 0),
  sorted: flag,
  split: someInts([1, 2, 3], [0, 1, 2, 3]),
  start: someInt(0, 1, -1, 2),
  stash_type: someInt(1, 0, 11),
  storage_order: flag,
  strides: someInts([1, 2, 2, 2, 3], [1, 2, 3, 4, 0, -1]),
  then_branch: someInt(1),
  threshold: someFloat(0, 1),
  time_axis: someInt(0, 1),
  to: someInt(1, 6, 7, 9, 11, 2, 3, 10, 4, 5, 12, 13, 16),
  transA: flag,
  transB: flag,
  upper: flag,
  value_int: someInt(0, 1, 3),
};

const dimension = (value) => create(DimensionSchema, { value: { case: "dimValue", value } });

const anyNode = (graph, { choose }) => (graph.node.length > 0 ? choose(graph.node) : undefined);
const initializerOf = (graph, name) => graph.initializer.find((tensor) => tensor.name === name);

function allNames(graph) {
  const given = [...graph.input, ...graph.initializer].map(({ name }) => name);
  return [...given, ...graph.node.flatMap(({ output }) => output)].filter((name) => name !== "");
}

const numeric = {
  [DataType.FLOAT]: [Float32Array, Number],
  [DataType.DOUBLE]: [Float64Array, Number],
  [DataType.INT8]: [Int8Array, Number],
  [DataType.UINT8]: [Uint8Array, Number],
  [DataType.INT16]: [Int16Array, Number],
  [DataType.UINT16]: [Uint16Array, Number],
  [DataType.INT32]: [Int32Array, Number],
  [DataType.UINT32]: [Uint32Array, Number],
  [DataType.INT64]: [BigInt64Array, BigInt],
  [DataType.UINT64]: [BigUint64Array, BigInt],
  [DataType.BOOL]: [Uint8Array, Number],
};

const elementsOf = (dims) => dims.reduce((product, dim) => product * Number(dim), 1);

/** Numbers of a tensor; undefined where it has another form than bytes, floats or int64s. */
function numbersOf(tensor) {
  const [array] = numeric[tensor.dataType] ?? [];
  if (!array) return undefined;
  if (tensor.rawData.length > 0) return Array.from(new array(new Uint8Array(tensor.rawData).slice().buffer), Number);
  if (tensor.floatData.length > 0) return [...tensor.floatData];
  if (tensor.int64Data.length > 0) return tensor.int64Data.map(Number);
  if (tensor.int32Data.length > 0) return [...tensor.int32Data];
  return elementsOf(tensor.dims) === 0 ? [] : undefined;
}

function tensorOf(name, dataType, dims, values) {
  const [array, convert] = numeric[dataType];
  const isReal = dataType === DataType.FLOAT || dataType === DataType.DOUBLE;
  const whole = isReal ? (v) => v : dataType === DataType.BOOL ? (v) => Number(v !== 0) : Math.trunc;
  const data = array.from(values, (value) => convert(whole(Number.isFinite(value) ? value : 0)));
  return create(TensorProtoSchema, {
    name,
    dataType,
    dims: dims.map(BigInt),
    rawData: new Uint8Array(data.buffer),
  });
}

let made = 0;
const newName = (hint) => `${hint}_${made++}`;

function addTensor(graph, dataType, dims, values) {
  const name = newName("made");
  graph.initializer.push(tensorOf(name, dataType, dims, values));
  return name;
}

const opsetOf = (model) => Number(model.opsetImport.find(({ domain }) => domain === "")?.version ?? 0);

function nodeOf(opType, input, output, attribute = []) {
  return create(NodeProtoSchema, { opType, name: newName("node"), input, output, attribute });
}

/** Reads `name` through `build(name)`, which pushes nodes and gives the value in its place, in one node or all that read it. */
function insertAfter(graph, random, build) {
  const name = random.choose(allNames(graph));
  const readers = graph.node.filter(({ input }) => input.includes(name));
  const nodes = [];
  const result = build(name, (...node) => {
    const added = nodeOf(...node);
    nodes.push(added);
    return added.output[0];
  });
  if (result === undefined) return;
  const all = random.next() < 0.7;
  for (const node of all ? readers : readers.slice(0, 1))
    node.input = node.input.map((input) => (input === name ? result : input));
  const producer = graph.node.findIndex(({ output }) => output.includes(name));
  graph.node.splice(producer + 1, 0, ...nodes);
  if (readers.length === 0 || random.next() < 0.1) {
    const output = graph.output.find((value) => value.name === name);
    if (!output) return;
    output.name = result;
    delete output.type;
  }
}

/** Axes as the opset wants them. */
function withAxes(model, op, x, output, axes) {
  if (opsetOf(model) < 13) return [op, [x], [output], [ints("axes", axes)]];
  return [op, [x, addTensor(model.graph, DataType.INT64, [axes.length], axes)], [output]];
}

/** The size of the first input's leading axis, 1 where it is not known. */
function leadingSize(graph) {
  const [first] = graph.input;
  const dim = first?.type?.value.value?.shape?.dim[0]?.value;
  return dim?.case === "dimValue" && dim.value > 0n && dim.value < 100n ? Number(dim.value) : 2;
}

/** What changes nothing, or looks as if it did not. */
const pairs = {
  identity: (_, x, add) => add("Identity", [x], [newName("identity")]),
  cast: (_, x, add, { choose }) => {
    const wide = add("Cast", [x], [newName("cast")], [int("to", choose([11, 11, 7, 6, 10]))]);
    return add("Cast", [wide], [newName("cast")], [int("to", choose([1, 1, 1, 7, 11]))]);
  },
  transpose: (_, x, add, { choose }) => {
    const perm = choose([
      [1, 0],
      [0, 2, 1],
      [1, 0, 2],
      [0, 2, 3, 1],
      [1, 2, 3, 0],
      [0, 1, 3, 2],
    ]);
    const inverse = perm.map((_axis, i) => perm.indexOf(i));
    const turned = add("Transpose", [x], [newName("turned")], [ints("perm", perm)]);
    return add("Transpose", [turned], [newName("turned")], [ints("perm", choose([inverse, inverse, inverse, perm]))]);
  },
  reshape: ({ graph }, x, add, { choose }) => {
    const shape = add("Shape", [x], [newName("shape")]);
    const flat = choose([[-1], [0, -1], [-1, 1], [1, -1], [leadingSize(graph), -1], [0, 0, -1]]);
    const between = add("Reshape", [x, addTensor(graph, DataType.INT64, [flat.length], flat)], [newName("flat")]);
    return add("Reshape", [between, shape], [newName("back")]);
  },
  unsqueeze: (model, x, add, { choose }) => {
    const axes = choose([[0], [1], [-1], [0, 1], [2], [0, -1]]);
    const wide = add(...withAxes(model, "Unsqueeze", x, newName("wide"), axes));
    return add(...withAxes(model, "Squeeze", wide, newName("narrow"), axes));
  },
  squeezeAll: (model, x, add, { choose }) => {
    const wide = add(...withAxes(model, "Unsqueeze", x, newName("wide"), choose([[0], [1], [-1]])));
    return add("Squeeze", [wide], [newName("narrow")]);
  },
  flatten: (_, x, add, { choose }) =>
    add("Flatten", [x], [newName("flat")], [int("axis", choose([0, 1, 1, 2, -1, 3]))]),
  expand: (_, x, add) => add("Expand", [x, add("Shape", [x], [newName("shape")])], [newName("expanded")]),
  negative: (_, x, add) => add("Neg", [add("Neg", [x], [newName("negative")])], [newName("negative")]),
  concat: (_, x, add, { choose }) => add("Concat", [x], [newName("joined")], [int("axis", choose([0, 1, -1]))]),
  dropout: (_, x, add) => add("Dropout", [x], [newName("dropped")]),
};

const int64s = (graph, ...values) => addTensor(graph, DataType.INT64, [values.length], values);
const int64 = (graph, value) => addTensor(graph, DataType.INT64, [], [value]);

/** What reads other samples than its own, or looks as if it did: along the first axis, mostly. */
const acrossSamples = {
  gather: ({ graph }, x, add, { integer, next }) => {
    const size = leadingSize(graph);
    const indices = Array.from({ length: next() < 0.8 ? size : 1 + integer(3) }, () => integer(size));
    const axis = [int("axis", next() < 0.8 ? 0 : integer(3))];
    return add("Gather", [x, int64s(graph, ...indices)], [newName("gathered")], axis);
  },
  gatherScalar: ({ graph }, x, add, { choose }) =>
    add("Gather", [x, int64(graph, choose([0, -1]))], [newName("gathered")], [int("axis", 0)]),
  gatherElements: ({ graph }, x, add, { integer, choose }) => {
    const size = leadingSize(graph);
    const shape = add("Shape", [x], [newName("shape")]);
    const rows = addTensor(graph, DataType.INT64, [1, 1], [integer(size)]);
    const indices = add("Expand", [rows, shape], [newName("indices")]);
    return add("GatherElements", [x, indices], [newName("gathered")], [int("axis", choose([0, 0, 1, -1]))]);
  },
  gatherNd: ({ graph }, x, add, { integer, choose }) => {
    const size = leadingSize(graph);
    const [count, depth] = choose([
      [size, 1],
      [size, 2],
      [1, 1],
    ]);
    const places = Array.from({ length: count * depth }, (_, i) => (i % depth === 0 ? integer(size) : 0));
    const indices = addTensor(graph, DataType.INT64, [count, depth], places);
    return add("GatherND", [x, indices], [newName("gathered")], [int("batch_dims", choose([0, 0, 1]))]);
  },
  reversed: ({ graph }, x, add, { choose }) => {
    const [start, end, axis, step] = choose([
      [-1, -1000, 0, -1],
      [0, 1000, 0, 1],
      [1, 1000, 0, 1],
      [-1, -1000, 1, -1],
      [0, 1, 0, 1],
      [0, leadingSize(graph), 0, 1],
      [-leadingSize(graph), 1000, 0, 1],
      [0, 1000, 0, 2],
    ]);
    return add("Slice", [x, ...[start, end, axis, step].map((value) => int64s(graph, value))], [newName("sliced")]);
  },
  cumulative: ({ graph }, x, add, { choose }) =>
    add("CumSum", [x, int64(graph, choose([0, 0, 0, 1, -1]))], [newName("sum")]),
  softmax: (_, x, add, { choose }) =>
    add(choose(["Softmax", "LogSoftmax", "Hardmax"]), [x], [newName("shares")], [int("axis", choose([0, 0, 1, -1]))]),
  reduce: (model, x, add, { choose }) => {
    const op = choose(["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd"]);
    const axes = choose([[0], [0], [0, 1], [1], [-1], [0, -1]]);
    const keepdims = int("keepdims", choose([0, 1, 1]));
    const isInput = opsetOf(model) >= (op === "ReduceSum" ? 13 : 18);
    if (isInput) return add(op, [x, int64s(model.graph, ...axes)], [newName("reduced")], [keepdims]);
    return add(op, [x], [newName("reduced")], [keepdims, ints("axes", axes)]);
  },
  minusMean: (model, x, add, { choose }) => {
    const mean = acrossSamples.reduce(model, x, add, { choose });
    return add(choose(["Sub", "Mul", "Add"]), [x, mean], [newName("centered")]);
  },
  argmax: (_, x, add, { choose }) => {
    const best = add("ArgMax", [x], [newName("best")], [int("axis", choose([0, 0, 1, -1]))]);
    return add("Add", [x, add("Cast", [best], [newName("best")], [int("to", 1)])], [newName("sum")]);
  },
  product: (_, x, add, { choose }) => {
    const turned = add("Transpose", [x], [newName("turned")]);
    const square = add(
      "MatMul",
      choose([
        [x, turned],
        [turned, x],
      ]),
      [newName("product")],
    );
    return choose([square, add("MatMul", [square, x], [newName("product")])]);
  },
  einsum: (_, x, add, { choose }) => {
    const equations = [
      "ij,kj->kj",
      "ij,kj->ik",
      "ij,ij->ij",
      "i...,i...->i...",
      "ij,kj->ij",
      "ij,ik->jk",
      "ij,ik->ijk",
    ];
    const four = ["nchw,mchw->nchw", "nchw,nkhw->nchw", "nchw,ncqw->nchw"];
    return add("Einsum", [x, x], [newName("einsum")], [string("equation", choose([...equations, ...four]))]);
  },
  squeeze: (_, x, add) => add("Squeeze", [x], [newName("squeezed")]),
  pad: ({ graph }, x, add, { choose }) => {
    const pads = choose([
      [1, 0, 0, 0],
      [0, 1, 0, 1],
      [-1, 0, 1, 0],
      [1, 0, -1, 0],
      [0, 0, 0, 0, 1, 0, 0, 0],
      [0, 0, 1, 1, 0, 0, 1, 1],
      [1, 0, 0, 0, -1, 0, 0, 0],
    ]);
    return add(
      "Pad",
      [x, int64s(graph, ...pads)],
      [newName("padded")],
      [string("mode", choose(["constant", "edge", "reflect"]))],
    );
  },
  tile: ({ graph }, x, add, { choose }) => {
    const repeats = choose([
      [2, 1],
      [1, 2],
      [2, 1, 1, 1],
      [1, 1],
      [1, 1, 2, 1],
    ]);
    return add("Tile", [x, int64s(graph, ...repeats)], [newName("tiled")]);
  },
  resize: ({ graph }, x, add, { choose }) => {
    const scales = choose([
      [1, 1, 2, 2],
      [2, 1, 1, 1],
      [1, 2, 1, 1],
      [0.5, 1, 1, 1],
    ]);
    const values = addTensor(graph, DataType.FLOAT, [scales.length], scales);
    return add("Resize", [x, "", values], [newName("resized")], [string("mode", choose(["nearest", "linear"]))]);
  },
  concatAlong: (_, x, add, { choose }) =>
    add("Concat", [x, x], [newName("joined")], [int("axis", choose([0, 0, 1, -1]))]),
  splitAlong: (model, x, add, { choose }) => {
    const axis = choose([0, 0, 1]);
    const first = newName("first");
    const attributes = [int("axis", axis), ...(opsetOf(model) >= 18 ? [int("num_outputs", 2)] : [])];
    const output = [first, newName("second")];
    add("Split", [x], output, attributes);
    return choose([first, add("Concat", output.toReversed(), [newName("joined")], [int("axis", axis)])]);
  },
  topK: ({ graph }, x, add, { choose }) => {
    const values = newName("values");
    add(
      "TopK",
      [x, int64s(graph, choose([1, 2, leadingSize(graph)]))],
      [values, newName("indices")],
      [int("axis", choose([0, 0, -1]))],
    );
    return values;
  },
  constantRows: ({ graph }, x, add, { choose }) => {
    const size = leadingSize(graph);
    const dims = choose([[size, 1], [size, 1, 1, 1], [1, size], [size], [1]]);
    const values = Array.from({ length: elementsOf(dims) }, (_, i) => i + 0.5);
    const rows = addTensor(graph, DataType.FLOAT, dims, values);
    return add(
      choose(["Add", "Mul", "Sub"]),
      choose([
        [x, rows],
        [rows, x],
      ]),
      [newName("weighted")],
    );
  },
  positions: ({ graph }, x, add) => {
    const shape = add("Shape", [x], [newName("shape")]);
    const size = add("Gather", [shape, int64(graph, 0)], [newName("size")]);
    const range = add("Range", [int64(graph, 0), size, int64(graph, 1)], [newName("range")]);
    const float32 = add("Cast", [range], [newName("range")], [int("to", 1)]);
    const column = add("Reshape", [float32, int64s(graph, -1, 1)], [newName("column")]);
    return add("Add", [x, column], [newName("placed")]);
  },
  sizeOfBatch: ({ graph }, x, add) => {
    const shape = add("Shape", [x], [newName("shape")]);
    const size = add("Gather", [shape, int64(graph, 0)], [newName("size")]);
    return add("Mul", [x, add("Cast", [size], [newName("size")], [int("to", 1)])], [newName("scaled")]);
  },
  merge: ({ graph }, x, add, { choose }) => {
    const shape = choose([
      [1, -1],
      [-1, 1],
      [1, leadingSize(graph), -1],
      [-1, 2],
      [leadingSize(graph), -1],
      [0, -1],
    ]);
    const merged = add("Reshape", [x, int64s(graph, ...shape)], [newName("merged")]);
    const summed = add("Softmax", [merged], [newName("shares")], [int("axis", -1)]);
    const back = add("Reshape", [summed, add("Shape", [x], [newName("shape")])], [newName("back")]);
    return choose([back, merged]);
  },
  turn: (_, x, add, { choose }) => {
    const perm = choose([
      [1, 0],
      [1, 0, 2, 3],
      [1, 2, 3, 0],
      [2, 1, 0],
    ]);
    const turned = add("Transpose", [x], [newName("turned")], [ints("perm", perm)]);
    const shares = add("Softmax", [turned], [newName("shares")], [int("axis", choose([0, 1, -1]))]);
    return add(
      "Transpose",
      [shares],
      [newName("turned")],
      [
        ints(
          "perm",
          perm.map((_axis, i) => perm.indexOf(i)),
        ),
      ],
    );
  },
  trilu: (_, x, add, { choose }) => add("Trilu", [x], [newName("triangle")], [int("upper", choose([0, 1]))]),
  scatter: ({ graph }, x, add, { integer }) => {
    const place = addTensor(graph, DataType.INT64, [1, 1], [integer(leadingSize(graph))]);
    const one = add("Gather", [x, int64s(graph, 0)], [newName("one")], [int("axis", 0)]);
    return add("ScatterND", [x, place, one], [newName("scattered")]);
  },
  normalize: ({ graph }, x, add, { choose }) => {
    const scale = addTensor(graph, DataType.FLOAT, [1], [1]);
    return add("LayerNormalization", [x, scale], [newName("normalized")], [int("axis", choose([0, 0, 1, -1]))]);
  },
  meanVariance: (_, x, add, { choose }) =>
    add(
      "MeanVarianceNormalization",
      [x],
      [newName("normalized")],
      [ints("axes", choose([[0], [0, 2, 3], [1], [2, 3]]))],
    ),
  maskRows: ({ graph }, x, add) => {
    const size = leadingSize(graph);
    const rows = addTensor(
      graph,
      DataType.BOOL,
      [size, 1],
      Array.from({ length: size }, (_, i) => i % 2),
    );
    return add("Where", [rows, x, add("Neg", [x], [newName("negative")])], [newName("chosen")]);
  },
  oneHot: (_, x, add, { choose }) => {
    const best = add("ArgMax", [x], [newName("best")], [int("axis", -1), int("keepdims", choose([0, 1]))]);
    return add("Cast", [best], [newName("best")], [int("to", 1)]);
  },
  depthToSpace: (_, x, add, { choose }) =>
    add(choose(["DepthToSpace", "SpaceToDepth"]), [x], [newName("moved")], [int("blocksize", choose([1, 2]))]),
};

function mutateDims(random, dims) {
  const { choose, integer } = random;
  if (dims.length === 0) return choose([[1n], [2n], [1n, 1n]]);
  const at = integer(dims.length);
  return choose([
    () => dims.toSpliced(at, 1),
    () => dims.toSpliced(at, 0, 1n),
    () => dims.with(at, choose([0n, 1n, 2n, 3n, 4n])),
    () => [...dims, 1n],
    () => [1n, ...dims],
    () => dims.toReversed(),
    () => [],
    () => [elementsOf(dims)].map(BigInt),
  ])();
}

const commonTypes = [DataType.FLOAT, DataType.FLOAT, DataType.INT64, DataType.INT32, DataType.DOUBLE, DataType.BOOL];
const allTypes = [...commonTypes, DataType.UINT8, DataType.INT8, DataType.UINT64, DataType.INT16, DataType.FLOAT16];

const anyTensor = (graph, { choose }) => (graph.initializer.length > 0 ? choose(graph.initializer) : undefined);

function replaceTensor(graph, tensor, { dataType = tensor.dataType, dims = tensor.dims, values }) {
  if (!numeric[dataType]) return;
  const size = elementsOf(dims);
  if (size < 0 || size > 1e5) return;
  const filled = Array.from({ length: size }, (_, i) => (values.length > 0 ? values[i % values.length] : 1));
  graph.initializer[graph.initializer.indexOf(tensor)] = tensorOf(tensor.name, dataType, dims, filled);
}

const tensorTypeOf = (value) => (value.type?.value.case === "tensorType" ? value.type.value.value : undefined);

const mutations = {
  swapInputs({ graph }, random) {
    const node = anyNode(graph, random);
    if (!node || node.input.length < 2) return;
    const [i, j] = [random.integer(node.input.length), random.integer(node.input.length)];
    [node.input[i], node.input[j]] = [node.input[j], node.input[i]];
  },
  dropInput({ graph }, random) {
    const node = anyNode(graph, random);
    if (!node?.input.length) return;
    if (random.next() < 0.5) node.input.pop();
    else node.input[random.integer(node.input.length)] = "";
  },
  extraInput({ graph }, random) {
    const node = anyNode(graph, random);
    node?.input.push(random.choose([...allNames(graph), ""]));
  },
  attribute(model, random) {
    const node = anyNode(model.graph, random);
    if (!node?.attribute.length) return mutations.newAttribute(model, random);
    const attribute = random.choose(node.attribute);
    const change = attributeValues[attribute.name];
    if (change) node.attribute[node.attribute.indexOf(attribute)] = change(attribute.name, random);
    return undefined;
  },
  attributeElement({ graph }, random) {
    const node = anyNode(graph, random);
    const lists = node?.attribute.filter((attribute) => attribute.ints.length > 0) ?? [];
    if (lists.length === 0) return;
    const list = random.choose(lists).ints;
    list[random.integer(list.length)] = BigInt(random.choose([0, 1, 2, 3, -1]));
  },
  newAttribute({ graph }, random, others) {
    const node = anyNode(graph, random);
    if (!node) return;
    const known = random.next() < 0.8 ? (others?.attributes.get(node.opType) ?? []) : [];
    const name = known.length > 0 ? random.choose(known) : random.choose(Object.keys(attributeValues));
    const change = attributeValues[name];
    if (!change) return;
    node.attribute = node.attribute.filter((attribute) => attribute.name !== name);
    node.attribute.push(change(name, random));
  },
  noAttribute({ graph }, random) {
    const node = anyNode(graph, random);
    if (node?.attribute.length) node.attribute.splice(random.integer(node.attribute.length), 1);
  },
  negativeAxis({ graph }, random) {
    const nodes = graph.node.filter(({ attribute }) => attribute.some(({ name }) => name === "axis"));
    if (nodes.length === 0) return;
    const attribute = random.choose(nodes).attribute.find(({ name }) => name === "axis");
    attribute.i -= BigInt(1 + random.integer(4));
  },
  opset(model, random) {
    for (const entry of model.opsetImport) if (entry.domain === "") entry.version = BigInt(7 + random.integer(18));
  },
  pair(model, random) {
    const name = random.choose(Object.keys(pairs));
    insertAfter(model.graph, random, (x, add) => pairs[name](model, x, add, random));
    return name;
  },
  acrossSamples(model, random) {
    const name = random.choose(Object.keys(acrossSamples));
    insertAfter(model.graph, random, (x, add) => acrossSamples[name](model, x, add, random));
    return name;
  },
  tensorShape({ graph }, random) {
    const tensor = anyTensor(graph, random);
    const values = tensor && numbersOf(tensor);
    if (values) replaceTensor(graph, tensor, { dims: mutateDims(random, tensor.dims), values });
  },
  tensorType({ graph }, random) {
    const tensor = anyTensor(graph, random);
    const values = tensor && numbersOf(tensor);
    if (values) replaceTensor(graph, tensor, { dataType: random.choose(allTypes), values });
  },
  tensorValues({ graph }, random) {
    const tensor = anyTensor(graph, random);
    const values = tensor && numbersOf(tensor);
    if (!values?.length) return;
    const at = random.integer(values.length);
    replaceTensor(graph, tensor, { values: values.with(at, random.choose([0, 1, -1, 2, 3, -2, values[at] + 1])) });
  },
  tensorToInput({ graph }, random) {
    const tensor = anyTensor(graph, random);
    if (!tensor) return;
    const both = random.next() < 0.3;
    if (!both) graph.initializer.splice(graph.initializer.indexOf(tensor), 1);
    const dim = tensor.dims.map(dimension);
    graph.input.push(
      create(ValueInfoProtoSchema, {
        name: tensor.name,
        type: { value: { case: "tensorType", value: { elemType: tensor.dataType, shape: { dim } } } },
      }),
    );
  },
  inputToTensor({ graph }, random) {
    if (graph.input.length === 0) return;
    const input = random.choose(graph.input);
    const type = tensorTypeOf(input);
    if (!type?.shape || !numeric[type.elemType] || initializerOf(graph, input.name)) return;
    const dims = type.shape.dim.map(({ value }) => (value.case === "dimValue" ? value.value : 2n));
    const size = elementsOf(dims);
    if (size < 0 || size > 1e5) return;
    graph.input.splice(graph.input.indexOf(input), 1);
    const values = Array.from({ length: size }, () =>
      type.elemType === 1 ? random.next() * 4 - 2 : random.integer(2),
    );
    graph.initializer.push(tensorOf(input.name, type.elemType, dims, values));
  },
  inputShape({ graph }, random) {
    const type = graph.input.length > 0 ? tensorTypeOf(random.choose(graph.input)) : undefined;
    if (!type?.shape) return;
    const { dim } = type.shape;
    if (dim.length > 0 && random.next() < 0.4) {
      const at = random.integer(dim.length);
      dim[at].value = random.choose([
        { case: "dimParam", value: "N" },
        { case: "dimParam", value: "M" },
        { case: "dimValue", value: BigInt(random.integer(6)) },
      ]);
      return;
    }
    const dims = dim.map(({ value }) => (value.case === "dimValue" ? value.value : 2n));
    const changed = mutateDims(random, dims);
    if (elementsOf(changed) > 1e5) return;
    type.shape.dim = changed.map(dimension);
  },
  batch({ graph }, random) {
    const size = random.choose([1, 2, 3, 4, 0]);
    for (const input of graph.input) {
      const [first] = tensorTypeOf(input)?.shape?.dim ?? [];
      if (first) first.value = { case: "dimValue", value: BigInt(size) };
    }
    for (const output of graph.output) delete output.type;
  },
  inputType({ graph }, random) {
    const type = graph.input.length > 0 ? tensorTypeOf(random.choose(graph.input)) : undefined;
    if (type) type.elemType = random.choose(allTypes);
    if (random.next() < 0.7) for (const output of graph.output) delete output.type;
  },
  operator({ graph }, random, others) {
    const node = anyNode(graph, random);
    if (!node) return;
    const same = others.operators.get(node.input.length) ?? [];
    if (same.length === 0) return;
    node.opType = random.choose(same);
    if (random.next() < 0.8) node.attribute = [];
    for (const output of graph.output) delete output.type;
  },
  rewire({ graph }, random) {
    const node = anyNode(graph, random);
    if (node?.input.length) node.input[random.integer(node.input.length)] = random.choose(allNames(graph));
    for (const output of graph.output) delete output.type;
  },
  duplicateName({ graph }, random) {
    const [a, b] = [anyNode(graph, random), anyNode(graph, random)];
    if (!a || !b) return;
    random.choose([
      () => {
        a.name = b.name;
      },
      () => {
        a.name = "";
        b.name = "";
      },
      () => {
        a.output[0] = random.choose(allNames(graph));
      },
      () => {
        if (graph.input.length > 0) a.output[0] = random.choose(graph.input).name;
      },
      () => {
        if (graph.output.length > 0) graph.output.push(clone(ValueInfoProtoSchema, random.choose(graph.output)));
      },
      () => {
        if (graph.initializer.length > 0)
          graph.initializer.push(clone(TensorProtoSchema, random.choose(graph.initializer)));
      },
    ])();
  },
  output({ graph }, random) {
    random.choose([
      () => graph.output.push(create(ValueInfoProtoSchema, { name: random.choose(allNames(graph)) })),
      () => {
        for (const output of graph.output) delete output.type;
      },
      () => {
        const type = graph.output.length > 0 ? tensorTypeOf(random.choose(graph.output)) : undefined;
        if (type?.shape?.dim.length) random.choose(type.shape.dim).value = { case: "dimValue", value: 3n };
      },
      () => {
        const type = graph.output.length > 0 ? tensorTypeOf(random.choose(graph.output)) : undefined;
        if (type) type.elemType = random.choose(commonTypes);
      },
      () => {
        const type = graph.output.length > 0 ? tensorTypeOf(random.choose(graph.output)) : undefined;
        type?.shape?.dim.push(dimension(1n));
      },
    ])();
  },
  nodeOutputs({ graph }, random) {
    const node = anyNode(graph, random);
    if (!node) return;
    random.choose([
      () => node.output.pop(),
      () => node.output.push(newName("extra")),
      () => {
        const name = newName("extra");
        node.output.push(name);
        graph.output.push(create(ValueInfoProtoSchema, { name }));
      },
      () => {
        node.output[random.integer(node.output.length)] = "";
      },
    ])();
  },
  noNode({ graph }, random) {
    if (graph.node.length < 2) return;
    const [gone] = graph.node.splice(random.integer(graph.node.length), 1);
    const [from, to] = [gone.output[0], gone.input[0]];
    for (const node of graph.node) node.input = node.input.map((name) => (name === from ? to : name));
  },
  reversed({ graph }) {
    graph.node.reverse();
  },
};

/** How often each is drawn. */
const weights = {
  acrossSamples: 5,
  pair: 4,
  attribute: 4,
  newAttribute: 2,
  attributeElement: 2,
  inputShape: 2,
  batch: 2,
};
const drawn = Object.keys(mutations).flatMap((name) => new Array(weights[name] ?? 1).fill(name));

const clean = (graph) => {
  // What values between nodes are said to be no longer holds.
  graph.valueInfo = [];
};

/** What operators there are by their number of inputs, and attributes by operator. */
export function surveyBases(bases) {
  const operators = new Map();
  const attributes = new Map();
  const put = (map, key, value) => map.set(key, (map.get(key) ?? new Set()).add(value));
  for (const bytes of bases)
    for (const node of fromBinary(ModelProtoSchema, bytes).graph.node) {
      put(operators, node.input.length, node.opType);
      for (const { name } of node.attribute) put(attributes, node.opType, name);
    }
  const lists = (map) => new Map([...map].map(([key, set]) => [key, [...set].sort()]));
  return { operators: lists(operators), attributes: lists(attributes) };
}

/** The model of a seed: what was done to `bases[at]`, and what became of it. */
export function mutated(bases, others, seed) {
  const random = createRandom(seed);
  random.next();
  made = 0;
  const at = random.integer(bases.length);
  const model = fromBinary(ModelProtoSchema, bases[at]);
  const done = [];
  clean(model.graph);
  const count = 1 + random.integer(3);
  if (random.next() < 0.5) for (const output of model.graph.output) delete output.type;
  for (let i = 0; i < count; i++) {
    const name = random.choose(drawn);
    const detail = mutations[name](model, random, others);
    done.push(typeof detail === "string" ? `${name}:${detail}` : name);
  }
  return { model, bytes: toBinary(ModelProtoSchema, model), done, at };
}

const ofNetworks = ["acrossSamples", "acrossSamples", "acrossSamples", "pair", "pair", "attribute", "rewire", "output"];

/** As `mutated`, of whole networks, at a fixed batch, mostly by what reads other samples or looks as if it did. */
export function mutatedNetwork(bases, others, seed) {
  const random = createRandom(seed);
  random.next();
  made = 0;
  const at = random.integer(bases.length);
  const model = fromBinary(ModelProtoSchema, bases[at]);
  clean(model.graph);
  for (const output of model.graph.output) delete output.type;
  const size = random.choose([1, 2, 3, 4]);
  for (const input of model.graph.input) {
    const [first] = tensorTypeOf(input)?.shape?.dim ?? [];
    if (first) first.value = { case: "dimValue", value: BigInt(size) };
  }
  const done = [`batch ${size}`];
  const count = 1 + random.integer(2);
  for (let i = 0; i < count; i++) {
    const name = random.choose(ofNetworks);
    const detail = mutations[name](model, random, others);
    done.push(typeof detail === "string" ? `${name}:${detail}` : name);
  }
  return { model, bytes: toBinary(ModelProtoSchema, model), done, at };
}
