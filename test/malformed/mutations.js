// What malformed models have changed: their bytes, or the graph that the bytes hold. All by a seeded generator.
import { clone, create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  ModelProtoSchema,
  NodeProtoSchema,
  StringStringEntryProtoSchema,
} from "onnx-buf";

/** Numbers that sizes, indices and attributes are replaced with. */
const strange = [
  0,
  1,
  2,
  3,
  5,
  7,
  64,
  1000,
  -1,
  -2,
  -7,
  65_535,
  2 ** 20,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32,
  2 ** 40,
  2 ** 53,
];
const strangest = [9223372036854775807n, -9223372036854775808n, -4294967296n];
const strangeFloats = [0, -0, 1, -1, 1e-45, 3.4e38, -3.4e38, Number.NaN, Number.POSITIVE_INFINITY, 1e-3];
const strangeNames = [
  "",
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "x".repeat(5000),
  "\0",
  "../x",
  "\u202e",
];

/** mulberry32 */
export function createRandom(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const integer = (below) => Math.floor(next() * below);
  return { next, integer, choose: (list) => list[integer(list.length)] };
}

const integerLike = ({ next, choose }, was) =>
  next() < 0.4
    ? choose([was + 1n, was - 1n, was * 2n, -was])
    : next() < 0.95
      ? BigInt(choose(strange))
      : choose(strangest);

/** As protobuf holds it: 64 bits. */
const int64 = (value) => BigInt.asIntN(64, value);

const byteMutations = {
  flip: (bytes, { integer }) => {
    const result = bytes.slice();
    result[integer(result.length)] ^= 1 << integer(8);
    return result;
  },
  set: (bytes, { integer, choose }) => {
    const result = bytes.slice();
    result[integer(result.length)] = choose([0, 1, 127, 128, 255, integer(256)]);
    return result;
  },
  cut: (bytes, { integer }) => bytes.slice(0, integer(bytes.length)),
  remove: (bytes, { integer }) => {
    const at = integer(bytes.length);
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + integer(16))]);
  },
  insert: (bytes, { integer }) => {
    const at = integer(bytes.length);
    const added = Uint8Array.from({ length: 1 + integer(16) }, () => integer(256));
    return Buffer.concat([bytes.subarray(0, at), added, bytes.subarray(at)]);
  },
  repeat: (bytes, { integer }) => {
    const at = integer(bytes.length);
    const part = bytes.subarray(at, at + 1 + integer(256));
    return Buffer.concat([bytes.subarray(0, at), ...new Array(1 + integer(40)).fill(part), bytes.subarray(at)]);
  },
  longNumber: (bytes, { integer, choose }) => {
    const at = integer(bytes.length);
    const number = choose([[255, 255, 255, 255, 7], [255, 255, 255, 255, 15], new Array(9).fill(255).concat(1)]);
    return Buffer.concat([bytes.subarray(0, at), Uint8Array.from(number), bytes.subarray(at + 1)]);
  },
};

const anyNode = (graph, { choose }) => (graph.node.length > 0 ? choose(graph.node) : undefined);

function allNames(graph) {
  const names = [...graph.input.map(({ name }) => name), ...graph.initializer.map(({ name }) => name)];
  return [...names, ...graph.node.flatMap(({ output }) => output), ""];
}

function mutateNumbers(list, random) {
  const { integer, next } = random;
  const chance = next();
  if (chance < 0.2) list.pop();
  else if (chance < 0.35) list.push(1n);
  else if (list.length > 0) {
    const at = integer(list.length);
    list[at] = int64(integerLike(random, list[at]));
  }
}

function mutateAttribute(attribute, random) {
  const { next, choose, integer } = random;
  const chance = next();
  if (chance < 0.1) attribute.type = integer(15);
  else if (chance < 0.2) attribute.name = choose(strangeNames);
  else if (attribute.ints.length > 0) mutateNumbers(attribute.ints, random);
  else if (attribute.floats.length > 0) attribute.floats[integer(attribute.floats.length)] = choose(strangeFloats);
  else if (attribute.s.length > 0)
    attribute.s = new TextEncoder().encode(choose([...strangeNames, "SAME_UPPER", "linear"]));
  else if (attribute.t) mutateTensor(attribute.t, random);
  else if (attribute.type === AttributeType.FLOAT) attribute.f = choose(strangeFloats);
  else attribute.i = int64(integerLike(random, attribute.i));
}

/** What the tensor holds, where it is small integers: sizes, axes, pads. */
function mutateContents(tensor, random) {
  const { integer } = random;
  if (tensor.int64Data.length > 0) return mutateNumbers(tensor.int64Data, random);
  if (tensor.rawData.length < 8) return undefined;
  const raw = new Uint8Array(tensor.rawData);
  const view = new DataView(raw.buffer);
  if (tensor.dataType === 7) {
    const at = 8 * integer(Math.floor(raw.length / 8));
    view.setBigInt64(at, int64(integerLike(random, view.getBigInt64(at, true))), true);
  } else {
    raw[integer(raw.length)] ^= 1 << integer(8);
  }
  tensor.rawData = raw;
  return undefined;
}

function mutateTensor(tensor, random) {
  const { next, integer, choose } = random;
  const chance = next();
  if (chance < 0.5) mutateContents(tensor, random);
  else if (chance < 0.75) mutateNumbers(tensor.dims, random);
  else if (chance < 0.85) tensor.dataType = integer(26);
  else if (chance < 0.9) tensor.rawData = tensor.rawData.slice(0, integer(tensor.rawData.length + 1));
  else if (chance < 0.95) tensor.name = choose(strangeNames);
  else {
    tensor.dataLocation = 1;
    const location = choose(["/etc/passwd", "../../secret", "nothing.bin", ".", "", "C:\\x", "/dev/zero", "a/../../b"]);
    tensor.externalData = [create(StringStringEntryProtoSchema, { key: "location", value: location })];
  }
}

function mutateType(value, random) {
  const { integer, next, choose } = random;
  const tensor = value.type?.value.case === "tensorType" ? value.type.value.value : undefined;
  if (!tensor || next() < 0.1) return delete value.type;
  if (next() < 0.3) {
    tensor.elemType = integer(26);
    return undefined;
  }
  const dims = tensor.shape?.dim ?? [];
  if (dims.length === 0 || next() < 0.1) return delete tensor.shape;
  if (next() < 0.2) return dims.pop();
  const dim = choose(dims);
  const was = dim.value.case === "dimValue" ? dim.value.value : 1n;
  dim.value =
    next() < 0.2
      ? { case: "dimParam", value: choose(["N", ...strangeNames]) }
      : { case: "dimValue", value: int64(integerLike(random, was)) };
  return undefined;
}

/** Changes to a model in place; `other` is a model of the same kind to take parts from. */
const graphMutations = {
  attribute(graph, random) {
    const node = anyNode(graph, random);
    if (node?.attribute.length) mutateAttribute(random.choose(node.attribute), random);
  },
  noAttribute(graph, random) {
    const node = anyNode(graph, random);
    node?.attribute.splice(random.integer(node.attribute.length + 1), 1);
  },
  newAttribute(graph, random) {
    const node = anyNode(graph, random);
    const name = random.choose(["axis", "axes", "group", "to", "mode", "perm", "strides", "k", "value", "__proto__"]);
    const i = int64(integerLike(random, 1n));
    const isList = random.next() < 0.5;
    const fields = isList ? { type: AttributeType.INTS, ints: [i, 1n] } : { type: AttributeType.INT, i };
    node?.attribute.push(create(AttributeProtoSchema, { name, ...fields }));
  },
  tensor(graph, random) {
    if (graph.initializer.length > 0) mutateTensor(random.choose(graph.initializer), random);
  },
  smallTensor(graph, random) {
    const small = graph.initializer.filter(({ dims }) => dims.length <= 1);
    if (small.length > 0) mutateContents(random.choose(small), random);
  },
  noTensor(graph, random) {
    graph.initializer.splice(random.integer(graph.initializer.length + 1), 1);
  },
  operator(graph, random, other) {
    const [node, model] = [anyNode(graph, random), anyNode(other, random)];
    if (node && model) node.opType = model.opType;
  },
  read(graph, random) {
    const node = anyNode(graph, random);
    if (node?.input.length) node.input[random.integer(node.input.length)] = random.choose(allNames(graph));
  },
  inputs(graph, random) {
    const node = anyNode(graph, random);
    if (random.next() < 0.5) node?.input.pop();
    else node?.input.push(random.choose(allNames(graph)));
  },
  outputs(graph, random) {
    const node = anyNode(graph, random);
    if (random.next() < 0.5) node?.output.pop();
    else node?.output.push(random.choose(["another", ...allNames(graph)]));
  },
  noNode(graph, random) {
    graph.node.splice(random.integer(graph.node.length + 1), 1);
  },
  twice(graph, random) {
    const node = anyNode(graph, random);
    if (!node) return;
    const copy = clone(NodeProtoSchema, node);
    if (random.next() < 0.7) copy.output = copy.output.map((name) => `${name}_again`);
    graph.node.push(copy);
  },
  otherNode(graph, random, other) {
    const node = anyNode(other, random);
    if (!node) return;
    const copy = clone(NodeProtoSchema, node);
    copy.input = copy.input.map(() => random.choose(allNames(graph)));
    copy.output = copy.output.map((_, i) => `other_${graph.node.length}_${i}`);
    graph.node.push(copy);
    const [output] = graph.output;
    if (output && random.next() < 0.8) {
      output.name = copy.output[0];
      delete output.type;
    }
  },
  reversed(graph) {
    graph.node.reverse();
  },
  chain(graph, random) {
    const start = random.choose(allNames(graph));
    const node = anyNode(graph, random);
    if (!node) return;
    const length = random.choose([50, 200, 2000]);
    for (let i = 0; i < length; i++) {
      const link = clone(NodeProtoSchema, node);
      link.name = "";
      link.input[0] = i === 0 ? start : `chain_${i - 1}`;
      link.output = [`chain_${i}`];
      graph.node.push(link);
    }
    if (!graph.output[0]) return;
    graph.output[0].name = `chain_${length - 1}`;
    delete graph.output[0].type;
  },
  input(graph, random) {
    if (graph.input.length > 0) mutateType(random.choose(graph.input), random);
  },
  output(graph, random) {
    if (graph.output.length > 0) mutateType(random.choose(graph.output), random);
  },
  name(graph, random) {
    const values = [...graph.input, ...graph.output, ...graph.node];
    if (values.length > 0) random.choose(values).name = random.choose(strangeNames);
  },
  domain(graph, random) {
    const node = anyNode(graph, random);
    if (node) node.domain = random.choose(["ai.onnx", "com.microsoft", "ai.onnx.ml", "__proto__", ""]);
  },
};

function mutateModel(bytes, other, random) {
  const model = fromBinary(ModelProtoSchema, bytes);
  const donor = fromBinary(ModelProtoSchema, other);
  const done = [];
  if (random.next() < 0.15) {
    for (const entry of model.opsetImport) entry.version = BigInt(5 + random.integer(21));
    done.push("opset");
  }
  const count = 1 + random.integer(3);
  for (let i = 0; i < count; i++) {
    const name = random.choose(Object.keys(graphMutations));
    graphMutations[name](model.graph, random, donor.graph);
    done.push(name);
  }
  return { bytes: toBinary(ModelProtoSchema, model), done };
}

function mutateBytes(bytes, random) {
  const count = 1 + random.integer(4);
  let result = bytes;
  const done = [];
  for (let i = 0; i < count && result.length > 0; i++) {
    const name = random.choose(Object.keys(byteMutations));
    result = byteMutations[name](result, random);
    done.push(name);
  }
  return { bytes: new Uint8Array(result), done };
}

/** The malformed model of a seed: its bytes, and what was done to `bases[at]`. */
export function malformed(bases, seed) {
  const random = createRandom(seed);
  const at = random.integer(bases.length);
  const { bytes, done } =
    random.next() < 0.25 ? mutateBytes(bases[at], random) : mutateModel(bases[at], random.choose(bases), random);
  return { bytes, done, at };
}
