// Winograd's algorithm in float32, compiled for AVX-512.
#if defined(__x86_64__)
#include "winograd-loops.h"

namespace frostbit {
namespace {

struct Float32 {
  using Element = float;
  static constexpr int kTerms = 1;

  static __m512 load(const float* from) { return _mm512_loadu_ps(from); }
  static void store(float* to, __m512 values) { _mm512_storeu_ps(to, values); }
  static __m512i joined(const __m512 (&values)[kTerms]) { return _mm512_castps_si512(values[0]); }
  static __m512 multiply_add(__m512 sums, __m512i left, __m512i right) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(left), _mm512_castsi512_ps(right), sums);
  }
};

constexpr char kName[] = "frostbit winograd:avx512";

}  // namespace

const WinogradKernels<float> winograd_avx512 = {
    kName, serves, filter_bytes<Float32>, convolution_bytes<Float32>, transform<Float32>, convolve<Float32>};
const WeightGradientKernels<float> weight_gradient_winograd_avx512 = {
    kName, serves, weight_gradient_bytes<Float32>, sums_elements, add_up<Float32>, give};

}  // namespace frostbit
#endif
