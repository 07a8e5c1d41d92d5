// Which folder may import which, checked: the folder list in docs/internals/architecture.md, read from top to bottom.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { describe, expect, test } from "vitest";

const root = join(import.meta.dirname, "..");
const source = join(root, "src");

const core = ["ir", "ops", "passes"];

/** One folder each; no method imports another. */
const methodFolders = readdirSync(join(source, "methods"), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => `methods/${name}`);

const ofMethods = [
  ...core,
  ...[
    "run",
    "distributed",
    "units",
    "rounding",
    "reconstruction",
    "autodiff",
    "quantizers",
    "calibration",
    "training",
    "evaluate",
    "engines",
    "data",
    "methods",
  ],
];

/** What each unit may import besides itself. A unit is a folder of src/, or a folder of engines/ and methods/. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  ir: [],
  ops: ["ir"],
  kernels: ["ir", "ops"],
  /** Constants are folded with the kernels. */
  passes: ["ir", "ops", "kernels"],
  onnx: core,
  "language-models": ["ir", "ops", "data"],
  autodiff: core,
  quantizers: core,
  /** `table.ts` alone knows the engines. */
  engines: [...core, "engines/reference", "engines/onnxruntime", "engines/native"],
  "engines/reference": [...core, "kernels", "engines"],
  "engines/onnxruntime": [...core, "engines", "onnx"],
  "engines/planning": core,
  "engines/native": [...core, "engines", "engines/planning"],
  data: ["ir"],
  distributed: ["ir", "data"],
  run: [...core, "distributed", "engines", "data"],
  training: [...core, "distributed", "run", "autodiff", "quantizers", "engines", "data"],
  units: [...core, "quantizers", "run", "engines", "data", "training"],
  calibration: [...core, "distributed", "run", "quantizers", "engines", "data", "training", "evaluate"],
  evaluate: [...core, "distributed", "quantizers", "run", "engines", "data", "training"],
  methods: [
    ...core,
    "distributed",
    "run",
    "quantizers",
    "calibration",
    "training",
    "evaluate",
    "engines",
    "data",
    /** `rounding-method.ts` and `reconstruction-method.ts` alone. */
    "rounding",
    "reconstruction",
    "units",
    /** `index.ts` alone. */
    ...methodFolders,
  ],
  ...Object.fromEntries(methodFolders.map((folder) => [folder, ofMethods])),
  rounding: [...core, "distributed", "units", "run", "quantizers", "engines", "data"],
  reconstruction: [
    ...core,
    "units",
    "rounding",
    "run",
    "autodiff",
    "quantizers",
    "calibration",
    "training",
    "engines",
    "data",
  ],
  export: [...core, "units", "run", "quantizers", "onnx", "language-models", "engines", "data", "training", "evaluate"],
  forms: [...core, "quantizers", "onnx", "data", "run", "evaluate", "export"],
  options: ["ir", "quantizers", "training", "evaluate", "methods", "methods/ptq", "methods/mixed-precision"],
  ablate: ["ir", "options", "methods", "evaluate", "report"],
  inspect: [...core, "run", "quantizers", "training", "units", "evaluate", "methods", "methods/efqat"],
  compare: ["run", "ir", "onnx", "data", "evaluate"],
  report: ["inspect", "units", "evaluate"],
};

/** These put the others together and may import anything. */
const entries = ["node", "cli", "browser", "quantize", "ladder", "index.ts"];

const mayUseNode = /^src\/(node|cli|engines\/native)\//;

const files = readdirSync(source, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
  .map((file) => join("src", file));

const existing = new Set(files);

function importsOf(file: string): readonly string[] {
  const text = readFileSync(join(root, file), "utf8");
  return [...text.matchAll(/^(?:import|export)\s[^;"]*?from "([^"]+)"|\bimport\("([^"]+)"\)|^import "([^"]+)"/gm)].map(
    (match) => match[1] ?? match[2] ?? match[3],
  );
}

const localImports = (file: string): readonly string[] =>
  importsOf(file)
    .filter((path) => path.startsWith("."))
    .map((path) => normalize(join(dirname(file), path)))
    .filter((path) => existing.has(path));

function unitOf(file: string): string {
  const [folder, ...rest] = relative(source, join(root, file)).split("/");
  return rest.length > 1 && (folder === "engines" || folder === "methods") ? `${folder}/${rest[0]}` : folder;
}

describe("architecture", () => {
  test("every folder imports only what stands before it", () => {
    const wrong = files.flatMap((file) => {
      const unit = unitOf(file);
      if (entries.includes(unit)) return [];
      const may = allowed[unit];
      if (!may) return [`${file}: folder ${unit} is not in the table`];
      return localImports(file)
        .filter((path) => unitOf(path) !== unit && !may.includes(unitOf(path)))
        .map((path) => `${file} imports ${path}`);
    });
    expect(wrong).toEqual([]);
  });

  test("node:* is imported only by node, cli and the native engine", () => {
    const wrong = files.filter(
      (file) => !mayUseNode.test(file) && importsOf(file).some((path) => path.startsWith("node:")),
    );
    expect(wrong).toEqual([]);
  });

  test("protobuf is imported only by onnx", () => {
    const wrong = files.filter(
      (file) => unitOf(file) !== "onnx" && importsOf(file).some((path) => /protobuf|onnx-buf/.test(path)),
    );
    expect(wrong).toEqual([]);
  });

  test("zod, commander, ECharts, sharp and cli-progress stay where they belong", () => {
    const places: readonly (readonly [RegExp, RegExp])[] = [
      [/^commander$/, /^src\/cli\//],
      [/^cli-progress$/, /^src\/cli\//],
      [/^yaml$/, /^src\/node\//],
      [/^echarts/, /^src\/report\//],
      [/^onnxruntime/, /^src\/engines\/onnxruntime\//],
      [/^sharp$/, /^src\/node\//],
      [/^(bullmq|ioredis|pg)$/, /^src\/node\/sweep\//],
      [/^@aws-sdk\//, /^src\/node\/sweep\//],
      [/^@huggingface\//, /^src\/language-models\/tokenizer/],
    ];
    const wrong = files.flatMap((file) =>
      importsOf(file)
        .filter((path) => places.some(([what, where]) => what.test(path) && !where.test(file)))
        .map((path) => `${file} imports ${path}`),
    );
    expect(wrong).toEqual([]);
  });

  test("no imports go in a circle", () => {
    const done = new Set<string>();
    const visit = (file: string, path: readonly string[]): string[] => {
      if (path.includes(file)) return [[...path.slice(path.indexOf(file)), file].join(" → ")];
      if (done.has(file)) return [];
      const found = localImports(file).flatMap((next) => visit(next, [...path, file]));
      done.add(file);
      return found;
    };
    expect(files.flatMap((file) => visit(file, []))).toEqual([]);
  });

  test("files and folders are in kebab-case", () => {
    const wrong = files.filter(
      (file) => !file.split("/").every((part) => /^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z]+)*$/.test(part)),
    );
    expect(wrong).toEqual([]);
  });

  test("every folder is described in docs/internals/architecture.md, methods in docs/methods/", () => {
    const text = readFileSync(join(root, "docs/internals/architecture.md"), "utf8");
    const folders = new Set(files.map(unitOf).filter((unit) => !unit.endsWith(".ts")));
    for (const folder of methodFolders) folders.delete(folder);
    expect([...folders].filter((folder) => !text.includes(`\`${folder}/\``))).toEqual([]);
  });
});
