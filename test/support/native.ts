// Whether the native engine is built; its tests skip where it is not.
import { loadAddon } from "../../src/engines/native/addon.ts";
import { FrostbitError } from "../../src/ir/errors.ts";

function tryLoading(): boolean {
  try {
    loadAddon();
    return true;
  } catch (error) {
    if (error instanceof FrostbitError) return false;
    throw error;
  }
}

export const isNativeBuilt = tryLoading();
export const notBuilt = "the native engine is not built: npm run build:native";
