// What launchers say of the processes they start.
import { describe, expect, test } from "vitest";
import { launchOf, openRanks, withoutLaunch } from "./open-ranks.ts";

describe("what started the process", () => {
  test.each([
    ["nothing", {}, undefined],
    ["mpirun", { OMPI_COMM_WORLD_SIZE: "4" }, { launcher: "Open MPI's mpirun", size: 4 }],
    ["mpiexec of MPICH", { PMI_SIZE: "2" }, { launcher: "MPICH's mpiexec", size: 2 }],
    ["srun", { SLURM_NTASKS: "8", SLURM_STEP_NUM_TASKS: "8" }, { launcher: "srun", size: 8 }],
    ["a shell of salloc", { SLURM_NTASKS: "8", SLURM_STEP_NUM_TASKS: "1" }, { launcher: "srun", size: 1 }],
    ["a script of sbatch", { SLURM_NTASKS: "8", SLURM_JOB_ID: "17" }, undefined],
    [
      "mpirun in a job of Slurm, whose own process there is one a machine",
      { OMPI_COMM_WORLD_SIZE: "8", SLURM_NTASKS: "2", SLURM_STEP_NUM_TASKS: "2" },
      { launcher: "Open MPI's mpirun", size: 8 },
    ],
  ])("%s", (_, env, expected) => {
    const found = launchOf(env);
    if (expected) expect(found).toMatchObject(expected);
    else expect(found).toBeUndefined();
  });
});

test("a process that belongs to no launch is told of none", () => {
  const own = { PATH: "/bin", FROSTBIT_MPI: "mpich", SLURMRESTD: "1" };
  const launch = { OMPI_COMM_WORLD_SIZE: "4", PMI_RANK: "1", PMIX_RANK: "1", SLURM_STEP_ID: "0", SLURM_NTASKS: "4" };
  expect(withoutLaunch({ ...launch, ...own })).toEqual(own);
});

test("one process alone needs no addon", async () => {
  expect(await openRanks(1000, { OMPI_COMM_WORLD_SIZE: "1" })).toBeUndefined();
});

test("an MPI that is not known is refused before anything is loaded", async () => {
  await expect(openRanks(1000, { PMI_SIZE: "2", FROSTBIT_MPI: "intel" })).rejects.toThrow(
    'FROSTBIT_MPI is "intel"; expected openmpi or mpich.',
  );
});
