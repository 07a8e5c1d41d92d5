// All commands.
import { Command } from "commander";
import { frostbitVersion } from "../node/versions.ts";
import { compareCommand } from "./compare.ts";
import { doctorCommand } from "./doctor.ts";
import { evaluateCommand } from "./evaluate.ts";
import { inspectCommand } from "./inspect.ts";
import { quantizeCommand } from "./quantize.ts";
import { quickstartCommand } from "./quickstart.ts";
import { runCommand } from "./run.ts";

const commands = [
  quickstartCommand,
  quantizeCommand,
  evaluateCommand,
  inspectCommand,
  runCommand,
  compareCommand,
  doctorCommand,
];

export function createProgram(): Command {
  const program = new Command("frostbit")
    .description("Quantizes trained networks and trains what is quantized: ONNX in, verified ONNX out.")
    .version(frostbitVersion())
    .showSuggestionAfterError()
    .showHelpAfterError("--help shows arguments and options.")
    .exitOverride();
  for (const make of commands) program.addCommand(make().copyInheritedSettings(program));
  return program;
}
