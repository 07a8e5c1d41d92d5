// Run as a process of its own, since malformed models end it: node oracle-process.js DIST. Runs models in ONNX Runtime.
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as ort from "onnxruntime-node";

const { openSession } = await import(pathToFileURL(join(process.argv[2], "engines/onnxruntime/open-session.js")).href);

async function run({ bytes, inputs, optimization }) {
  const session = await openSession(ort, bytes, { threads: 1, optimization });
  try {
    const wanted = new Map([...inputs].filter(([name]) => session.inputs.has(name)));
    return await session.run(wanted);
  } finally {
    await session.dispose();
  }
}

process.on("message", async (job) => {
  try {
    process.send({ value: await run(job) });
  } catch (error) {
    process.send({ refused: String(error.message) });
  }
});
process.send("ready");
