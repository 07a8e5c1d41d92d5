// One binary for every processor: what limits the instruction sets, and that none is used outside the units made for it.
import { execFile, spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { addonPath, isNativeBuilt, notBuilt } from "../support/native.ts";

const run = promisify(execFile);

/** Objects lie beside a binary that was built here, not in the package. */
const objects = isNativeBuilt ? readdirSync(dirname(addonPath)).filter((file) => file.endsWith(".o")) : [];
const hasTools = spawnSync("objdump", ["--version"]).status === 0 && spawnSync("nm", ["--version"]).status === 0;
const canInspect = objects.length > 0 && hasTools && process.arch === "x64";

/** Objects whose code runs on some processors only, by what `dispatch.cpp` asks the processor. */
const setOf = (object: string): string | undefined => /-(avx\w*|amx\w*)\.o$/.exec(object)?.[1];

const large = { maxBuffer: 2 ** 30 };

async function registersIn(object: string): Promise<readonly string[]> {
  const path = join(dirname(addonPath), object);
  const { stdout } = await run("objdump", ["-d", "--no-show-raw-insn", path], large);
  return [...new Set([...stdout.matchAll(/%([yz]mm|tmm|k[1-7]\b)/g)].map((match) => match[1]))].toSorted();
}

describe.skipIf(!canInspect)("the addon's objects (need a build here, objdump and nm)", () => {
  test("code for every processor uses no vectors beyond SSE", async () => {
    const base = objects.filter((object) => setOf(object) === undefined);
    expect(base.length).toBeGreaterThan(5);
    for (const object of base) expect([object, await registersIn(object)]).toEqual([object, []]);
  });

  test("code for AVX2 uses no AVX-512, and the check sees both", async () => {
    expect(await registersIn("kernels-avx2.o")).toEqual(["ymm"]);
    expect(await registersIn("kernels-avx512.o")).toContain("zmm");
  });

  test("units for some processors give the linker no copies that others could get", async () => {
    for (const object of objects.filter((each) => setOf(each) !== undefined)) {
      const { stdout } = await run("nm", ["--defined-only", join(dirname(addonPath), object)], large);
      expect([object, stdout.split("\n").filter((line) => / [WVuw] /.test(line))]).toEqual([object, []]);
    }
  });
});

describe.skipIf(!isNativeBuilt || process.arch !== "x64")(
  `x64's instruction sets${isNativeBuilt ? "" : ` (${notBuilt})`}`,
  () => {
    const information = async (environment: Readonly<Record<string, string>>): Promise<unknown> => {
      const code = `console.log(JSON.stringify(require(${JSON.stringify(addonPath)}).information()))`;
      const { stdout } = await run(process.execPath, ["--eval", code], { env: { ...process.env, ...environment } });
      return JSON.parse(stdout);
    };

    test("are limited by the environment, ours and oneDNN's", async () => {
      const limits = { FROSTBIT_MAX_CPU_ISA: "generic", DNNL_MAX_CPU_ISA: "SSE41", ONEDNN_MAX_CPU_ISA: "SSE41" };
      expect(await information(limits)).toMatchObject({ kernels: "generic", oneDnnKernels: "sse41" });
    });
  },
);
