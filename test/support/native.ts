// Whether the native engine is built; its tests skip where it is not.
import { describeAddon } from "../../src/engines/native/addon.ts";
import { FrostbitError } from "../../src/ir/errors.ts";

function tryLoading(): boolean {
  try {
    describeAddon();
    return true;
  } catch (error) {
    if (error instanceof FrostbitError) return false;
    throw error;
  }
}

export const isNativeBuilt = tryLoading();
export const notBuilt = "the native engine is not built: npm run build:native";

/** The addon's file, for tests that give it to another process. */
export const addonPath = isNativeBuilt ? describeAddon().path : "";
