// A convolution as our own kernels of gradients see it.
#pragma once
#include <cstdint>

namespace frostbit {

/** A convolution of one group over two spatial axes: height, width. One axis is a height of 1. */
struct PlaneConvolution {
  int64_t inputs, outputs;
  int64_t in[2], out[2], kernel[2], strides[2], dilations[2], begin[2];
};

}  // namespace frostbit
