// Winograd's algorithm in bfloat16, compiled for AVX-512-BF16: what is transformed is rounded, sums are float32.
#if defined(__x86_64__)
#include "winograd-loops.h"

namespace frostbit {
namespace {

struct Bfloat16 {
  using Element = uint16_t;
  static constexpr int kTerms = 2;

  static __m512 load(const uint16_t* from) {
    const __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
  }
  static void store(uint16_t* to, __m512 values) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)_mm512_cvtneps_pbh(values));
  }
  static __m512i joined(const __m512 (&values)[kTerms]) {
    alignas(64) static const uint16_t kOrder[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                    8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), (__m512i)_mm512_cvtne2ps_pbh(values[1], values[0]));
  }
  static __m512 multiply_add(__m512 sums, __m512i left, __m512i right) {
    return _mm512_dpbf16_ps(sums, (__m512bh)left, (__m512bh)right);
  }
};

constexpr char kName[] = "frostbit winograd:avx512_bf16";

}  // namespace

const WinogradKernels<uint16_t> winograd_avx512_bf16 = {
    kName, serves, filter_bytes<Bfloat16>, convolution_bytes<Bfloat16>, transform<Bfloat16>, convolve<Bfloat16>};
const WeightGradientKernels<uint16_t> weight_gradient_winograd_avx512_bf16 = {
    kName, serves, weight_gradient_bytes<Bfloat16>, sums_elements, add_up<Bfloat16>, give};

}  // namespace frostbit
#endif
