// Recipes as YAML files.
import { parse, stringify, YAMLParseError } from "yaml";
import { type AblationPlan, ablationFromRecipe, type SweepPlan, sweepFromRecipe } from "../ablate/plan.ts";
import { FrostbitError } from "../ir/errors.ts";
import { recipeOf, runFromRecipe } from "../options/recipe.ts";
import type { RunOptions } from "../options/run-options.ts";
import { readBytes } from "./storage.ts";

/** Throws IO where there is no such file, BAD_OPTION where it is not a recipe. */
export async function readRecipe(path: string): Promise<RunOptions> {
  const content = await readYaml(path);
  const section = ["ablate", "sweep"].find((name) => hasEntry(content, name));
  if (section !== undefined)
    throw new FrostbitError(
      "BAD_OPTION",
      `${path}: ${section}: no option of one run; "frostbit ${section} ${path}" does the runs that it names.`,
    );
  return runFromRecipe(content, path);
}

/** Of a recipe with an `ablate` section. Throws as `readRecipe`. */
export const readAblation = async (path: string): Promise<AblationPlan> =>
  ablationFromRecipe(await readYaml(path), path);

/** Of a recipe with a `sweep` section, which may have `options` beside its models. Throws as `readRecipe`. */
export const readSweep = async (path: string, options: readonly string[]): Promise<SweepPlan> =>
  sweepFromRecipe(await readYaml(path), path, options);

const readYaml = async (path: string): Promise<unknown> =>
  parseYaml(new TextDecoder().decode(await readBytes(path)), path);

const hasEntry = (content: unknown, name: string): boolean =>
  typeof content === "object" && content !== null && Object.hasOwn(content, name);

function parseYaml(text: string, path: string): unknown {
  try {
    return parse(text);
  } catch (cause) {
    // The parser's way to say that "*name" stands for nothing, or for too much.
    if (cause instanceof ReferenceError) {
      const hint = cause.message.startsWith("Excessive")
        ? ""
        : ` Write a name that begins with "*" in quotes: '*.conv'.`;
      throw new FrostbitError("BAD_OPTION", `${path}: ${cause.message}.${hint}`, { cause });
    }
    if (!(cause instanceof YAMLParseError)) throw cause;
    throw new FrostbitError("BAD_OPTION", `${path}: ${cause.message.split("\n")[0].replace(/:$/, "")}.`, { cause });
  }
}

export const recipeText = (run: RunOptions): string =>
  `# frostbit quantize MODEL --data … --preprocess … --recipe recipe.yaml\n${stringify(recipeOf(run))}`;
