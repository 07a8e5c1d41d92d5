// Run as a separate process: node --expose-gc read-models.js DIST BASES FIRST COUNT ENGINE LAST MESSAGES. Reads malformed models,
// and compiles and runs the small ones, on ENGINE or on "any", drawn per model. What it is at is in the file LAST; what was refused
// and how goes into the file MESSAGES, unless that is ""; what it prints at the end is one line of JSON.
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { deserialize } from "node:v8";
import { createRandom, malformed } from "./mutations.js";

const [dist, basesPath, first, count, engineName, lastPath, messagesPath] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(dist, path)).href);
const { FrostbitError, inspectModel, readOnnx, selectEngine, tensorOf } = await load("index.js");
const { isNativeBuilt } = await load("engines/native/addon.js");
// Plain arrays: what a Buffer slices, it shares.
const bases = deserialize(readFileSync(basesPath)).map(({ name, bytes }) => ({ name, bytes: new Uint8Array(bytes) }));
const contents = bases.map(({ bytes }) => bytes);
const engineNames = ["reference", "onnxruntime", ...(isNativeBuilt() ? ["native"] : [])];

/** Of the processor. */
const maxMs = 10_000;
/** Beyond ten times the file. */
const maxBytes = 200e6;
const maxElements = 1e6;
const maxMultiplyAdds = 1e7;

const sizeOf = (shape) => shape.reduce((product, size) => product * (typeof size === "number" ? size : 2), 1);

/** Values whose sizes depend on what the inputs hold; a chain of them may grow without end. */
const maxUnknown = 4;

/** Whether running it is a matter of milliseconds. */
function isSmall({ graph }, inspection) {
  const given = new Set(graph.inputs.flatMap((name) => graph.values.get(name).shape));
  let [elements, unknown] = [0, 0];
  for (const { shape } of graph.values.values()) {
    elements += sizeOf(shape);
    if (shape.some((size) => typeof size === "string" && !given.has(size))) unknown++;
  }
  return elements <= maxElements && unknown <= maxUnknown && inspection.multiplyAdds <= maxMultiplyAdds;
}

function inputsOf(graph, random) {
  const sizes = new Map();
  return new Map(
    graph.inputs.map((name) => {
      const { dtype, shape } = graph.values.get(name);
      const sizeOfDim = (dim) => {
        if (typeof dim === "number") return dim;
        if (!sizes.has(dim)) sizes.set(dim, 1 + random.integer(3));
        return sizes.get(dim);
      };
      const fixed = shape.map(sizeOfDim);
      const isFloat = dtype.startsWith("float");
      const data = Array.from({ length: sizeOf(fixed) }, () => (isFloat ? 4 * random.next() - 2 : random.integer(2)));
      return [name, tensorOf(dtype, fixed, data)];
    }),
  );
}

async function run({ graph }, random) {
  const drawn = random.choose(engineNames);
  const engine = selectEngine(engineName === "any" ? drawn : engineName, [graph]);
  if (graph.nodes.some((node) => !engine.supports(node, graph))) return `not for ${engine.name}`;
  const executable = await engine.compile(graph, { threads: 1 });
  try {
    await executable.bind(await engine.variables(new Map())).run(inputsOf(graph, random));
    return `ran on ${engine.name}`;
  } finally {
    await executable.dispose();
  }
}

async function attempt(bytes, random, refused) {
  try {
    const model = readOnnx(bytes, { name: "model.onnx" });
    const inspection = inspectModel(model.graph);
    if (!isSmall(model, inspection)) return "read";
    return await run(model, random);
  } catch (error) {
    if (!(error instanceof FrostbitError) || error.message.length <= 10 || error.message.includes("internal:"))
      throw error;
    refused(error.message);
    return error.code;
  }
}

/** The most memory that was in use since the last call, in bytes; `undefined` where the system does not tell. */
function resetPeak() {
  try {
    const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "latin1"))?.[1]) * 1024;
    writeFileSync("/proc/self/clear_refs", "5");
    return peak;
  } catch {
    return undefined;
  }
}

const log = openSync(lastPath, "w");
const messages = messagesPath ? openSync(messagesPath, "a") : undefined;
const outcomes = {};
const wrong = [];
for (let seed = Number(first); seed < Number(first) + Number(count); seed++) {
  const { bytes, done, at } = malformed(contents, seed);
  writeSync(log, `${seed}: ${done.join(", ")} of ${bases[at].name}`.padEnd(200).slice(0, 200), 0);
  if (seed % 100 === 0) globalThis.gc();
  resetPeak();
  const before = process.memoryUsage.rss();
  const start = process.cpuUsage();
  let outcome;
  try {
    outcome = await attempt(bytes, createRandom(seed + 1), (message) => {
      if (messages !== undefined) writeSync(messages, `${seed} ${done.join(",")} of ${bases[at].name}: ${message}\n`);
    });
  } catch (error) {
    outcome = "wrong";
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
    wrong.push({ seed, done, base: bases[at].name, what: what.slice(0, 3000) });
  }
  const { user, system } = process.cpuUsage(start);
  const [ms, grown] = [(user + system) / 1000, (resetPeak() ?? before) - before];
  if (ms > maxMs || grown > 10 * bytes.length + maxBytes)
    wrong.push({ seed, done, base: bases[at].name, what: `${outcome}: ${ms} ms, ${grown} bytes for ${bytes.length}` });
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
}
closeSync(log);
console.log(JSON.stringify({ outcomes, wrong }));
