// BullMQ, which keeps queues in Redis, Valkey or PostgreSQL: an optional peer that is loaded when there is a queue.
import type { QueueOptions } from "bullmq";
import { FrostbitError } from "../../ir/errors.ts";

type Bullmq = typeof import("bullmq");

/** What queues and workers are made of. */
export interface LoadedQueue {
  readonly bullmq: Bullmq;
  readonly connection: QueueOptions["connection"];
  /** Undefined: Redis. */
  readonly factory: ReturnType<typeof factoryOf>;
}

interface Server {
  readonly driver: "ioredis" | "pg";
  readonly connect: (url: string) => object;
}

const retryMs = 500;
const redis: Server = {
  driver: "ioredis",
  connect: (url) => ({ url, maxRetriesPerRequest: null, retryStrategy: () => retryMs }),
};
const postgres: Server = {
  driver: "pg",
  connect: (url) => ({ connectionString: url, migrate: true, connectionTimeoutMillis: 10_000 }),
};
const servers: Readonly<Record<string, Server>> = {
  "redis:": redis,
  "rediss:": redis,
  "postgres:": postgres,
  "postgresql:": postgres,
};

/** Without what is secret. */
function shownUrl(text: string): string {
  try {
    const { protocol, host, pathname } = new URL(text);
    return `${protocol}//${host}${pathname}`;
  } catch {
    return text.replace(/\/\/.*@/s, "//");
  }
}

function serverOf(text: string): Server {
  const protocol = URL.canParse(text) ? new URL(text).protocol : "";
  const server = servers[protocol];
  if (server) return server;
  throw new FrostbitError(
    "BAD_OPTION",
    `--queue is ${shownUrl(text)}; expected redis://HOST, rediss://HOST (with TLS; Valkey likewise) or postgres://HOST/DATABASE.`,
  );
}

const factoryOf = (bullmq: Bullmq, { driver }: Server) => (driver === "pg" ? bullmq.createPostgresBackend : undefined);

/** Throws BAD_OPTION for another kind of server, ENGINE where a package is missing. */
export async function loadQueue(url: string): Promise<LoadedQueue> {
  const server = serverOf(url);
  const { driver } = server;
  try {
    const bullmq = await import("bullmq");
    await import(driver);
    return { bullmq, connection: server.connect(url), factory: factoryOf(bullmq, server) };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new FrostbitError(
      "ENGINE",
      `A queue needs the packages bullmq and ${driver}, and they cannot be loaded (${reason}). Install them: npm install bullmq ${driver}. A sweep on one machine needs none.`,
      { cause },
    );
  }
}
