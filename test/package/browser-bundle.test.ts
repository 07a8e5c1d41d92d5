// frostbit/browser as a bundler sees it: nothing of Node's, no runtime, and how large it is.
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build, type Rolldown } from "vite";
import { beforeAll, describe, expect, test } from "vitest";

const source = join(import.meta.dirname, "../../src");

interface Bundle {
  readonly code: string;
  /** What it consists of, and what it leaves to be loaded from elsewhere. */
  readonly modules: readonly string[];
}

async function bundle(entry: string): Promise<Bundle> {
  const { output } = (await build({
    configFile: false,
    logLevel: "silent",
    build: {
      write: false,
      target: "es2023",
      modulePreload: false,
      rolldownOptions: { input: join(source, entry), preserveEntrySignatures: "strict" },
    },
  })) as Rolldown.RolldownOutput;
  const chunks = output.filter((part) => part.type === "chunk");
  const within = new Set(chunks.map(({ fileName }) => fileName));
  const outside = chunks.flatMap(({ imports, dynamicImports }) => [...imports, ...dynamicImports]);
  return {
    code: chunks.map(({ code }) => code).join("\n"),
    modules: [...chunks.flatMap(({ moduleIds }) => moduleIds), ...outside.filter((file) => !within.has(file))],
  };
}

/** Vite puts an empty module with such a name in the place of one of Node's. */
const isNodes = (module: string): boolean => /__vite-browser-external|^node:/.test(module);

/** The path in src/ of one of Frostbit's modules, or the name of a module's package. */
function originOf(module: string): string {
  const [, name] = module.match(/.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/) ?? [];
  return name ?? module.replace(`${source}/`, "");
}

describe("frostbit/browser, bundled", () => {
  let browser: Bundle;
  beforeAll(async () => {
    browser = await bundle("browser/index.ts");
  });

  test("has none of Node's modules in it", () => {
    expect(browser.modules.length).toBeGreaterThan(100);
    expect(browser.modules.filter(isNodes)).toEqual([]);
    expect(browser.code.match(/\b(process\.(env|cwd|versions|platform)|Buffer\.(from|alloc)|__dirname)\b/g)).toBeNull();
  });

  test("the check finds Node's modules where there are some", async () => {
    const { modules } = await bundle("node/storage.ts");
    expect(modules.filter(isNodes).length).toBeGreaterThan(0);
  });

  test("has no runtime, chart or command line in it, and of other packages three", () => {
    const origins = [...new Set(browser.modules.map(originOf))];
    expect(origins.filter((origin) => /^(node|cli|report|engines\/native)\//.test(origin))).toEqual([]);
    const packages = origins.filter((origin) => !origin.includes("/") || origin.startsWith("@"));
    expect(packages.filter((name) => !name.startsWith("\0")).sort()).toEqual(["@bufbuild/protobuf", "onnx-buf", "zod"]);
  });

  test("is below 860 kB, and below 285 kB compressed", () => {
    expect(browser.code.length).toBeLessThan(860_000);
    expect(gzipSync(browser.code).length).toBeLessThan(285_000);
  });
});
