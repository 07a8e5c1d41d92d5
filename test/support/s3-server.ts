// A server of S3's protocol, of this test alone: npm's s3rver, which knows one key and does not check signatures.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { killNow } from "./cli-process.ts";
import { freePort, until } from "./queue-servers.ts";

const packages = join(import.meta.dirname, "../../node_modules");
const program = join(packages, "s3rver/bin/s3rver.js");

export const hasS3 = existsSync(program) && existsSync(join(packages, "@aws-sdk/client-s3"));

export interface S3Server {
  /** What the SDK reads. */
  readonly env: Readonly<Record<string, string>>;
  readonly stop: () => void;
}

export async function startS3(folder: string, bucket: string): Promise<S3Server> {
  const port = await freePort();
  // It makes the tokens of its pages with a cipher of old.
  const words = ["--openssl-legacy-provider", program, "-d", folder, "-a", "127.0.0.1", "-p", `${port}`, "-s"];
  const server = spawn(process.execPath, [...words, "--configure-bucket", bucket], { stdio: "pipe" });
  let output = "";
  for (const stream of [server.stdout, server.stderr]) stream.on("data", (part) => (output += String(part)));
  await until(() => output.includes("listening"), "the server of S3");
  return {
    env: {
      AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}`,
      AWS_REGION: "us-east-1",
      AWS_ACCESS_KEY_ID: "S3RVER",
      AWS_SECRET_ACCESS_KEY: "S3RVER",
    },
    stop: () => killNow(server.pid),
  };
}
