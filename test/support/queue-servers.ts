// Servers of queues, of this test alone: on a free port, in a temporary folder.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { delimiter, join } from "node:path";

export interface QueueServer {
  readonly url: string;
  /** As a power cut does, if the disk keeps what was flushed. */
  readonly kill: () => Promise<void>;
  readonly start: () => Promise<void>;
  /** Throws away all that it holds. */
  readonly empty: () => void;
}

/** Where Debian has the programs of PostgreSQL's versions. */
const debian = "/usr/lib/postgresql";
const versions = existsSync(debian) ? readdirSync(debian).map((version) => join(debian, version, "bin")) : [];

const binary = (name: string): string | undefined =>
  [...(process.env["PATH"] ?? "").split(delimiter), ...versions]
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));

export const redisServer = binary("redis-server");
export const postgresServer = binary("initdb") && binary("postgres");

export function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}

export async function until(isTrue: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 600; i++) {
    if (isTrue()) return;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`after a minute ${what} is not there`);
}

const isGone = (pid: number): boolean =>
  !existsSync(`/proc/${pid}`) || / Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));

export async function startRedis(folder: string): Promise<QueueServer> {
  const port = await freePort();
  const args = `--port ${port} --bind 127.0.0.1 --appendonly yes --appendfsync always --maxmemory-policy noeviction --save`;
  const client = binary("redis-cli") as string;
  const cli = (...words: string[]) => spawnSync(client, ["-p", `${port}`, ...words], { encoding: "utf8" }).stdout;
  let server: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    server = spawn(redisServer as string, [...args.split(" "), "", "--dir", folder], { stdio: "ignore" });
    await until(() => cli("ping").startsWith("PONG"), "Redis");
  };
  await start();
  return {
    url: `redis://127.0.0.1:${port}`,
    start,
    kill: async () => {
      const { pid = 0 } = server ?? {};
      process.kill(pid, "SIGKILL");
      await until(() => isGone(pid), "the end of Redis");
    },
    empty: () => void cli("flushall"),
  };
}

/** PostgreSQL refuses root: it then runs as the user postgres. */
export async function startPostgres(folder: string): Promise<QueueServer> {
  const port = await freePort();
  const data = join(folder, "data");
  const isRoot = process.getuid?.() === 0;
  mkdirSync(folder, { recursive: true });
  const user = (flag: string): number => Number(spawnSync("id", [flag, "postgres"], { encoding: "utf8" }).stdout);
  if (isRoot) chownSync(folder, user("-u"), user("-g"));
  const asUser = (words: readonly string[]): readonly [string, readonly string[]] =>
    isRoot ? ["runuser", ["-u", "postgres", "--", ...words]] : [words[0], words.slice(1)];
  const run = (...words: readonly string[]) => spawnSync(...asUser(words), { encoding: "utf8", cwd: folder });
  const made = run(binary("initdb") as string, "-D", data, "-A", "trust", "-U", "postgres", "--no-sync");
  if (made.status !== 0) throw new Error(made.stderr);
  const query = (sql: string) =>
    run(binary("psql") as string, "-h", "127.0.0.1", "-p", `${port}`, "-U", "postgres", "-c", sql).status === 0;
  const start = async (): Promise<void> => {
    // A moment after a kill its other processes still hold the memory.
    const launch = () =>
      run(
        binary("pg_ctl") as string,
        "-D",
        data,
        "-o",
        `-p ${port} -k ${folder} -c listen_addresses=127.0.0.1`,
        "-l",
        join(folder, "log"),
        "-w",
        "start",
      ).status === 0;
    await until(launch, "PostgreSQL");
    await until(() => query("select 1"), "an answer of PostgreSQL");
  };
  await start();
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    start,
    kill: async () => {
      const pid = Number(readFileSync(join(data, "postmaster.pid"), "utf8").split("\n")[0]);
      process.kill(pid, "SIGKILL");
      await until(() => isGone(pid), "the end of PostgreSQL");
    },
    empty: () => void query("drop schema bullmq cascade"),
  };
}
