#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace frostbit {

namespace {

const Kernels& choose() {
#if defined(__x86_64__)
  const char* limit = std::getenv("FROSTBIT_MAX_CPU_ISA");
  const bool is_generic = limit && std::strcmp(limit, "generic") == 0;
  const bool is_avx2 = is_generic || (limit && std::strcmp(limit, "avx2") == 0);
  __builtin_cpu_init();
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (has_avx512 && !is_avx2) return kernels_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && !is_generic) return kernels_avx2;
#endif
  return kernels_generic;
}

}  // namespace

const Kernels& best_kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace frostbit
