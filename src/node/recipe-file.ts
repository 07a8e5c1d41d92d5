// Recipes as YAML files.
import { parse, stringify, YAMLParseError } from "yaml";
import { type AblationPlan, ablationFromRecipe } from "../ablate/plan.ts";
import { FrostbitError } from "../ir/errors.ts";
import { recipeOf, runFromRecipe } from "../options/recipe.ts";
import type { RunOptions } from "../options/run-options.ts";
import { readBytes } from "./storage.ts";

/** Throws IO where there is no such file, BAD_OPTION where it is not a recipe. */
export async function readRecipe(path: string): Promise<RunOptions> {
  const content = await readYaml(path);
  if (isAblation(content))
    throw new FrostbitError(
      "BAD_OPTION",
      `${path}: ablate: no option of one run; "frostbit ablate ${path}" does the runs that it names.`,
    );
  return runFromRecipe(content, path);
}

/** Of a recipe with an `ablate` section. Throws as `readRecipe`. */
export const readAblation = async (path: string): Promise<AblationPlan> =>
  ablationFromRecipe(await readYaml(path), path);

const readYaml = async (path: string): Promise<unknown> =>
  parseYaml(new TextDecoder().decode(await readBytes(path)), path);

const isAblation = (content: unknown): boolean =>
  typeof content === "object" && content !== null && Object.hasOwn(content, "ablate");

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
