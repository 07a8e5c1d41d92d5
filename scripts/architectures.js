// Processors that the native engine is built for, as Node names them: what GCC and Debian call them.
export const architectures = {
  x64: { tuple: "x86_64-linux-gnu", debian: "amd64" },
  arm64: { tuple: "aarch64-linux-gnu", debian: "arm64" },
};
