// frostbit run: one run of a model on an engine, arrays in and out.
import { join } from "node:path";
import { type Command, Option } from "commander";
import { z } from "zod";
import { readNpy, writeNpy } from "../data/npy.ts";
import { selectEngine } from "../engines/select.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { readModel } from "../node/read-model.ts";
import { ensureFolder, readBytes, writeAtomic } from "../node/storage.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { createCommand } from "./command.ts";
import { addSchemaOptions, parseSchemaOptions } from "./options-from-schema.ts";
import { engineOption, threadsOption } from "./shared-options.ts";

const options = z.object({
  out: z.string().default(".").describe("Folder for the outputs."),
  values: z.array(z.string()).optional().describe("Names of any values to give back instead of the model's outputs."),
  ...engineOption.shape,
  ...threadsOption.shape,
});

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

export function runCommand(): Command {
  const command = createCommand(
    "run",
    "Run a model on an engine; inputs and outputs are .npy files.",
    async ([path], values, { interrupt, print }) => {
      const given = parseSchemaOptions(options, values);
      const graph = withOutputs(readModel(path).graph, given.values);
      const inputs = await readInputs(graph, values["input"] as readonly string[]);
      const engine = selectEngine(given.engine, [graph]);
      const executable = await engine.compile(graph, given.threads === undefined ? {} : { threads: given.threads });
      try {
        const program = executable.bind(await engine.variables(new Map()));
        const outputs = await writeOutputs(given.out, await program.run(inputs, { signal: interrupt.signal }));
        print(
          { engine: engine.name, outputs },
          outputs.map(({ name, file, shape }) => `${name} [${shape.join(", ")}] → ${file}`),
        );
      } finally {
        await executable.dispose();
      }
    },
  )
    .argument("<model>", "An ONNX file.")
    .addOption(
      new Option("--input <name=file.npy>", "An input; repeat for several.").argParser(collect).default([], "none"),
    );
  return addSchemaOptions(command, options);
}

function withOutputs(graph: Graph, names: readonly string[] | undefined): Graph {
  if (!names) return graph;
  const unknown = names.filter((name) => !graph.values.has(name));
  if (unknown.length > 0)
    throw new FrostbitError(
      "BAD_OPTION",
      `--values: the model has no value ${unknown.map((name) => `"${name}"`).join(", ")}.`,
    );
  return removeDeadNodes({ ...graph, outputs: names });
}

async function readInputs(graph: Graph, given: readonly string[]): Promise<ReadonlyMap<string, Tensor>> {
  const inputs = new Map<string, Tensor>();
  for (const text of given) {
    const at = text.lastIndexOf("=");
    const [name, path] = [text.slice(0, at), text.slice(at + 1)];
    if (at < 1 || path === "") throw new FrostbitError("BAD_OPTION", `--input is ${text}; expected name=file.npy.`);
    if (!graph.inputs.includes(name))
      throw new FrostbitError(
        "BAD_OPTION",
        `--input ${name}: the model has no such input; it has ${graph.inputs.join(", ")}.`,
      );
    inputs.set(name, readNpy(await readBytes(path), path));
  }
  const missing = graph.inputs.filter((name) => !inputs.has(name));
  if (missing.length > 0)
    throw new FrostbitError(
      "BAD_OPTION",
      `--input is missing for the model's ${missing.map((name) => printInput(graph, name)).join(", ")}. Give ${missing.map((name) => `--input ${name}=file.npy`).join(" ")}.`,
    );
  return inputs;
}

function printInput(graph: Graph, name: string): string {
  const type = graph.values.get(name);
  return `"${name}"${type ? ` (${type.dtype} [${type.shape.join(", ")}])` : ""}`;
}

interface WrittenOutput {
  readonly name: string;
  readonly file: string;
  readonly dtype: string;
  readonly shape: readonly number[];
}

async function writeOutputs(folder: string, outputs: ReadonlyMap<string, Tensor>): Promise<readonly WrittenOutput[]> {
  await ensureFolder(folder);
  const result: WrittenOutput[] = [];
  const usedNames = new Set<string>();
  for (const [name, value] of outputs) {
    const file = join(folder, `${fileNameOf(name, usedNames)}.npy`);
    await writeAtomic(file, writeNpy(value));
    result.push({ name, file, dtype: value.dtype, shape: value.shape });
  }
  return result;
}

/** The name with what files cannot be called replaced, and told apart from those taken. */
function fileNameOf(name: string, taken: Set<string>): string {
  const plain = name.replace(/[^\w.-]+/g, "_").replace(/^[._]+/, "") || "output";
  let unique = plain;
  for (let count = 1; taken.has(unique.toLowerCase()); count++) unique = `${plain}-${count}`;
  taken.add(unique.toLowerCase());
  return unique;
}
