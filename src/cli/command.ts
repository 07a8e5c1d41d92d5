// What all commands have in common: --json, --verbose, progress, and one place that prints results.
import { Command } from "commander";
import { createInterrupt, type Interrupt } from "./interrupt.ts";
import { printable, printableJson, printableLines } from "./printable.ts";
import { createProgress, type ProgressDisplay } from "./progress.ts";

export interface Session {
  readonly progress: ProgressDisplay;
  readonly interrupt: Interrupt;
  /** Standard output: the object as one line with --json, else the lines. */
  readonly print: (result: object, lines: readonly string[]) => void;
  /** Standard error, so that it never mixes with results. */
  readonly note: (text: string) => void;
  /** From now on nothing is shown: another process of the run does. */
  readonly silence: () => void;
}

export type Values = Readonly<Record<string, unknown>>;
export type Action = (args: readonly string[], values: Values, session: Session) => Promise<void>;

export interface CommandOptions {
  /** Whether Ctrl-C waits for a step of this phase however long it takes, because what it learned is kept. */
  readonly keepsStep?: (phase: string) => boolean;
}

/** A command whose action gets its arguments, option values, and a session that ends with it. */
export function createCommand(
  name: string,
  description: string,
  action: Action,
  { keepsStep = () => false }: CommandOptions = {},
): Command {
  return new Command(name)
    .description(description)
    .option("--json", "Print the result as one JSON object, the last line on standard output.")
    .option("--verbose", "Print stacks of errors.")
    .action(async function run(this: Command) {
      const values = this.opts();
      const session = createSession(values["json"] === true, keepsStep);
      try {
        await action(this.processedArgs as readonly string[], values, session);
      } finally {
        session.progress.stop();
        session.interrupt.dispose();
      }
    });
}

function createSession(json: boolean, keepsStep: (phase: string) => boolean): Session {
  const progress = createProgress();
  let isSilent = false;
  const note = (text: string): void => {
    if (isSilent) return;
    progress.stop();
    process.stderr.write(`${printable(text)}\n`);
  };
  const interrupt = createInterrupt({
    onFirst: () => note("Stopping after this step. Press Ctrl-C again to stop at once."),
    onLast: progress.stop,
  });
  return {
    progress: {
      ...progress,
      show: (state) => {
        interrupt.arm(keepsStep(state.phase));
        if (!isSilent) progress.show(state);
      },
    },
    interrupt,
    note,
    silence: () => {
      isSilent = true;
    },
    print: (result, lines) => {
      if (isSilent) return;
      progress.stop();
      process.stdout.write(`${json ? printableJson(result) : printableLines(lines)}\n`);
    },
  };
}
