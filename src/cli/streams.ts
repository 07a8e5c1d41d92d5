// Standard output and error whose reader has gone, or whose disk is full.
import { codeOf } from "../node/storage.ts";
import { exitCodes } from "./errors.ts";
import { printable } from "./printable.ts";

/** What cannot be said ends no run: files are written and the exit code is the run's. A result that is lost is an error. */
export function guardStreams(): void {
  process.stderr.on("error", () => undefined);
  process.stdout.on("error", (error: Error) => {
    const code = codeOf(error);
    if (code === "EPIPE") return;
    const reason = code === "ENOSPC" ? "the disk is full. Free some space, or send it elsewhere." : error.message;
    process.stderr.write(`error: Cannot write to standard output: ${printable(reason)}\n`);
    process.exitCode ||= exitCodes.user;
  });
}
