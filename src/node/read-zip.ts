// Zip archives of stored or deflated files, as numpy writes them: every size, place and checksum is checked.
import { inflateRawSync } from "node:zlib";
import { FrostbitError } from "../ir/errors.ts";
import { checkUnpacked } from "./unpack-bound.ts";

const localSignature = 0x04034b50;
const entrySignature = 0x02014b50;
const endSignature = 0x06054b50;
const end64Signature = 0x06064b50;
const end64LocatorSignature = 0x07064b50;

const stored = 0;
const deflated = 8;
const encryptedFlag = 1;

/** What the central directory says of one file. */
interface Entry {
  readonly name: string;
  readonly isEncrypted: boolean;
  readonly compression: number;
  readonly crc: number;
  readonly packed: number;
  readonly unpacked: number;
  /** Where its local header begins. */
  readonly at: number;
}

interface Archive {
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** The files of an archive whose names `keep` keeps, by name. Throws BAD_DATA naming the file that is damaged or too large. */
export function readZip(
  bytes: Uint8Array,
  path: string,
  keep: (name: string) => boolean,
): ReadonlyMap<string, Uint8Array> {
  const archive = { path, bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
  const entries = inArchive(archive, () => readDirectory(archive));
  const kept = entries.filter(({ name }) => keep(name));
  checkNames(path, kept);
  const parts = kept.map((entry) => ({ entry, ...inArchive(archive, () => partOf(archive, entry)) }));
  checkApart(path, parts);
  const total = (key: "packed" | "unpacked"): number => kept.reduce((sum, entry) => sum + entry[key], 0);
  checkUnpacked(path, total("packed"), total("unpacked"));
  return new Map(parts.map(({ entry, start, end }) => [entry.name, unpack(path, entry, bytes.subarray(start, end))]));
}

const bad = (path: string, what: string, cause?: unknown): FrostbitError =>
  new FrostbitError(
    "BAD_DATA",
    `Cannot unpack "${path}": ${what}. It is not an .npz file, or it is damaged or incomplete. Save it with numpy.savez.`,
    { cause },
  );

/** An offset outside the file makes the view throw a RangeError. */
function inArchive<T>({ path }: Archive, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw bad(path, "a part of it is outside the file", cause);
  }
}

/** At the end of the file, before a comment of 65,535 bytes at most. */
function findEnd({ path, bytes, view }: Archive): number {
  for (let at = bytes.length - 22; at >= Math.max(0, bytes.length - 22 - 0xffff); at--)
    if (view.getUint32(at, true) === endSignature && at + 22 + view.getUint16(at + 20, true) === bytes.length)
      return at;
  throw bad(path, "no end of a zip archive in it");
}

const size64 = (view: DataView, at: number): number => Number(view.getBigUint64(at, true));

/** Where the central directory starts, and how many entries it has. */
function findDirectory(archive: Archive): { readonly start: number; readonly count: number } {
  const { path, view } = archive;
  const end = findEnd(archive);
  const [count, start] = [view.getUint16(end + 10, true), view.getUint32(end + 16, true)];
  if (count !== 0xffff && start !== 0xffffffff) return { start, count };
  if (end < 20 || view.getUint32(end - 20, true) !== end64LocatorSignature) return { start, count };
  const end64 = size64(view, end - 20 + 8);
  if (view.getUint32(end64, true) !== end64Signature) throw bad(path, "no end of a zip64 archive in it");
  return { start: size64(view, end64 + 48), count: size64(view, end64 + 32) };
}

function readDirectory(archive: Archive): readonly Entry[] {
  const { start, count } = findDirectory(archive);
  const entries: Entry[] = [];
  for (let at = start; entries.length < count; ) {
    const { entry, next } = readEntry(archive, at);
    entries.push(entry);
    at = next;
  }
  return entries;
}

function readEntry({ path, bytes, view }: Archive, at: number): { readonly entry: Entry; readonly next: number } {
  if (view.getUint32(at, true) !== entrySignature) throw bad(path, `no entry at byte ${at} of its directory`);
  const nameEnd = at + 46 + view.getUint16(at + 28, true);
  const extraEnd = nameEnd + view.getUint16(at + 30, true);
  const name = new TextDecoder().decode(bytes.subarray(at + 46, nameEnd));
  const large = largeSizes(view, nameEnd, extraEnd);
  const size = (field: number): number => {
    const value = view.getUint32(at + field, true);
    return value === 0xffffffff ? (large.next().value ?? value) : value;
  };
  const [unpacked, packed, local] = [size(24), size(20), size(42)];
  return {
    entry: {
      name,
      unpacked,
      packed,
      at: local,
      isEncrypted: (view.getUint16(at + 8, true) & encryptedFlag) !== 0,
      compression: view.getUint16(at + 10, true),
      crc: view.getUint32(at + 16, true),
    },
    next: extraEnd + view.getUint16(at + 32, true),
  };
}

/** Of zip64: the sizes for which the entry has no room, in its order. */
function* largeSizes(view: DataView, start: number, end: number): Generator<number, undefined> {
  for (let at = start; at + 4 <= end; at += 4 + view.getUint16(at + 2, true)) {
    if (view.getUint16(at, true) !== 1) continue;
    const last = Math.min(end, at + 4 + view.getUint16(at + 2, true));
    for (let value = at + 4; value + 8 <= last; value += 8) yield size64(view, value);
  }
}

/** Where an entry's header starts, its packed bytes start, and where they end. */
interface CompressedEntry {
  readonly header: number;
  readonly start: number;
  readonly end: number;
}

function partOf({ path, bytes, view }: Archive, { name, at, packed }: Entry): CompressedEntry {
  if (view.getUint32(at, true) !== localSignature) throw bad(path, `"${name}" is not where its directory says`);
  const start = at + 30 + view.getUint16(at + 26, true) + view.getUint16(at + 28, true);
  if (start + packed > bytes.length) throw bad(path, `"${name}" ends after the file`);
  return { header: at, start, end: start + packed };
}

function checkNames(path: string, entries: readonly Entry[]): void {
  const names = new Set<string>();
  for (const { name } of entries) {
    if (names.has(name)) throw bad(path, `it has two files "${name}"`);
    names.add(name);
  }
}

/** Bytes that belong to several files are how a small archive unpacks to a large one. */
function checkApart(path: string, parts: readonly (CompressedEntry & { readonly entry: Entry })[]): void {
  const sorted = [...parts].sort((a, b) => a.header - b.header);
  for (const [i, { header, entry }] of sorted.entries())
    if (i > 0 && header < sorted[i - 1].end)
      throw bad(path, `"${sorted[i - 1].entry.name}" and "${entry.name}" overlap`);
}

function unpack(path: string, entry: Entry, packed: Uint8Array): Uint8Array {
  const { name, crc, unpacked } = entry;
  const bytes = inflate(path, entry, packed);
  if (bytes.length !== unpacked) throw bad(path, `"${name}" has ${bytes.length} bytes; expected ${unpacked}`);
  if (crc32(bytes) !== crc) throw bad(path, `"${name}" differs from its checksum`);
  return bytes;
}

function inflate(path: string, { name, compression, unpacked, isEncrypted }: Entry, packed: Uint8Array): Uint8Array {
  if (isEncrypted) throw bad(path, `"${name}" is encrypted`);
  if (compression === stored) return packed;
  if (compression !== deflated)
    throw bad(path, `"${name}" is compressed by method ${compression}; expected 0, stored, or 8, deflated`);
  try {
    return inflateRawSync(packed, { maxOutputLength: Math.max(1, unpacked) });
  } catch (cause) {
    throw bad(path, `"${name}": ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  }
}

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  return crc;
});

/** CRC-32 as zip and gzip have it. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = (crc >>> 8) ^ crcTable[(crc ^ bytes[i]) & 0xff];
  return (crc ^ 0xffffffff) >>> 0;
}
