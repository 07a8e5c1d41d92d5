// What nobody should do to the addon: each in a process of its own, which must live on to say what came of it.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { addonPath, isNativeBuilt, notBuilt } from "../support/native.ts";

const run = promisify(execFile);

async function outcomeOf(misuse: string): Promise<unknown> {
  const script = join(import.meta.dirname, "misuse.js");
  const { stdout, stderr } = await run(process.execPath, ["--expose-gc", script, addonPath, misuse]);
  expect(stderr).toBe("");
  return JSON.parse(stdout);
}

describe.skipIf(!isNativeBuilt)(`the addon outlives${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  test("a result's array that is detached or made shorter while the program runs", async () => {
    const refused = "a result's array was changed during the run";
    expect(await outcomeOf("detachedDuringARun")).toBe(refused);
    expect(await outcomeOf("shrunkDuringARun")).toBe(refused);
  });

  test("shared and detached buffers, and what is no typed array", async () => {
    const shared = "expected a typed array that is not shared";
    const other = "expected a typed array";
    expect(await outcomeOf("sharedAndDetachedBuffers")).toEqual([
      ...[shared, shared, shared, shared, "nothing is written"],
      ...[other, other, other],
    ]);
  });

  test("objects of other kinds, and arguments that are none", async () => {
    const memory = "expected a Memory";
    const receiver = "Illegal invocation";
    expect(await outcomeOf("objectsOfOtherKinds")).toEqual([
      ...[memory, memory, memory, memory, receiver, receiver, receiver],
      "Class constructors cannot be invoked without 'new'",
      "from a getter",
      "expected memories and steps",
      "expected a number",
      "expected a number of bytes",
      "expected results of a memory, an offset and an array",
    ]);
  });

  test("arrays for a run that do not fit where they are to go", async () => {
    const [outside, images] = ["what is given lies outside its memory", "expected whole images of 32-bit elements"];
    const [piece, unequal, turns] = [
      "there is no such piece",
      "expected arrays of as many pieces",
      "expected 1 to 4096 turns",
    ];
    expect(await outcomeOf("givenThatDoesNotFit")).toEqual([
      ...["expected what is given in seven parts each", "expected arrays", "expected a Memory"],
      ...["expected a typed array that is not shared", outside, outside, outside, images, images, unequal],
      ...[piece, piece, piece, "expected an Int32Array", piece, "expected as many pieces for each turn", turns, turns],
      ...["expected as many bytes of each turn", "a result lies outside its memory", true, true],
    ]);
  });

  test("several runs in one, each with pieces and a result of its own", async () => {
    expect(await outcomeOf("seriesOfRuns")).toEqual([3, 1, 2, 3]);
  });

  test("a step that is its own part", async () => {
    expect(await outcomeOf("operationsOfThemselves")).toBe("expected fused operations without operations of their own");
  });

  test("a program that is collected while it runs", async () => {
    expect(await outcomeOf("droppedDuringARun")).toBe(true);
  });

  test("a program and a memory that are disposed of during a run, and used after it", async () => {
    const [program, memory] = ["the program was disposed of", "the memory was disposed of"];
    expect(await outcomeOf("disposedOf")).toEqual([
      ...[true, 3],
      ...[program, program, program, "nothing is aborted"],
      ...[memory, memory, memory],
    ]);
  });

  test("a second run of a program that runs, and programs that share a memory", async () => {
    expect(await outcomeOf("twiceAtOnce")).toEqual(["the program is running", true, true]);
    expect(await outcomeOf("twoProgramsAtOnce")).toEqual([true, true, true, true]);
  });

  test("an abort during a run, after one and before any", async () => {
    expect(await outcomeOf("aborted")).toEqual([true, true]);
  });

  test("worker threads that compute at once", async () => {
    expect(await outcomeOf("workerThreads")).toEqual([3, 3, 3, true]);
  });

  test("worker threads that are terminated while their programs run", async () => {
    expect(await outcomeOf("terminatedWorkers")).toEqual([5, true]);
  });

  test("the end of the process during a run", async () => {
    expect(await outcomeOf("exitDuringARun")).toBe("leaving");
  });
});
