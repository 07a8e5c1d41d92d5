// A convolution of one group and one or two spatial axes, as the plan describes it to our own gradients.
#pragma once
#include "../plane-convolution.h"
#include "steps.h"

namespace frostbit {

/** Read as convolution.cpp reads one; its window gives its output. */
struct PlanarConvolution {
  /** Of each axis at most. */
  static constexpr int64_t kMax = int64_t{1} << 24;

  int64_t batch;
  PlaneConvolution shape;

  explicit PlanarConvolution(Arguments& arguments) {
    batch = arguments.size();
    const int64_t group = arguments.size();
    shape.inputs = arguments.size(), shape.outputs = arguments.size();
    int64_t end[2];
    int64_t(*lists[])[2] = {&shape.in, &shape.out, &shape.kernel, &shape.strides, &shape.dilations, &shape.begin, &end};
    for (int64_t(*list)[2] : lists) {
      auto values = arguments.list();
      if (values.size() == 1) values.insert(values.begin(), list == &shape.begin || list == &end ? 0 : 1);
      if (values.size() != 2) arguments.fail("has " + std::to_string(values.size()) + " spatial axes");
      (*list)[0] = values[0], (*list)[1] = values[1];
    }
    if (group != 1) arguments.fail("has " + std::to_string(group) + " groups");
    for (int axis = 0; axis < 2; axis++) check(axis, end[axis], arguments);
    product({shape.inputs, shape.kernel[0], shape.kernel[1], padded(0, end), padded(1, end), 16});
    product({shape.outputs, shape.out[0], padded(1, end), 16});
  }

  /** Of an image. */
  int64_t x_elements() const { return product({shape.in[0], shape.in[1], shape.inputs}); }
  int64_t dy_elements() const { return product({shape.out[0], shape.out[1], shape.outputs}); }
  int64_t row_elements() const { return product({shape.inputs, shape.kernel[0], shape.kernel[1]}); }

 private:
  int64_t padded(int axis, const int64_t (&end)[2]) const { return shape.in[axis] + shape.begin[axis] + end[axis]; }

  void check(int axis, int64_t end, const Arguments& arguments) const {
    for (const auto* list : {&shape.in, &shape.out, &shape.kernel, &shape.strides, &shape.dilations})
      if ((*list)[axis] < 1 || (*list)[axis] > kMax)
        arguments.fail("has a window or an image of " + std::to_string((*list)[axis]));
    if (shape.begin[axis] < 0 || shape.begin[axis] > kMax || end < -kMax || end > kMax)
      arguments.fail("has pads of " + std::to_string(shape.begin[axis]) + " and " + std::to_string(end));
    const int64_t reach = (shape.kernel[axis] - 1) * shape.dilations[axis] + 1;
    const int64_t free = shape.in[axis] + shape.begin[axis] + end - reach;
    if (free < 0 || free / shape.strides[axis] + 1 != shape.out[axis])
      arguments.fail("has an output of " + std::to_string(shape.out[axis]) + " that its window does not give");
  }
};

}  // namespace frostbit
