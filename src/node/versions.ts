// Versions of what a run depends on.
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

/** The version in a package's own manifest; undefined where it is not installed. */
function packageVersion(name: string): string | undefined {
  try {
    const { version } = require(`${name}/package.json`) as { version: string };
    return version;
  } catch {
    return undefined;
  }
}

/** By self-reference, which works wherever the package's files are. */
export const frostbitVersion = (): string => packageVersion("frostbit") ?? "unknown";

export const versions = (): Record<string, string> => ({
  frostbit: frostbitVersion(),
  node: process.versions.node,
  "onnxruntime-node": packageVersion("onnxruntime-node") ?? "not installed",
});
