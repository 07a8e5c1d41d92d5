// The weight gradient of a convolution in bfloat16, with float32 sums, for processors that have AVX-512-BF16.
#pragma once
#include <cstdint>

namespace frostbit {

/** A convolution of one group over two spatial axes: height, width. One axis is a height of 1. */
struct WeightGradientShape {
  int64_t inputs, outputs;
  int64_t in[2], out[2], kernel[2], strides[2], dilations[2], begin[2];
};

/** x, channels last [images][height][width][inputs]: 8-bit codes, each worth code − zero, or bfloat16. */
struct WeightGradientInput {
  /** One of both. */
  const uint8_t* codes;
  const uint16_t* values;
  /** Of codes; 0 to 255. */
  int32_t zero;
};

/**
 * dW[r][ci][kh][kw] = Σ dy[p][rows[r]] · x[p · stride + k · dilation − begin][ci] over images and output pixels p; beyond its
 * edges x is 0. Products of bfloat16 are exact in float32 and are summed there, in an order that the arguments alone decide;
 * denormal numbers count as 0.
 */
struct WeightGradientKernels {
  /** Of 64-byte aligned scratch that add_up wants for so many images and rows, or fewer. */
  int64_t (*scratch_bytes)(const WeightGradientShape& shape, int64_t images, int64_t most_rows);
  /** Floats that the sums of so many rows take. */
  int64_t (*sums_elements)(const WeightGradientShape& shape, int64_t rows);
  /**
   * Adds what some images give to `sums`, which are 64-byte aligned and were 0 before the first call. dy: bfloat16, channels last
   * [images][height][width][outputs]. rows: `count` output channels from 0 to outputs − 1, or null for the first `count`.
   * What scratch held before does not matter.
   */
  void (*add_up)(const WeightGradientShape& shape, int64_t images, const WeightGradientInput& x, const uint16_t* dy,
                 const int64_t* rows, int64_t count, float* sums, char* scratch);
  /**
   * Writes rows first to last − 1 of dw, float32 [count][inputs][kernel height][kernel width]: `factor` times the total of so
   * many sums, each `stride` floats after the one before.
   */
  void (*give)(const WeightGradientShape& shape, int64_t count, const float* sums, int64_t parts, int64_t stride,
               float factor, int64_t first, int64_t last, float* dw);
};

/** Null where the processor lacks AVX-512-BF16 or FROSTBIT_MAX_CPU_ISA forbids AVX-512. */
const WeightGradientKernels* weight_gradient_kernels();

#if defined(__x86_64__)
extern const WeightGradientKernels weight_gradient_avx512_bf16;
#endif

}  // namespace frostbit
