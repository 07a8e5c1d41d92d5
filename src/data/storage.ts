// Where checkpoints and caches go: named bytes, whatever holds them.

/** Named bytes, wherever they are kept: what checkpoints are written to. */
export interface Storage {
  /** `undefined` where there is nothing of that name. */
  read(name: string): Promise<Uint8Array | undefined>;
  /** Atomic: after a crash there is either the old content or the new. */
  write(name: string, bytes: Uint8Array): Promise<void>;
  /** Sorted. */
  list(): Promise<readonly string[]>;
  /** Nothing happens where there is nothing of that name. */
  remove(name: string): Promise<void>;
}

/** Keeps everything in memory. */
export function memoryStorage(): Storage {
  const files = new Map<string, Uint8Array>();
  return {
    read: async (name) => files.get(name)?.slice(),
    write: async (name, bytes) => {
      files.set(name, bytes.slice());
    },
    list: async () => [...files.keys()].sort(),
    remove: async (name) => {
      files.delete(name);
    },
  };
}

/** The part whose names begin with `prefix`, which its own names lack. */
export const prefixedStorage = (storage: Storage, prefix: string): Storage => ({
  read: (name) => storage.read(prefix + name),
  write: (name, bytes) => storage.write(prefix + name, bytes),
  remove: (name) => storage.remove(prefix + name),
  list: async () =>
    (await storage.list()).filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)),
});
