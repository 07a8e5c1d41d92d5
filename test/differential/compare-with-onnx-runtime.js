// Run as a separate process: node compare-with-onnx-runtime.js DIST BASES FIRST COUNT LAST MESSAGES. Runs each mutated model in ONNX
// Runtime and on every engine, and compares what comes out. What it is at is in the file LAST; what only one of both refused goes
// into the file MESSAGES, unless that is ""; what it prints at the end is one line of JSON.
import { appendFileSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { deserialize } from "node:v8";
import { createRandom } from "../malformed/mutations.js";
import { reasonToAccept, reasonToDiffer } from "./accepted.js";
import { differenceOf } from "./differences.js";
import { mutated, surveyBases } from "./mutate-structure.js";
import { createOracle } from "./oracle.js";

const [dist, basesPath, first, count, lastPath, messagesPath] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(dist, path)).href);
const { FrostbitError, readOnnx, selectEngine, tensorOf } = await load("index.js");
const { isNativeBuilt } = await load("engines/native/addon.js");
const { freeBatch } = await load("passes/free-batch.js");
const { isHalf, narrowTensor, widenTensor } = await load("ir/half.js");
const { dtypeOfCode } = await load("onnx/data-types.js");

const bases = deserialize(readFileSync(basesPath)).map(({ name, bytes }) => ({ name, bytes: new Uint8Array(bytes) }));
const contents = bases.map(({ bytes }) => bytes);
const survey = surveyBases(contents);
const engines = ["reference", "onnxruntime", ...(isNativeBuilt() ? ["native"] : [])].map((name) => selectEngine(name));

const sizeOf = (shape) => shape.reduce((product, size) => product * size, 1);

/** What a process is at, for whoever watches it: a process that ends in ONNX Runtime is not our fault. */
const log = openSync(lastPath, "w");
let place = "";
const at = (phase) => writeSync(log, `${place}|${phase}`.padEnd(250).slice(0, 250), 0);

const isClear = (error) =>
  error instanceof FrostbitError && error.message.length > 10 && !error.message.includes("internal:");

/** Either `value` or `refused`; what is neither is thrown. */
async function attempt(run) {
  try {
    return { value: await run() };
  } catch (error) {
    if (!isClear(error)) throw error;
    return { refused: error.message };
  }
}

function drawElements(dtype, size, random) {
  if (dtype === "bool") return Array.from({ length: size }, () => random.integer(2));
  if (isHalf(dtype) || dtype.startsWith("float")) return Array.from({ length: size }, () => 4 * random.next() - 2);
  return Array.from({ length: size }, () => random.integer(4));
}

const narrowed = (dtype, value) => (isHalf(dtype) ? narrowTensor(value, dtype) : value);

function drawTensor(dtype, shape, random) {
  const values = drawElements(dtype, sizeOf(shape), random);
  return narrowed(dtype, tensorOf(isHalf(dtype) ? "float32" : dtype, shape, values));
}

/** As the file declares its inputs; undefined where one has no type that can be drawn. */
function drawInputs({ graph }, random) {
  const given = new Set(graph.initializer.map(({ name }) => name));
  const sizes = new Map();
  const sizeFor = ({ value }) => {
    if (value.case === "dimValue") return Number(value.value);
    const name = value.value ?? "";
    if (name === "") return 1 + random.integer(3);
    if (!sizes.has(name)) sizes.set(name, 1 + random.integer(3));
    return sizes.get(name);
  };
  const inputs = new Map();
  for (const { name, type } of graph.input) {
    if (given.has(name)) continue;
    const tensor = type?.value.case === "tensorType" ? type.value.value : undefined;
    const dtype = tensor && dtypeOfCode(tensor.elemType);
    const shape = tensor?.shape?.dim.map(sizeFor);
    if (!dtype || !shape || dtype === "bfloat16" || sizeOf(shape) < 0 || sizeOf(shape) > 1e5) return undefined;
    inputs.set(name, drawTensor(dtype, shape, random));
  }
  return inputs;
}

const oracle = createOracle(dist);

async function onEngine(engine, graph, inputs) {
  if (graph.nodes.some((node) => !engine.supports(node, graph))) return undefined;
  const executable = await engine.compile(graph, { threads: 1 });
  try {
    const given = new Map(graph.inputs.map((name) => [name, widenTensor(inputs.get(name))]));
    return await executable.bind(await engine.variables(new Map())).run(given);
  } finally {
    await executable.dispose();
  }
}

/** What ONNX Runtime gives for inputs that differ in their last digits: elements that rounding decides move. */
async function moved(bytes, inputs, random) {
  const results = [];
  for (let i = 0; i < 8; i++) {
    const others = new Map(
      [...inputs].map(([name, value]) => {
        if (!isHalf(value.dtype) && !value.dtype.startsWith("float")) return [name, value];
        const wide = widenTensor(value);
        const share = isHalf(value.dtype) ? 2e-3 : 1e-6;
        const data = wide.data.map((x) => x * (1 + share * (2 * random.next() - 1)));
        return [name, narrowed(value.dtype, { ...wide, data })];
      }),
    );
    const { value } = await oracle.run(bytes, others, "disabled");
    if (value) results.push(value);
  }
  return results;
}

/** float16 and bfloat16, as ONNX numbers them. */
const isHalfCode = (code) => code === 10 || code === 16;

/** What the file computes in half precision is float32 here. */
const isHalfModel = ({ graph }) =>
  graph.initializer.some(({ dataType }) => isHalfCode(dataType)) ||
  graph.input.some(({ type }) => type?.value.case === "tensorType" && isHalfCode(type.value.value.elemType)) ||
  graph.node.some(({ attribute }) =>
    attribute.some(
      ({ name, i, t }) => isHalfCode(t?.dataType) || (/^(to|.*dtype)$/.test(name) && isHalfCode(Number(i))),
    ),
  );

/** The first output that is unlike all that ONNX Runtime gave, in words. */
async function unlike(outputs, names, expected, isCoarse, perturbed) {
  for (const name of names) {
    const actual = outputs.get(name);
    const wanted = expected.map((each) => each.get(name)).filter(Boolean);
    if (wanted.length === 0) continue;
    const plain = wanted.map((each) => differenceOf(actual, widenTensor(each), { isCoarse }));
    if (plain.includes(undefined)) continue;
    const others = (await perturbed())
      .map((each) => each.get(name))
      .filter(Boolean)
      .map(widenTensor);
    const seen = [...wanted.slice(1).map(widenTensor), ...others];
    const rest = differenceOf(actual, widenTensor(wanted[0]), { isCoarse, others: seen });
    if (rest !== undefined) return `output "${name}": ${rest}`;
  }
  return undefined;
}

const rowsOf = (value, from, rows) => {
  const size = sizeOf(value.shape.slice(1));
  return {
    ...value,
    shape: [rows, ...value.shape.slice(1)],
    data: value.data.slice(from * size, (from + rows) * size),
  };
};

function along(value, axis, from, rows) {
  const outer = sizeOf(value.shape.slice(0, axis));
  const inner = sizeOf(value.shape.slice(axis + 1));
  const shape = value.shape.with(axis, rows);
  const data = new value.data.constructor(sizeOf(shape));
  for (let i = 0; i < outer; i++) {
    const start = (i * value.shape[axis] + from) * inner;
    data.set(value.data.subarray(start, start + rows * inner), i * rows * inner);
  }
  return { ...value, shape, data };
}

/** The freed graph at one sample more must compute of each sample what the file computes of it, wherever it lies. */
async function checkFreed({ bytes, graph, isCoarse, random, inputs }) {
  const { graph: freed, freed: isFreed } = freeBatch(graph);
  if (!isFreed) return { outcome: undefined };
  const [symbol] = freed.values.get(freed.inputs[0]).shape;
  const batch = graph.values.get(graph.inputs[0]).shape[0];
  if (batch === 0 || typeof symbol !== "string") return { outcome: "freed, empty" };
  const isBatched = (name) => freed.values.get(name)?.shape[0] === symbol;
  const more = new Map(
    [...inputs].map(([name, value]) => [
      name,
      isBatched(name) ? drawTensor(value.dtype, [batch + 1, ...value.shape.slice(1)], random) : value,
    ]),
  );
  const part = (from) =>
    new Map([...more].map(([name, value]) => [name, isBatched(name) ? rowsOf(value, from, batch) : value]));
  const parts = [part(0), part(1)];
  at("oracle");
  const expected = [];
  for (const each of parts) {
    const { value } = await oracle.run(bytes, each, "disabled");
    if (!value) return { outcome: "freed, refused by ONNX Runtime" };
    expected.push(value);
  }
  for (const engine of engines) {
    at(`freed on ${engine.name}`);
    const { value: results, refused } = await attempt(() => onEngine(engine, freed, more));
    if (refused !== undefined) return { wrong: `freed, but ${engine.name} says at ${batch + 1} samples: ${refused}` };
    if (!results) continue;
    for (const [i, each] of expected.entries()) {
      const cut = new Map();
      for (const name of graph.outputs) {
        const axis = freed.values.get(name).shape.indexOf(symbol);
        const value = results.get(name);
        if (value.shape[axis] !== batch + 1)
          return { wrong: `freed, but output "${name}" has the shape [${value.shape}] at ${batch + 1} samples` };
        cut.set(name, along(value, axis, i, batch));
      }
      at("oracle");
      const what = await unlike(cut, graph.outputs, [each], isCoarse, () => moved(bytes, parts[i], random));
      if (what !== undefined)
        return { wrong: `freed, but on ${engine.name} samples from ${i} of ${batch + 1} are others: ${what}` };
    }
  }
  return { outcome: "freed" };
}

const note = (line) => {
  if (messagesPath) appendFileSync(messagesPath, `${place}|${line}\n`);
};

async function compare(model, bytes, random) {
  const inputs = drawInputs(model, random);
  if (!inputs) return { outcome: "inputs that cannot be drawn" };
  at("oracle");
  const runs = [];
  for (const optimization of ["disabled", "all"]) runs.push(await oracle.run(bytes, inputs, optimization));
  const expected = runs.flatMap(({ value }) => (value ? [value] : []));
  const hasEnded = runs.some(({ ended }) => ended);
  at("read");
  const read = await attempt(() => readOnnx(bytes, { name: "model.onnx" }));
  if (read.refused !== undefined) {
    if (expected.length === 0) return { outcome: "both refuse" };
    note(`strict|${read.refused}`);
    return { outcome: "refused by us alone" };
  }
  const { graph } = read.value;
  const isCoarse = isHalfModel(model);
  let perturbed;
  const perturb = () => {
    at("oracle");
    perturbed ??= moved(bytes, inputs, random);
    return perturbed;
  };
  const ran = [];
  for (const engine of engines) {
    if (hasEnded && engine.name === "onnxruntime") continue;
    at(engine.name);
    const { value, refused } = await attempt(() => onEngine(engine, graph, inputs));
    if (refused !== undefined) {
      note(`${expected.length > 0 ? "strict" : "refused"} on ${engine.name}|${refused}`);
      continue;
    }
    if (!value) continue;
    if (ran.length === 0 && expected.length === 0 && !hasEnded) {
      const reason = reasonToAccept(runs[0].refused, model);
      note(`${reason === undefined ? "LENIENT" : "lenient"} on ${engine.name}|${runs[0].refused}`);
      if (reason === undefined)
        return { wrong: `accepted on ${engine.name}, but ONNX Runtime says: ${runs[0].refused}` };
    }
    ran.push(value);
    if (expected.length === 0) continue;
    const what = await unlike(value, graph.outputs, expected, isCoarse, perturb);
    if (what === undefined) continue;
    const reason = reasonToDiffer(model, inputs);
    if (reason === undefined) return { wrong: `${engine.name}: ${what}` };
    note(`differs on ${engine.name}|${reason}|${what}`);
    return { outcome: "different, for a reason" };
  }
  if (hasEnded) return { outcome: "ended ONNX Runtime" };
  if (expected.length === 0) return { outcome: ran.length > 0 ? "refused by ONNX Runtime alone" : "both refuse" };
  if (ran.length === 0) return { outcome: "refused by us alone" };
  const freed = await checkFreed({ bytes, graph, isCoarse, random, inputs });
  if (freed.wrong && reasonToDiffer(model, inputs) !== undefined) return { outcome: "different, for a reason" };
  if (freed.wrong) return freed;
  return { outcome: freed.outcome ?? "alike" };
}

const outcomes = {};
const wrong = [];
for (let seed = Number(first); seed < Number(first) + Number(count); seed++) {
  const { model, bytes, done, at: base } = mutated(contents, survey, seed);
  place = `${seed}|${done.join(",")}|${bases[base].name.slice(0, 80)}`;
  let result;
  try {
    result = await compare(model, bytes, createRandom(seed + 1));
  } catch (error) {
    result = { wrong: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
  if (result.wrong !== undefined)
    wrong.push({ seed, done: done.join(", "), base: bases[base].name, what: result.wrong.slice(0, 2000) });
  const outcome = result.outcome ?? "wrong";
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
}
oracle.stop();
console.log(JSON.stringify({ outcomes, wrong }));
