// How often a unit is tried, and what trying again is of no use for.
import type { UnitError } from "./unit-store.ts";

export const maxTries = 3;

/** The code of a unit whose process ended. */
export const crashed = "CRASHED";

/** What another try, or another machine, may do without. */
const passing: ReadonlySet<string> = new Set([crashed, "INTERNAL", "ENGINE", "IO", "MEMORY"]);

export const mayPass = ({ code }: UnitError): boolean => passing.has(code);
