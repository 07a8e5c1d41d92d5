// Objects of S3, or of a server that speaks its protocol, as a storage: @aws-sdk/client-s3 is an optional peer.
import type { S3Client } from "@aws-sdk/client-s3";
import type { Storage } from "../../data/storage.ts";
import { FrostbitError } from "../../ir/errors.ts";

type Sdk = typeof import("@aws-sdk/client-s3");

interface LoadedS3 {
  readonly sdk: Sdk;
  readonly client: S3Client;
}

interface Place {
  readonly bucket: string;
  /** Empty, or with a slash at its end. */
  readonly prefix: string;
}

export const isS3 = (out: string): boolean => /^s3:/i.test(out);

/** Throws BAD_OPTION for what names no bucket. */
function placeOf(url: string): Place {
  const [, bucket, prefix] = /^s3:\/\/([^/]+)(?:\/(.+?))?\/*$/i.exec(url) ?? [];
  if (bucket === undefined)
    throw new FrostbitError("BAD_OPTION", `--out is ${url}; expected a folder, or s3://BUCKET/PREFIX.`);
  return { bucket, prefix: prefix === undefined ? "" : `${prefix}/` };
}

/** One client for all that a process reads and writes: it has the connections and credentials. */
let loaded: Promise<LoadedS3> | undefined;

/** Throws ENGINE where the package is missing. */
async function loadS3(): Promise<LoadedS3> {
  try {
    const sdk = await import("@aws-sdk/client-s3");
    const { AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL } = process.env;
    // Buckets are host names at AWS alone.
    return { sdk, client: new sdk.S3Client({ forcePathStyle: Boolean(AWS_ENDPOINT_URL_S3 ?? AWS_ENDPOINT_URL) }) };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new FrostbitError(
      "ENGINE",
      `--out s3:// needs the package @aws-sdk/client-s3, and it cannot be loaded (${reason}). Install it: npm install @aws-sdk/client-s3. A folder needs none.`,
      { cause },
    );
  }
}

/** Gives what is below a prefix of `url`, s3://BUCKET/PREFIX. Endpoint, region and credentials are those of the environment. */
export async function openS3(url: string): Promise<(prefix: string) => Storage> {
  const { bucket, prefix } = placeOf(url);
  loaded ??= loadS3();
  const s3 = await loaded;
  return (below) => s3Storage(s3, { bucket, prefix: prefix + below });
}

function s3Storage({ sdk, client }: LoadedS3, { bucket, prefix }: Place): Storage {
  const object = (name: string) => ({ Bucket: bucket, Key: prefix + name });
  const saying = (action: string, name: string) => (cause: unknown) => {
    throw s3Error(`${action} "s3://${bucket}/${prefix}${name}"`, cause);
  };
  return {
    read: async (name) => {
      try {
        const { Body } = await client.send(new sdk.GetObjectCommand(object(name)));
        return await Body?.transformToByteArray();
      } catch (cause) {
        if (cause instanceof sdk.NoSuchKey) return undefined;
        return saying("read", name)(cause);
      }
    },
    write: async (name, bytes) => {
      await client
        .send(new sdk.PutObjectCommand({ ...object(name), Body: bytes, ContentType: typeOf(name) }))
        .catch(saying("write", name));
    },
    /** By pages of a thousand. */
    list: async () => {
      const names: string[] = [];
      try {
        for await (const page of sdk.paginateListObjectsV2({ client }, { Bucket: bucket, Prefix: prefix }))
          names.push(...(page.Contents ?? []).map(({ Key = "" }) => Key.slice(prefix.length)));
      } catch (cause) {
        saying("list", "")(cause);
      }
      return names.sort();
    },
    remove: async (name) => {
      await client.send(new sdk.DeleteObjectCommand(object(name))).catch(saying("remove", name));
    },
  };
}

const types: Readonly<Record<string, string>> = { html: "text/html; charset=utf-8", json: "application/json" };
const typeOf = (name: string): string => types[name.split(".").at(-1) ?? ""] ?? "application/octet-stream";

function s3Error(what: string, cause: unknown): FrostbitError {
  const { name, message } = cause instanceof Error ? cause : { name: "Error", message: String(cause) };
  return new FrostbitError(
    "IO",
    `Cannot ${what}: ${name}: ${message.replace(/\.?$/, ".")} Endpoint, region and keys are those of AWS_ENDPOINT_URL_S3, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or of the AWS configuration.`,
    { cause },
  );
}
