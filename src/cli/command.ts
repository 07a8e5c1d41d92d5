// What all commands have in common: --json, --verbose, progress, and one place that prints results.
import { Command } from "commander";
import { createInterrupt, type Interrupt } from "./interrupt.ts";
import { printable } from "./printable.ts";
import { createProgress, type ProgressDisplay } from "./progress.ts";

export interface Session {
  readonly progress: ProgressDisplay;
  readonly interrupt: Interrupt;
  /** Standard output: the object as one line with --json, else the text. */
  readonly print: (result: object, text: string) => void;
  /** Standard error, so that it never mixes with results. */
  readonly note: (text: string) => void;
}

export type Values = Readonly<Record<string, unknown>>;
export type Action = (args: readonly string[], values: Values, session: Session) => Promise<void>;

/** A command whose action gets its arguments, option values, and a session that ends with it. */
export function createCommand(name: string, description: string, action: Action): Command {
  return new Command(name)
    .description(description)
    .option("--json", "Print the result as one JSON object, the last line on standard output.")
    .option("--verbose", "Print stacks of errors.")
    .action(async function run(this: Command) {
      const values = this.opts();
      const session = createSession(values["json"] === true);
      try {
        await action(this.processedArgs as readonly string[], values, session);
      } finally {
        session.progress.stop();
        session.interrupt.dispose();
      }
    });
}

function createSession(json: boolean): Session {
  const progress = createProgress();
  const note = (text: string): void => {
    progress.stop();
    process.stderr.write(`${printable(text)}\n`);
  };
  const interrupt = createInterrupt(() => note("Stopping after this step. Press Ctrl-C again to stop at once."));
  return {
    progress,
    interrupt,
    note,
    print: (result, text) => {
      progress.stop();
      process.stdout.write(`${json ? JSON.stringify(result) : printable(text)}\n`);
    },
  };
}
