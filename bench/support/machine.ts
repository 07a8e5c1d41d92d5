// Where the benches are, and what they run on.
import { cpus } from "node:os";
import { join } from "node:path";

/** The repository: the benches are compiled to build/bench/. */
export const root = join(import.meta.dirname, "..", "..", "..");

/** `amd-epyc-2-cores`, as result files are named. */
export const machineName = (): string =>
  `${(cpus()[0]?.model ?? "unknown")
    .replace(/[^A-Za-z0-9]+/g, "-")
    .replace(/^-|-$/g, "")
    .toLowerCase()}-${cpus().length}-cores`;
