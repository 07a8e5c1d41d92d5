// ONNX Runtime as the oracle, in a process that may end.
import { fork } from "node:child_process";
import { join } from "node:path";

/** A job takes longer only where ONNX Runtime hangs. */
const maxMs = 10_000;

function start(dist) {
  const child = fork(join(import.meta.dirname, "oracle-process.js"), [dist], {
    serialization: "advanced",
    stdio: "ignore",
  });
  return { child, ready: next(child) };
}

/** The next message, or `undefined` where the process ends first. */
function next(child) {
  return new Promise((resolve) => {
    const end = (value) => {
      child.off("message", end);
      child.off("exit", gone);
      resolve(value);
    };
    const gone = () => end(undefined);
    child.on("message", end);
    child.on("exit", gone);
  });
}

/** `run` gives `{ value }`, `{ refused }`, or `{ ended }` where ONNX Runtime took its process with it. */
export function createOracle(dist) {
  let running = start(dist);
  const run = async (bytes, inputs, optimization) => {
    await running.ready;
    const { child } = running;
    const answer = next(child);
    const timer = setTimeout(() => child.kill("SIGKILL"), maxMs);
    child.send({ bytes, inputs, optimization });
    const result = await answer;
    clearTimeout(timer);
    if (result !== undefined) return result;
    running = start(dist);
    return { ended: true };
  };
  return { run, stop: () => running.child.kill() };
}
