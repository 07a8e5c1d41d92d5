// Every block of code in README.md, docs/ and the examples' READMEs is run or checked.
import { execFile, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import type { z } from "zod";
import { type AblationPlan, ablationFromRecipe, sweepFromRecipe } from "../../src/ablate/plan.ts";
import { ablateCommandOptions } from "../../src/cli/ablate.ts";
import { imageOptions, preprocessOptions, testDataOptions } from "../../src/cli/data-options.ts";
import { evaluateCommandOptions } from "../../src/cli/evaluate.ts";
import { generateCommandOptions } from "../../src/cli/generate.ts";
import { planOptions } from "../../src/cli/inspect-plan.ts";
import { runFromFlags } from "../../src/cli/method-flags.ts";
import { parseSchemaOptions } from "../../src/cli/options-from-schema.ts";
import { createProgram } from "../../src/cli/program.ts";
import { quantizeCommandOptions } from "../../src/cli/quantize.ts";
import { engineOption, threadsOption } from "../../src/cli/shared-options.ts";
import { sweepCommandOptions } from "../../src/cli/sweep.ts";
import { sweepSourceOptions } from "../../src/cli/sweep-plan.ts";
import { unitCommandOptions } from "../../src/cli/unit.ts";
import { verifyRunOptions } from "../../src/cli/verify-run.ts";
import { withoutDataOptions } from "../../src/cli/without-data.ts";
import { workerCommandOptions } from "../../src/cli/worker.ts";
import { runFromRecipe } from "../../src/options/recipe.ts";
import { type Block, blocksOf, commandsIn, documents, root, textOf, wordsOf } from "../support/markdown.ts";

const run = promisify(execFile);
const blocks = documents.flatMap(blocksOf);
/** Followed by a separate test, test/methods/add-a-method.test.ts. */
const followed = "docs/internals/add-a-method.md";
const written = blocks.filter(({ file }) => !file.startsWith("docs/api/") && file !== followed);

/** Of blocks in these languages something is run or checked below, of ts in add-an-op.test.ts; those without a language show output. */
const languages = ["", "sh", "sh runnable", "js", "js runnable", "ts", "yaml"];

/** Followed by the path of a file in this repository, the code is compiled by add-pages.test.ts. */
const isCompiled = ({ language }: Block): boolean => /^(ts|diff) (src|test)\//.test(language);

/** What needs a registry, a browser or a person. */
const notRun = [
  "npm ci",
  "npm test",
  "npm install frostbit onnxruntime-node",
  "npm install frostbit onnxruntime-web",
  "npm install sharp",
  "npx vite examples/browser",
  "npx vite build examples/browser",
];

const schemasOf: Readonly<Record<string, readonly z.ZodObject[]>> = {
  quickstart: [],
  quantize: [quantizeCommandOptions, withoutDataOptions, preprocessOptions, imageOptions],
  ablate: [ablateCommandOptions, preprocessOptions, imageOptions],
  sweep: [sweepCommandOptions],
  worker: [workerCommandOptions],
  unit: [unitCommandOptions],
  evaluate: [evaluateCommandOptions, preprocessOptions, imageOptions],
  compare: [testDataOptions, threadsOption],
  inspect: [planOptions],
  run: [engineOption, threadsOption],
  generate: [generateCommandOptions],
  doctor: [],
  "verify-run": [verifyRunOptions],
};

/** Parses a command line as the command does, and checks every value; throws what the command would say. */
async function checkFrostbit(words: readonly string[]): Promise<void> {
  const program = createProgram().configureOutput({ writeErr: () => {} });
  for (const command of program.commands) {
    command.configureOutput({ writeErr: () => {} });
    command.action(() => {
      const values = command.opts();
      for (const schema of schemasOf[command.name()]) parseSchemaOptions(schema, values);
      if (command.name() === "quantize") runFromFlags(values);
    });
  }
  await program.parseAsync([...words], { from: "user" });
}

const { scripts } = JSON.parse(textOf("package.json")) as { scripts: Readonly<Record<string, string>> };

/** The source of a file that a build makes. */
const sourceOf = (file: string): string => file.replace(/^build\/(.*)\.js$/, "$1.ts");

/** The command of a clone, which launchers start without npx. */
const ofClone = "$frostbit";

/** What a launcher starts. */
const withoutLauncher = (words: readonly string[]): readonly string[] =>
  words[0] === "mpirun" || words[0] === "srun"
    ? words.slice(words.findIndex((word) => word === "npx" || word === ofClone))
    : words;

async function checkCommand(command: string, file: string): Promise<void> {
  if (notRun.includes(command)) return;
  const [first, second, third, ...rest] = withoutLauncher(wordsOf(command));
  if (first === "npx" && second === "frostbit") return checkFrostbit([third, ...rest]);
  if (first === ofClone) return checkFrostbit([second, third, ...rest]);
  if (first === "frostbit=$PWD/dist/cli/main.js") return;
  if (first === "npm" && second === "run") return void expect(Object.keys(scripts)).toContain(third);
  if (first === "node" && second.startsWith("--")) return;
  const named = first === "node" ? second : command.startsWith("npx tsc -p ") ? rest[0] : undefined;
  if (named !== undefined) {
    const places = [join(root, sourceOf(named)), join(root, dirname(file), named)];
    return void expect(
      places.filter((place) => existsSync(place)),
      `${named} exists`,
    ).not.toEqual([]);
  }
  expect(["cat", "cp", "export"], command).toContain(first);
}

const inLanguage = (...names: readonly string[]): readonly Block[] =>
  written.filter(({ language }) => names.includes(language));

describe("blocks of code", () => {
  test("are in languages that are run or checked here", () => {
    expect(
      written.filter((block) => !languages.includes(block.language) && !isCompiled(block)).map(({ where }) => where),
    ).toEqual([]);
  });

  test.each(inLanguage("sh", "sh runnable"))("$where: commands, options and values exist", async ({ code, file }) => {
    const commands = commandsIn(code);
    expect(commands).not.toEqual([]);
    for (const command of commands) await checkCommand(command, file);
  });

  test.each([
    ["npx frostbit quantise model.onnx", /unknown command 'quantise'/],
    ["npx frostbit quantize model.onnx --data npy:x.npy --bits 4", /unknown option '--bits'/],
    ["npx frostbit quantize model.onnx --data npy:x.npy --weights 9", /--weights is 9; expected/],
    ["npx frostbit evaluate model.onnx --data npy:x.npy --preprocess imagnet", /did you mean "imagenet"/],
    ["npx frostbit inspect", /missing required argument 'model'/],
  ])("the check finds what is wrong with: %s", async (command, message) => {
    await expect(checkCommand(command, "README.md")).rejects.toThrow(message);
  });

  test.each(inLanguage("yaml"))("$where is a recipe", ({ code, where }) => {
    const content = parse(code) as object;
    const optionsOf = ({ cells }: AblationPlan) => cells.map(({ options }) => options);
    const runs =
      "ablate" in content
        ? optionsOf(ablationFromRecipe(content, where))
        : "sweep" in content
          ? optionsOf(sweepFromRecipe(content, where, Object.keys(sweepSourceOptions.shape)))
          : [runFromRecipe(content, where)];
    for (const { seed } of runs) expect(seed).toBeGreaterThanOrEqual(0);
  });

  test.each(inLanguage("js"))("$where is part of an example, which is run", ({ code }) => {
    const names = readdirSync(join(root, "examples"), { recursive: true, encoding: "utf8" });
    const examples = names.filter((name) => name.endsWith(".js"));
    const texts = examples.map((name) => readFileSync(join(root, "examples", name), "utf8"));
    expect(texts.some((text) => text.includes(code.trimEnd()))).toBe(true);
  });

  test("the guide's code is the library example's", () => {
    const guide = blocksOf("docs/guide/quantize-a-cnn.md").find(({ language }) => language === "js runnable");
    expect(textOf("examples/library/quantize.js")).toContain(guide?.code.trimEnd());
  });
});

/** A folder of somebody who has installed Frostbit. */
async function createProject(): Promise<string> {
  const project = await mkdtemp(join(tmpdir(), "frostbit-docs-"));
  await mkdir(join(project, "node_modules/.bin"), { recursive: true });
  await symlink(root, join(project, "node_modules/frostbit"));
  await symlink("../frostbit/dist/cli/main.js", join(project, "node_modules/.bin/frostbit"));
  return project;
}

/** The script with few samples, which is enough to see that it runs; here-documents stay as they are. */
function withFewSamples(script: string): string {
  const joined = script.replaceAll(/ *\\\n\s*/g, " ");
  return joined.replaceAll(/^npx frostbit (?:quantize|evaluate)(?!.* --(?:limit|recipe) ).*$/gm, (command) =>
    command.replace(/(?= # |$)/, " --limit 256"),
  );
}

/** The program likewise. */
const withFewSamplesIn = (program: string): string => program.replace("runOptions.parse({", "$& limit: 256,");

describe("what is marked runnable", () => {
  let project = "";
  beforeAll(async () => {
    project = await createProject();
  });
  afterAll(() => rm(project, { recursive: true }));

  const programs = inLanguage("js runnable");
  test.each([...new Set(programs.map(({ code }) => code))])(
    "program %# runs",
    async (code) => {
      const file = join(project, "program.mjs");
      await writeFile(file, withFewSamplesIn(code));
      const { stdout } = await run(process.execPath, [file], { cwd: project });
      expect(stdout).not.toBe("");
    },
    600_000,
  );

  const shown = [...new Set(inLanguage("sh runnable").map(({ file }) => file))];
  test.each(shown)(
    "the commands of %s run, one after the other",
    async (file) => {
      const folder = await createProject();
      try {
        for (const { language, code, where } of blocksOf(file)) {
          if (language !== "sh runnable") continue;
          const script = `set -e\n${withFewSamples(code)}`;
          const { status, stderr } = spawnSync("bash", ["-c", script], { cwd: folder, encoding: "utf8" });
          expect(status, `${where}\n${stderr}`).toBe(0);
        }
      } finally {
        await rm(folder, { recursive: true });
      }
    },
    600_000,
  );
});

/** What the examples in docstrings take for granted. */
const known = `
import type * as frostbit from "frostbit";
declare global {
  const bytes: Uint8Array<ArrayBuffer>;
  const labels: BigInt64Array<ArrayBuffer>;
  const dataset: frostbit.Dataset;
  const preprocess: frostbit.Preprocess;
  const model: frostbit.OnnxModel;
}
`;

describe("examples in docstrings", () => {
  test("compile", async () => {
    const folder = await createProject();
    try {
      const names = Object.keys(await import("../../src/index.ts"));
      const examples = documents
        .filter((file) => file.startsWith("docs/api/"))
        .flatMap((file) => [...textOf(file).matchAll(/^#+ Example\n\n```ts\n(.*?)^```$/gms)].map(([, code]) => code));
      expect(examples.length).toBeGreaterThan(8);
      for (const [i, code] of examples.entries()) {
        const isUsed = (name: string): boolean => new RegExp(`\\b${name}\\(|\\b${name}\\.`).test(code);
        const used = names.filter(isUsed).join(", ");
        const browser = isUsed("runtimeOf") ? 'import { runtimeOf } from "frostbit/browser";\n' : "";
        const head = `import { ${used} } from "frostbit";\n${browser}`;
        await writeFile(join(folder, `example-${i}.ts`), `${head}\n${code}\nexport {};\n`);
      }
      await writeFile(join(folder, "known.d.ts"), known);
      await symlink(join(root, "node_modules/onnxruntime-web"), join(folder, "node_modules/onnxruntime-web"));
      const compilerOptions = { module: "NodeNext", strict: true, noEmit: true, skipLibCheck: true, types: [] };
      await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions }));
      await writeFile(join(folder, "package.json"), '{ "type": "module" }');
      const tsc = join(root, "node_modules/typescript/bin/tsc");
      expect(spawnSync(process.execPath, [tsc, "-p", folder], { encoding: "utf8" }).stdout).toBe("");
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

/** As GitHub names the places of headings. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
    .trim()
    .replaceAll(" ", "-");

const anchorsIn = (file: string): readonly string[] =>
  [...textOf(file).matchAll(/^#+ (.*)$/gm)].map(([, heading]) => anchorOf(heading));

describe("links", () => {
  test.each(documents.filter((file) => !file.startsWith("docs/api/")))("of %s lead to files and headings", (file) => {
    const links = [...textOf(file).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link);
    const wrong = links.filter((link) => {
      if (/^https?:/.test(link)) return false;
      const [path, anchor] = link.split("#");
      const target = path === "" ? file : join(dirname(file), path);
      if (!existsSync(join(root, target))) return true;
      return anchor !== undefined && !anchorsIn(target).includes(anchor);
    });
    expect(wrong).toEqual([]);
  });
});
