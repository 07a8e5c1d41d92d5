// Opens what `--metric` names: a metric by name, or a module that exports one.
import { access } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { knownMetric, knownMetrics } from "../evaluate/known-metrics.ts";
import type { MetricAccumulator, OwnMetric, SampleMetric } from "../evaluate/own-metric.ts";
import { FrostbitError } from "../ir/errors.ts";
import { ioError } from "./storage.ts";

const prefix = "module:";

/** What `--metric` may be. */
export const metricKinds = `"module:./metric.js", ${knownMetrics}`;

/**
 * A metric of one's own. "module:./metric.js" is a module that exports `metric`: a function of the outputs and the labels of one
 * sample, whose mean counts, or an object with `add`, which is given these, and `value`. An object is made anew for each file that is
 * measured, by loading the module again. `higherIsBetter` (true where it is not said) and `name` are fields of the object or exports.
 * Throws BAD_OPTION where there is no such metric, IO where there is no such file.
 */
export async function openMetric(text: string): Promise<OwnMetric> {
  const known = knownMetric(text);
  if (known) return known;
  if (!text.startsWith(prefix) || text.length === prefix.length)
    throw new FrostbitError("BAD_OPTION", `metric is "${text}"; expected ${metricKinds}.`);
  const where = text.slice(prefix.length);
  const path = resolve(where);
  await access(path).catch((cause: unknown) => {
    throw ioError("read", where, cause);
  });
  const load = (): Promise<Exported> => loadFresh(path, where);
  const { metric, name, higherIsBetter } = await load();
  if (typeof metric === "function") return { name, higherIsBetter, of: metric };
  return { name, higherIsBetter, of: { start: async () => (await load()).metric as MetricAccumulator } };
}

interface Exported {
  readonly metric: SampleMetric | MetricAccumulator;
  readonly name: string;
  readonly higherIsBetter: boolean;
}

let loaded = 0;

/** A module under an address of its own is another module, whose state is its own. */
async function loadFresh(path: string, where: string): Promise<Exported> {
  const url = pathToFileURL(path);
  url.searchParams.set("load", String(loaded++));
  const module = (await import(url.href).catch((cause: unknown) => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FrostbitError("BAD_OPTION", `Cannot load metric "${where}": ${reason}`, { cause });
  })) as Readonly<Record<string, unknown>>;
  const metric = module["metric"] ?? module["default"];
  const fields = (typeof metric === "object" && metric !== null ? metric : {}) as Readonly<Record<string, unknown>>;
  const isAccumulator = typeof fields["add"] === "function" && typeof fields["value"] === "function";
  if (typeof metric !== "function" && !isAccumulator)
    throw new FrostbitError(
      "BAD_OPTION",
      `"${where}" exports ${Object.keys(module).join(", ") || "nothing"}; expected metric: a function of outputs and labels, or an object with add and value.`,
    );
  const higherIsBetter = fields["higherIsBetter"] ?? module["higherIsBetter"] ?? true;
  const name = fields["name"] ?? module["name"] ?? "metric";
  if (typeof higherIsBetter !== "boolean" || typeof name !== "string")
    throw new FrostbitError("BAD_OPTION", `"${where}": higherIsBetter is true or false, and name a text.`);
  return { metric: metric as Exported["metric"], name, higherIsBetter };
}
