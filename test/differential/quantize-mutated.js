// Run as a separate process: node quantize-mutated.js DIST BASES FIRST COUNT LAST MESSAGES. Quantizes mutated networks, runs what is
// written in ONNX Runtime beside what was given, at its batch, and compares the SQNR between them with the one that was reported.
// What it is at is in the file LAST; what was refused goes into the file MESSAGES, unless that is ""; it prints one line of JSON.
import { appendFileSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { deserialize } from "node:v8";
import { createRandom } from "../malformed/mutations.js";
import { mutatedNetwork, surveyBases } from "./mutate-structure.js";
import { createOracle } from "./oracle.js";

const [dist, basesPath, first, count, lastPath, messagesPath] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(dist, path)).href);
const { FrostbitError, memoryDataset, openDeployed, quantizeModel, readOnnx, resolvePreprocess, runOptions } =
  await load("index.js");
const { selectEngine, tensorOf } = await load("index.js");
const { dtypeOfCode } = await load("onnx/data-types.js");

const bases = deserialize(readFileSync(basesPath)).map(({ name, bytes }) => ({ name, bytes: new Uint8Array(bytes) }));
const contents = bases.map(({ bytes }) => bytes);
const survey = surveyBases(contents);
const oracle = createOracle(dist);
const log = openSync(lastPath, "w");

/** A multiple of every batch that is drawn. */
const samples = 12;
/** Values that round the other way, and classes that change with them. */
const allowedDb = 2;
/** Beyond it, what differs is float32's own rounding. */
const highDb = 60;

const sizeOf = (shape) => shape.reduce((product, size) => product * size, 1);

/** Of each input its type and its shape without the batch; undefined where they have no batch in common. */
function inputsOf({ graph }) {
  const given = new Set(graph.initializer.map(({ name }) => name));
  const inputs = graph.input.filter(({ name }) => !given.has(name));
  const types = inputs.map(({ name, type }) => {
    const tensor = type.value.value;
    const [batch, ...rest] = tensor.shape.dim.map(({ value }) => (value.case === "dimValue" ? Number(value.value) : 2));
    return { name, dtype: dtypeOfCode(tensor.elemType), batch, rest };
  });
  const [{ batch } = {}] = types;
  const agrees = types.every((type) => type.batch === batch && /^float32$|^int(32|64)$/.test(type.dtype));
  return agrees && batch > 0 && samples % batch === 0 ? { batch, types } : undefined;
}

function drawData({ types }, random) {
  return new Map(
    types.map(({ name, dtype, rest }) => {
      const draw = dtype === "float32" ? () => 4 * random.next() - 2 : () => random.integer(3);
      const shape = [samples, ...rest];
      return [name, tensorOf(dtype, shape, Array.from({ length: sizeOf(shape) }, draw))];
    }),
  );
}

/** All samples, `batch` at a time: the elements of each output, one run after the other. */
async function runAll(bytes, data, batch) {
  const outputs = new Map();
  for (let start = 0; start < samples; start += batch) {
    const part = new Map(
      [...data].map(([name, value]) => {
        const size = sizeOf(value.shape.slice(1));
        const elements = value.data.slice(start * size, (start + batch) * size);
        return [name, { ...value, shape: [batch, ...value.shape.slice(1)], data: elements }];
      }),
    );
    const { value, refused = "it ended" } = await oracle.run(bytes, part, "all");
    if (!value) return { refused };
    for (const [name, { shape, data: elements }] of value) {
      const whole = outputs.get(name) ?? { shapes: [], elements: [] };
      whole.shapes.push(shape.join());
      for (const element of elements) whole.elements.push(Number(element));
      outputs.set(name, whole);
    }
  }
  return { outputs };
}

function decibels(expected, actual) {
  let [signal, noise] = [0, 0];
  expected.forEach((value, i) => {
    signal += value * value;
    noise += (actual[i] - value) ** 2;
  });
  return noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / noise);
}

const isAlike = (reported, found) =>
  Object.is(reported, found) || Math.abs(reported - found) <= allowedDb || (reported > highDb && found > highDb);

/** What of the outcome is not true, in words. */
async function checkOutcome(outcome, given, data, batch) {
  const written = await runAll(outcome.bytes, data, batch);
  if (!written.outputs) return `ONNX Runtime does not run what was written at batch ${batch}: ${written.refused}`;
  for (const { name, sqnrDb } of outcome.fidelity?.get("deployed") ?? []) {
    const [expected, actual] = [given.outputs.get(name), written.outputs.get(name)];
    if (!actual) return `the written file has no output "${name}"`;
    if (String(expected.shapes) !== String(actual.shapes))
      return `output "${name}" is [${actual.shapes[0]}], given was [${expected.shapes[0]}]`;
    const found = decibels(expected.elements, actual.elements);
    if (!isAlike(sqnrDb, found)) return `output "${name}" is reported at ${sqnrDb} dB, and is at ${found} dB`;
  }
  return undefined;
}

async function quantized(model, bytes, random) {
  const inputs = inputsOf(model);
  if (!inputs) return { outcome: "no batch in common" };
  const data = drawData(inputs, random);
  const given = await runAll(bytes, data, inputs.batch);
  if (!given.outputs) return { outcome: "refused by ONNX Runtime" };
  const placement = random.choose(["inputs", "runtime"]);
  try {
    const dataset = memoryDataset("drawn", data);
    const read = readOnnx(bytes, { name: "model.onnx" });
    const outcome = await quantizeModel(
      {
        model: read,
        source: { train: dataset, test: dataset, heldOut: false },
        preprocess: resolvePreprocess("none"),
        options: runOptions.parse({ quantize: { placement }, methods: [] }),
        openDeployed: (file) => openDeployed(file, { threads: 1 }),
      },
      { engine: selectEngine("auto", [read.graph]), seed: 0, precision: "float32", threads: 1 },
    );
    const wrong = await checkOutcome(outcome, given, data, inputs.batch);
    return wrong === undefined ? { outcome: `true in placement ${placement}` } : { wrong: `${placement}: ${wrong}` };
  } catch (error) {
    if (!(error instanceof FrostbitError) || error.message.includes("internal:")) throw error;
    if (messagesPath) appendFileSync(messagesPath, `${error.code} ${error.message.replaceAll("\n", " ")}\n`);
    return { outcome: `refused: ${error.code}` };
  }
}

const outcomes = {};
const wrong = [];
for (let seed = Number(first); seed < Number(first) + Number(count); seed++) {
  const { model, bytes, done, at } = mutatedNetwork(contents, survey, seed);
  writeSync(log, `${seed}|${done.join(",")}|${bases[at].name}`.padEnd(250).slice(0, 250), 0);
  if (messagesPath) appendFileSync(messagesPath, `${seed}|${done.join(",")}|${bases[at].name}: `);
  let result;
  try {
    result = await quantized(model, bytes, createRandom(seed + 1));
  } catch (error) {
    result = { wrong: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
  if (messagesPath) appendFileSync(messagesPath, `${result.outcome ?? "wrong"}\n`);
  if (result.wrong !== undefined)
    wrong.push({ seed, done: done.join(", "), base: bases[at].name, what: result.wrong.slice(0, 2000) });
  const outcome = result.outcome ?? "wrong";
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
}
oracle.stop();
console.log(JSON.stringify({ outcomes, wrong }));
