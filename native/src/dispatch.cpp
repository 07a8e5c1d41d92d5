#include <cstdlib>
#include <cstring>

#include "bfloat16-tiles.h"
#include "dynamic-input-gradient.h"
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

/** No processor has the one and lacks the other. */
bool has_avx512_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni"); }

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
  if (has_avx512_bf16()) return kernels_avx512_bf16;
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

#if defined(__x86_64__)
#define FROSTBIT_IF(is_there, kernels)   \
  static const bool serves = is_there(); \
  return serves ? &kernels : nullptr;
#else
#define FROSTBIT_IF(is_there, kernels) return nullptr;
#endif

const Bfloat16Tiles* bfloat16_tiles() { FROSTBIT_IF(has_avx512_bf16, bfloat16_tiles_avx512_bf16) }

const DynamicInputGradientKernels* dynamic_input_gradient() { FROSTBIT_IF(has_avx512_bf16, dynamic_input_gradient_avx512_bf16) }

const WeightGradientKernels<uint16_t>* direct_weight_gradient() { FROSTBIT_IF(has_avx512_bf16, weight_gradient_avx512_bf16) }

template <>
const WeightGradientKernels<float>* winograd_weight_gradient() {
  FROSTBIT_IF(has_avx512, weight_gradient_winograd_avx512)
}

template <>
const WeightGradientKernels<uint16_t>* winograd_weight_gradient() {
  FROSTBIT_IF(has_avx512_bf16, weight_gradient_winograd_avx512_bf16)
}

template <>
const WinogradKernels<float>* winograd_kernels() {
  FROSTBIT_IF(has_avx512, winograd_avx512)
}

template <>
const WinogradKernels<uint16_t>* winograd_kernels() {
  FROSTBIT_IF(has_avx512_bf16, winograd_avx512_bf16)
}

}  // namespace frostbit
