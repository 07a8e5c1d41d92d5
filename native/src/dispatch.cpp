#include <cstdlib>
#include <cstring>

#include "kernels.h"
#include "weight-gradient.h"
#include "winograd.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace frostbit {

namespace {

#if defined(__x86_64__)
/** Whether FROSTBIT_MAX_CPU_ISA is `set`. */
bool is_limited_to(const char* set) {
  const char* limit = std::getenv("FROSTBIT_MAX_CPU_ISA");
  return limit && std::strcmp(limit, set) == 0;
}

bool has_avx512() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && !is_limited_to("generic") && !is_limited_to("avx2");
}

/** What the loops for AVX2 use besides; compilers differ in whether __builtin_cpu_supports knows it. */
bool has_half_conversions() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

bool has_avx2() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_half_conversions() && !is_limited_to("generic");
}
#endif

const Kernels& choose() {
#if defined(__x86_64__)
  if (has_avx512()) return kernels_avx512;
  if (has_avx2()) return kernels_avx2;
#endif
  return kernels_generic;
}

}  // namespace

const Kernels& best_kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

template <>
const WeightGradientKernels<uint16_t>* weight_gradient_kernels() {
#if defined(__x86_64__)
  static const bool has_bfloat16 = has_avx512() && __builtin_cpu_supports("avx512bf16");
  if (has_bfloat16) return &weight_gradient_avx512_bf16;
#endif
  return nullptr;
}

template <>
const WeightGradientKernels<float>* weight_gradient_kernels() {
#if defined(__x86_64__)
  static const bool is_there = has_avx512();
  if (is_there) return &weight_gradient_winograd;
#endif
  return nullptr;
}

const WinogradKernels* winograd_kernels() {
#if defined(__x86_64__)
  static const bool is_there = has_avx512();
  if (is_there) return &winograd_avx512;
#endif
  return nullptr;
}

}  // namespace frostbit
