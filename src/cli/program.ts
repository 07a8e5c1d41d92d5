// All commands.
import { Command } from "commander";
import { closestName } from "../ir/closest-name.ts";
import { frostbitVersion } from "../node/versions.ts";
import { ablateCommand } from "./ablate.ts";
import { compareCommand } from "./compare.ts";
import { doctorCommand } from "./doctor.ts";
import { evaluateCommand } from "./evaluate.ts";
import { generateCommand } from "./generate.ts";
import { inspectCommand } from "./inspect.ts";
import { printableLines } from "./printable.ts";
import { quantizeCommand } from "./quantize.ts";
import { quickstartCommand } from "./quickstart.ts";
import { runCommand } from "./run.ts";
import { sweepCommand } from "./sweep.ts";
import { unitCommand } from "./unit.ts";
import { verifyRunCommand } from "./verify-run.ts";
import { workerCommand } from "./worker.ts";

const commands = [
  quickstartCommand,
  quantizeCommand,
  ablateCommand,
  sweepCommand,
  workerCommand,
  unitCommand,
  evaluateCommand,
  generateCommand,
  inspectCommand,
  runCommand,
  compareCommand,
  verifyRunCommand,
  doctorCommand,
];

/** Commander's own says nothing of a command that there is not. */
const helpCommand = (program: Command): Command =>
  new Command("help")
    .description("Show the help of a command.")
    .argument("[command]", "Its name.")
    .action((name: string | undefined) => {
      const command = name === undefined ? program : program.commands.find((other) => other.name() === name);
      if (command) return command.help();
      const near = closestName(
        `${name}`,
        program.commands.map((other) => other.name()),
      );
      program.error(`error: unknown command '${name}'${near === undefined ? "" : `\n(Did you mean ${near}?)`}`);
    });

export function createProgram(): Command {
  const program = new Command("frostbit")
    .description("Quantizes trained networks and trains what is quantized: ONNX in, verified ONNX out.")
    .version(frostbitVersion())
    .showSuggestionAfterError()
    .showHelpAfterError("--help shows arguments and options.")
    .configureOutput({
      writeErr: (text) => process.stderr.write(printableLines(text.split("\n"))),
      writeOut: (text) => process.stdout.write(printableLines(text.split("\n"))),
    })
    .exitOverride();
  for (const make of commands) program.addCommand(make().copyInheritedSettings(program));
  program.addCommand(helpCommand(program).copyInheritedSettings(program));
  return program;
}
