// The file of remembered kernels, whatever becomes of it.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, expect, test } from "vitest";
import {
  canRemember,
  isWritable,
  kernelCachePath,
  type RememberedKernel,
  readKernelCache,
  rememberKernels,
} from "./kernel-cache.ts";

const folder = mkdtempSync(join(tmpdir(), "frostbit-kernels-"));
afterAll(() => rmSync(folder, { recursive: true }));

let made = 0;
function newPath(): string {
  const path = join(folder, String(made++), "frostbit", "kernels.json");
  mkdirSync(dirname(path), { recursive: true });
  return path;
}

const answer = (kernel: string, tuning: RememberedKernel["tuning"] = "fast"): RememberedKernel => ({
  kernel,
  tuning,
  ms: { [kernel]: 1.5, other: 2 },
});

const answersOf = (path: string, machine = "here") =>
  Object.fromEntries(
    [...(readKernelCache(path).machines.get(machine) ?? [])].map(([key, { kernel }]) => [key, kernel]),
  );

test("is in the user's cache folder, where that is an absolute path", () => {
  expect(kernelCachePath({ XDG_CACHE_HOME: "/caches" })).toBe("/caches/frostbit/kernels.json");
  const usual = kernelCachePath({});
  expect(usual).toMatch(/\.cache\/frostbit\/kernels\.json$/);
  for (const given of ["", "caches"]) expect(kernelCachePath({ XDG_CACHE_HOME: given })).toBe(usual);
});

test("what was measured first stays, until it is measured thoroughly", async () => {
  const path = newPath();
  expect(readKernelCache(path)).toEqual({ machines: new Map() });
  await rememberKernels(path, "here", new Map([["a", answer("first")]]));
  const all = await rememberKernels(
    path,
    "here",
    new Map([
      ["a", answer("second")],
      ["b", answer("new")],
    ]),
  );
  expect(all && [...all].map(([, { kernel }]) => kernel)).toEqual(["first", "new"]);
  expect(answersOf(path)).toEqual({ a: "first", b: "new" });
  for (const later of [answer("third", "thorough"), answer("fourth"), answer("fifth", "thorough")])
    await rememberKernels(path, "here", new Map([["a", later]]));
  expect(answersOf(path)).toEqual({ a: "third", b: "new" });
});

test("machines are kept apart", async () => {
  const path = newPath();
  await rememberKernels(path, "here", new Map([["a", answer("one")]]));
  await rememberKernels(path, "there", new Map([["a", answer("other")]]));
  expect(answersOf(path)).toEqual({ a: "one" });
  expect(answersOf(path, "there")).toEqual({ a: "other" });
});

test.each([
  ["half of it", (text: string) => text.slice(0, text.length / 2), /JSON/],
  ["another format", (text: string) => text.replace("frostbit-kernels-1", "frostbit-kernels-9"), /frostbit-kernels-1/],
  ["other contents", () => '{"format": "frostbit-kernels-1", "machines": {"here": {"a": 7}}}', /expected object/],
  ["nothing", () => "", /JSON/],
])("of a file that holds %s the reason is told, and the next one is whole", async (_, damaged, reason) => {
  const path = newPath();
  await rememberKernels(path, "here", new Map([["a", answer("one")]]));
  writeFileSync(path, damaged(readFileSync(path, "utf8")));
  const { machines, problem } = readKernelCache(path);
  expect(machines.size).toBe(0);
  expect(problem).toMatch(reason);
  await rememberKernels(path, "here", new Map([["b", answer("two")]]));
  expect(answersOf(path)).toEqual({ b: "two" });
});

test("a full file loses what was measured first", async () => {
  const path = newPath();
  await rememberKernels(path, "there", new Map([["old", answer("old")]]));
  const many = Array.from({ length: 4096 }, (_, i) => [`q${i}`, answer("k")] as const);
  await rememberKernels(path, "here", new Map(many));
  expect([...readKernelCache(path).machines.keys()]).toEqual(["here"]);
  await rememberKernels(path, "here", new Map([["new", answer("k")]]));
  const kept = Object.keys(answersOf(path));
  expect(kept).toHaveLength(4096);
  expect([kept[0], kept.at(-1)]).toEqual(["q1", "new"]);
});

test("nothing is remembered where nothing can be written", async () => {
  const file = join(folder, "a-file");
  writeFileSync(file, "");
  const path = join(file, "frostbit", "kernels.json");
  expect(readKernelCache(path)).toEqual({ machines: new Map() });
  expect(await canRemember(path)).toBe(false);
  expect(await isWritable(path)).toBe(false);
  expect(await rememberKernels(path, "here", new Map([["a", answer("one")]]))).toBeUndefined();
  const missing = join(folder, "not", "there", "kernels.json");
  expect(await isWritable(missing)).toBe(true);
  expect(existsSync(dirname(missing))).toBe(false);
});

test("writers at once lose nothing, and all get the same answers", async () => {
  const path = newPath();
  const writers = Array.from({ length: 12 }, (_, i) => {
    const own = new Map([
      ["shared", answer(`writer ${i}`)],
      [`own ${i}`, answer("k")],
    ]);
    return rememberKernels(path, "here", own);
  });
  const shared = (await Promise.all(writers)).map((all) => all?.get("shared")?.kernel);
  expect(new Set(shared).size).toBe(1);
  expect(shared[0]).toBe(answersOf(path)["shared"]);
  expect(Object.keys(answersOf(path))).toHaveLength(13);
  expect(readdirSync(dirname(path))).toEqual(["kernels.json"]);
});

test("a lock that a killed process left is taken over", async () => {
  const path = newPath();
  writeFileSync(`${path}.lock`, "");
  const longAgo = new Date(Date.now() - 60_000);
  utimesSync(`${path}.lock`, longAgo, longAgo);
  await rememberKernels(path, "here", new Map([["a", answer("one")]]));
  expect(answersOf(path)).toEqual({ a: "one" });
});
