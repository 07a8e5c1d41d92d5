// A command that several processes compute together: what all of them say, the first one says alone.
import { setTimeout } from "node:timers/promises";
import type { Communicator } from "../distributed/communicator.ts";
import { errorAt, FrostbitError } from "../ir/errors.ts";
import type { OpenedRanks } from "../node/open-ranks.ts";
import type { Session } from "./command.ts";

const othersWaitMs = 1000;

/** What the command does in each process; an error is named after the process that it is of. */
export async function among(
  { communicator, leave }: OpenedRanks,
  session: Session,
  act: (communicator: Communicator) => Promise<void>,
): Promise<void> {
  const { rank, names } = communicator;
  if (rank > 0) session.silence();
  try {
    await act(communicator);
    await leave();
  } catch (error) {
    if (rank > 0) await setTimeout(othersWaitMs);
    throw rank > 0 && error instanceof FrostbitError ? errorAt(`${names[rank]}: `, error) : error;
  }
}
