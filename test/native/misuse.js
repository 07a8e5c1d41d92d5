// Run as a process of its own: node misuse.js ADDON NAME. Does one thing to the addon that nobody should, and prints what came of it.
import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";

const [addonPath, name] = process.argv.slice(2);
const { Memory, Program } = createRequire(import.meta.url)(addonPath);

const elements = 1 << 20;
const none = new Float64Array();

/** Adds a value to itself `count` times; each step takes about a millisecond. */
function longProgram(count, threads = 2, memory = new Memory(8 * elements)) {
  const step = {
    kernel: "binary",
    places: Float64Array.of(0, 0, 4 * elements, 0, 0, 4 * elements, 0, 4 * elements, 4 * elements),
    ints: Float64Array.of(0, 0, 1, elements, elements),
    floats: none,
  };
  return { memory, program: new Program(threads, [memory], Array(count).fill(step), count) };
}

const message = async (action) => {
  try {
    return await action();
  } catch (error) {
    return error instanceof Error ? error.message : `not an Error: ${error}`;
  }
};

const misuses = {
  async detachedDuringARun() {
    const { memory, program } = longProgram(100);
    const result = new Float32Array(elements);
    const running = program.run(none, [memory, 4 * elements, result]);
    structuredClone(result, { transfer: [result.buffer] });
    globalThis.gc();
    return message(() => running);
  },
  async shrunkDuringARun() {
    const { memory, program } = longProgram(100);
    const buffer = new ArrayBuffer(4 * elements, { maxByteLength: 8 * elements });
    const running = program.run(none, [memory, 4 * elements, new Float32Array(buffer)]);
    buffer.resize(4);
    return message(() => running);
  },
  async sharedAndDetachedBuffers() {
    const { memory, program } = longProgram(1);
    const detached = new Float32Array(4);
    structuredClone(detached, { transfer: [detached.buffer] });
    const shared = new Float32Array(new SharedArrayBuffer(16));
    return [
      await message(() => memory.write(0, shared)),
      await message(() => memory.read(0, shared)),
      await message(() => program.run(none, [memory, 0, shared])),
      await message(() => program.run(new Float64Array(new SharedArrayBuffer(16)), [])),
      await message(() => memory.write(0, detached) ?? "nothing is written"),
      await message(() => memory.write(0, [1, 2])),
      await message(() => memory.write(0, new DataView(new ArrayBuffer(4)))),
      await message(() => memory.write(0)),
    ];
  },
  async objectsOfOtherKinds() {
    const { memory, program } = longProgram(1);
    return [
      await message(() => new Program(1, [program], [], 0)),
      await message(() => new Program(1, [{}], [], 0)),
      await message(() => new Program(1, [Object.create(memory)], [], 0)),
      await message(() => program.run(none, [program, 0, new Float32Array(1)])),
      await message(() => Program.prototype.run.call(memory, none, [])),
      await message(() => Memory.prototype.write.call(program, 0, new Float32Array(1))),
      await message(() => Memory.prototype.read.call({}, 0, new Float32Array(1))),
      await message(() => Memory(64)),
      await message(
        () =>
          new Program(
            1,
            [memory],
            [
              {
                get kernel() {
                  throw new Error("from a getter");
                },
              },
            ],
            0,
          ),
      ),
      await message(() => new Program(1, [memory], "steps", 0)),
      await message(() => new Program()),
      await message(() => new Memory(Number.NaN)),
      await message(() => program.run(none, [memory, 0])),
    ];
  },
  async givenThatDoesNotFit() {
    const memory = new Memory(64);
    const program = new Program(1, [memory], [], 0);
    const all = Int32Array.of(0);
    const given = (to, offset, channels, plane, arrays, bytes = 16, places = all, turns = 1) =>
      message(() => program.run(none, [], [to, offset, channels, plane, arrays, bytes, places], turns));
    const detached = new Float32Array(4);
    structuredClone(detached, { transfer: [detached.buffer] });
    return [
      await message(() => program.run(none, [], [memory, 0, 1, 1])),
      await given(memory, 0, 1, 1, new Float32Array(4)),
      await given(program, 0, 1, 1, []),
      await given(memory, 0, 1, 1, [new Float32Array(new SharedArrayBuffer(16))]),
      await given(memory, 0, 1, 1, [new Float32Array(17)], 68),
      await given(memory, 60, 1, 1, [new Float32Array(2)], 8),
      await given(memory, 0, 1, 1, [new Float32Array(4)], 16, Int32Array.of(0, 0, 0, 0, 0)),
      await given(memory, 0, 3, 2, [new Float32Array(4)]),
      await given(memory, 0, 2 ** 40, 2 ** 40, [new Float32Array(4)]),
      await given(memory, 0, 1, 1, [detached, new Float32Array(16)]),
      await given(memory, 0, 1, 1, [new Float32Array(6), new Float32Array(4)], 8, Int32Array.of(5)),
      await given(memory, 0, 1, 1, [new Float32Array(4)], 16, Int32Array.of(1)),
      await given(memory, 0, 1, 1, [new Float32Array(4)], 16, Int32Array.of(-1)),
      await given(memory, 0, 1, 1, [new Float32Array(4)], 16, new Float32Array(1)),
      await given(memory, 0, 1, 1, [new Float32Array(4)], 0),
      await given(memory, 0, 1, 1, [new Float32Array(4)], 16, Int32Array.of(0, 0, 0), 2),
      await given(memory, 0, 1, 1, [new Float32Array(4)], 16, all, 0),
      await given(memory, 0, 1, 1, [new Float32Array(4)], 16, all, 4097),
      await message(() => program.run(none, [memory, 0, new Float32Array(3)], [], 5)),
      await message(() => program.run(none, [memory, 60, new Float32Array(4)], [], 2)),
      await given(memory, 0, 2, 4, [new Float32Array(8), new Float32Array(8)], 32, Int32Array.of(1, 0, 1, 1), 2),
      await given(memory, 0, 1, 1, [], 0, new Int32Array()),
    ];
  },
  async seriesOfRuns() {
    const memory = new Memory(64);
    const program = new Program(2, [memory], [], 0);
    const results = new Float32Array(4);
    const pieces = [Float32Array.of(1, 2), Float32Array.of(3)];
    await program.run(none, [memory, 8, results], [memory, 8, 1, 1, pieces, 4, Int32Array.of(2, 0, 1, 2)], 4);
    return [...results];
  },
  async operationsOfThemselves() {
    const step = { kernel: "fused", places: none, ints: Float64Array.of(0, 1), floats: none, operations: [] };
    step.operations.push(step);
    return message(() => new Program(1, [], [step], 0));
  },
  async droppedDuringARun() {
    let running;
    {
      const { memory, program } = longProgram(100);
      running = program.run(none, [memory, 4 * elements, new Float32Array(4)]);
    }
    for (let i = 0; i < 5; i++) {
      globalThis.gc();
      await new Promise((resolve) => setImmediate(resolve));
    }
    return running;
  },
  async disposedOf() {
    const { memory, program } = longProgram(100);
    const result = new Float32Array(1).fill(7);
    memory.write(0, new Float32Array(elements).fill(1.5));
    const running = program.run(none, [memory, 4 * elements, result]);
    for (const object of [program, memory, program, memory]) object.dispose();
    const ran = await running;
    return [
      ...[ran, result[0]],
      await message(() => program.run(none, [])),
      await message(() => program.describe()),
      await message(() => program.times()),
      await message(() => program.abort() ?? "nothing is aborted"),
      await message(() => memory.read(0, result)),
      await message(() => memory.write(0, result)),
      await message(() => new Program(1, [memory], [], 0)),
    ];
  },
  async twiceAtOnce() {
    const { memory, program } = longProgram(50);
    const running = program.run(none, []);
    const again = await message(() => program.run(none, []));
    return [again, await running, await program.run(none, [memory, 0, new Float32Array(1)])];
  },
  async twoProgramsAtOnce() {
    const memory = new Memory(8 * elements);
    const programs = [1, 2, 2, 3].map((threads) => longProgram(50, threads, memory).program);
    return Promise.all(programs.map((program) => program.run(none, [])));
  },
  async aborted() {
    const { program } = longProgram(4000);
    const running = program.run(none, []);
    setTimeout(() => program.abort(), 20);
    const wasStopped = !(await running);
    program.abort();
    const { program: fresh } = longProgram(1);
    fresh.abort();
    return [wasStopped, await fresh.run(none, [])];
  },
  async workerThreads() {
    const code = `
      const { parentPort, workerData } = require("node:worker_threads");
      const { Memory, Program } = require(workerData);
      const memory = new Memory(8 << 20);
      memory.write(0, new Float32Array(1 << 20).fill(1.5));
      const step = { kernel: "binary", floats: new Float64Array(), ints: Float64Array.of(0, 0, 1, 1 << 20, 1 << 20),
        places: Float64Array.of(0, 0, 4 << 20, 0, 0, 4 << 20, 0, 4 << 20, 4 << 20) };
      const program = new Program(2, [memory], Array(20).fill(step), 20);
      const result = new Float32Array(1);
      program.run(new Float64Array(), [memory, 4 << 20, result]).then(() => parentPort.postMessage(result[0]));
    `;
    const start = () =>
      new Promise((resolve, reject) => {
        const worker = new Worker(code, { eval: true, workerData: addonPath });
        worker.once("message", resolve);
        worker.once("error", reject);
      });
    const { program } = longProgram(50);
    const here = program.run(none, []);
    return [...(await Promise.all([start(), start(), start()])), await here];
  },
  async terminatedWorkers() {
    const code = `
      const { parentPort, workerData } = require("node:worker_threads");
      const { Memory, Program } = require(workerData);
      const memory = new Memory(8 << 20);
      const step = { kernel: "binary", floats: new Float64Array(), ints: Float64Array.of(0, 0, 1, 1 << 20, 1 << 20),
        places: Float64Array.of(0, 0, 4 << 20, 0, 0, 4 << 20, 0, 4 << 20, 4 << 20) };
      const program = new Program(2, [memory], Array(200).fill(step), 200);
      program.run(new Float64Array(), [memory, 4 << 20, new Float32Array(1)]);
      parentPort.postMessage("running");
    `;
    const codes = [];
    for (let i = 0; i < 5; i++) {
      const worker = new Worker(code, { eval: true, workerData: addonPath });
      await new Promise((resolve) => worker.once("message", resolve));
      codes.push(await worker.terminate());
    }
    const { program } = longProgram(2);
    return [codes.length, await program.run(none, [])];
  },
  async exitDuringARun() {
    const { program } = longProgram(300);
    program.run(none, []);
    console.log(JSON.stringify("leaving"));
    process.exit(0);
  },
  async tooMuchMemory() {
    return message(() => new Memory(1e14));
  },
  async tooManyThreads() {
    return message(() => longProgram(1, 1024).program.run(none, []));
  },
};

console.log(
  JSON.stringify(await misuses[name](), (_key, value) => (typeof value === "number" ? Math.fround(value) : value)),
);
