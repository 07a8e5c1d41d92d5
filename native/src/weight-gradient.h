// The weight gradient of a convolution from 8-bit codes or from what dy holds, with float32 sums.
#pragma once
#include "plane-convolution.h"

namespace frostbit {

/** x, channels last [images][height][width][inputs]: 8-bit codes, each worth code − zero, or elements as dy has them. */
template <class Element>
struct WeightGradientInput {
  /** One of both. */
  const uint8_t* codes;
  const Element* values;
  /** Of codes. */
  uint8_t zero;
};

/**
 * dW[r][ci][kh][kw] = Σ dy[p][rows[r]] · x[p · stride + k · dilation − begin][ci] over images and output pixels p; beyond its
 * edges x is 0. Sums are of float32, in an order that the arguments alone decide. Elements of dy are bfloat16 (uint16_t), whose
 * products are exact in float32, and denormal ones count as 0, or float.
 */
template <class Element>
struct WeightGradientKernels {
  const char* name;
  /** Whether they do such convolutions. */
  bool (*serves)(const PlaneConvolution& shape);
  /** Of 64-byte aligned scratch that add_up wants for so many images and rows, or fewer. */
  int64_t (*scratch_bytes)(const PlaneConvolution& shape, int64_t images, int64_t max_rows);
  /** Floats that the sums of so many rows take. */
  int64_t (*sums_elements)(const PlaneConvolution& shape, int64_t rows);
  /**
   * Adds what some images give to `sums`, which are 64-byte aligned and were 0 before the first call. dy: channels last
   * [images][height][width][outputs]. rows: `count` output channels from 0 to outputs − 1, or null for the first `count`.
   * What scratch held before does not matter.
   */
  void (*add_up)(const PlaneConvolution& shape, int64_t images, const WeightGradientInput<Element>& x, const Element* dy,
                 const int64_t* rows, int64_t count, float* sums, char* scratch);
  /**
   * Writes rows first to last − 1 of dw, float32 [count][inputs][kernel height][kernel width]: `factor` times the total of so
   * many sums, each `stride` floats after the one before.
   */
  void (*give)(const PlaneConvolution& shape, int64_t count, const float* sums, int64_t parts, int64_t stride, float factor,
               int64_t first, int64_t last, float* dw);
};

/** Of all shapes. Null where the processor lacks AVX-512-BF16 or FROSTBIT_MAX_CPU_ISA forbids AVX-512. */
const WeightGradientKernels<uint16_t>* direct_weight_gradient();

/** By Winograd's algorithm (see winograd.h): what is multiplied is rounded to Element again. Null where winograd_kernels are.
 */
template <class Element>
const WeightGradientKernels<Element>* winograd_weight_gradient();

#if defined(__x86_64__)
extern const WeightGradientKernels<uint16_t> weight_gradient_avx512_bf16;
extern const WeightGradientKernels<float> weight_gradient_winograd_avx512;
extern const WeightGradientKernels<uint16_t> weight_gradient_winograd_avx512_bf16;
#endif

}  // namespace frostbit
