// The processes that a launcher started as one run: mpirun, mpiexec or srun.
import { hostname } from "node:os";
import { type Communicator, createCommunicator } from "../distributed/communicator.ts";
import { FrostbitError } from "../ir/errors.ts";
import { isBuilt, type Mpi, type MpiTransport, mpis, startMpi } from "./mpi.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** What a launcher tells each process it starts. */
interface Launch {
  readonly launcher: string;
  /** The variable that says how many there are. */
  readonly variable: string;
  readonly size: number;
  /** Whose addon it can start, the likelier first. */
  readonly mpis: readonly Mpi[];
}

/** The first that is there: Slurm's are there too where mpirun was started in a job of it. */
const launchers: readonly Omit<Launch, "size">[] = [
  { launcher: "Open MPI's mpirun", variable: "OMPI_COMM_WORLD_SIZE", mpis: ["openmpi"] },
  { launcher: "MPICH's mpiexec", variable: "PMI_SIZE", mpis: ["mpich"] },
  // SLURM_NTASKS may be the whole job's, as in a script of sbatch or a shell of salloc, which are one process.
  { launcher: "srun", variable: "SLURM_STEP_NUM_TASKS", mpis: ["openmpi", "mpich"] },
];

export function launchOf(env: Environment): Launch | undefined {
  const found = launchers.find(({ variable }) => env[variable] !== undefined);
  return found && { ...found, size: Number(env[found.variable]) };
}

const launchVariable = /^(OMPI|PMI|PMIX|SLURM)_/;

/** For a process that belongs to no run of the launcher's: MPI would take it for the one that started it. */
export const withoutLaunch = (env: Environment): Environment =>
  Object.fromEntries(Object.entries(env).filter(([name]) => !launchVariable.test(name)));

/** The processes of a run, and how this one leaves them. */
export interface OpenedRanks {
  readonly communicator: Communicator;
  /** As MPI calls itself. */
  readonly library: string;
  /** Waits for process 0 to end its work. A process that ends without it ends all of them. */
  readonly leave: () => Promise<void>;
}

/**
 * Joins the processes that a launcher started together with this one; `undefined` where there are no others. Throws ENGINE where there
 * is no addon for what started them, BAD_OPTION where they do not find each other.
 */
export async function openRanks(timeoutMs: number, env: Environment = process.env): Promise<OpenedRanks | undefined> {
  const launch = launchOf(env);
  if (!launch || launch.size === 1) return undefined;
  const transport = startMpi(mpiFor(launch, env));
  const endAll = (code: number): void => transport.abort(code === 0 ? 1 : code);
  process.once("exit", endAll);
  checkSize(transport, launch);
  const communicator = await createCommunicator(transport, { timeoutMs, name: `${hostname()}, ${process.pid}` });
  return {
    communicator,
    library: transport.library,
    leave: async () => {
      await communicator.leave();
      process.off("exit", endAll);
      transport.finish();
    },
  };
}

function mpiFor({ launcher, size, mpis: possible }: Launch, env: Environment): Mpi {
  const asked = env["FROSTBIT_MPI"];
  const chosen = asked === undefined ? possible.find(isBuilt) : mpis.find((mpi) => mpi === asked);
  if (asked !== undefined && chosen === undefined)
    throw new FrostbitError("BAD_OPTION", `FROSTBIT_MPI is "${asked}"; expected ${mpis.join(" or ")}.`);
  if (chosen !== undefined && isBuilt(chosen)) return chosen;
  const missing = chosen ?? possible[0];
  throw new FrostbitError(
    "ENGINE",
    `${launcher} started ${size} processes, and there is no addon that lets them work together. In a clone of the project: FROSTBIT_MPI=${missing} npm run build:mpi`,
  );
}

/** An addon of another MPI than the launcher's is alone, each of its processes the first of one. */
function checkSize({ size, library }: MpiTransport, launch: Launch): void {
  if (size === launch.size) return;
  const { launcher, variable, mpis: possible } = launch;
  const remedy =
    launcher === "srun"
      ? "Start with srun --mpi=pmix (srun --mpi=list shows what there is), or with mpirun"
      : `Build the addon for it: FROSTBIT_MPI=${possible[0]} npm run build:mpi`;
  throw new FrostbitError(
    "BAD_OPTION",
    `${launcher} started ${launch.size} processes (${variable}), but ${library} finds ${size}: each would train alone and write the same files. ${remedy}.`,
  );
}
