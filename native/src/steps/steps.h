// Every family's steps by their kernels' names.
#pragma once
#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "../program.h"

namespace frostbit {

using StepMakers = std::map<std::string, MakeStep>;

StepMakers elementwise_steps();
StepMakers data_steps();
StepMakers quantization_steps();
StepMakers group_quantization_steps();
StepMakers fused_steps();
StepMakers convolution_steps();
StepMakers weight_gradient_steps();
StepMakers winograd_steps();
StepMakers product_steps();
StepMakers dynamic_product_steps();
StepMakers dynamic_input_gradient_steps();
StepMakers reduction_steps();
StepMakers pooling_steps();
StepMakers update_steps();
StepMakers typed_steps();
StepMakers indexing_steps();
StepMakers ordering_steps();
StepMakers row_steps();
StepMakers einsum_steps();
StepMakers stored_steps();
StepMakers window_steps();
StepMakers attention_steps();

template <class T>
std::unique_ptr<Step> make_step(Arguments& arguments, CompileContext& context) {
  return std::make_unique<T>(arguments, context);
}

constexpr size_t kMaxAxes = 8;

/** Calls `visit(row, offsets)` for the rows [begin, end) of a nest of loops; offsets per operand. */
template <int operands, class Visit>
void for_each_row(const std::vector<int64_t>& sizes, const std::vector<int64_t> (&strides)[operands], Range rows, Visit visit) {
  if (rows.begin >= rows.end) return;
  const int rank = static_cast<int>(sizes.size());
  int64_t at[kMaxAxes] = {};
  int64_t offsets[operands] = {};
  int64_t rest = rows.begin;
  for (int axis = rank - 1; axis >= 0; axis--) {
    at[axis] = rest % sizes[axis];
    rest /= sizes[axis];
    for (int i = 0; i < operands; i++) offsets[i] += at[axis] * strides[i][axis];
  }
  for (int64_t row = rows.begin; row < rows.end; row++) {
    visit(row, offsets);
    for (int axis = rank - 1; axis >= 0; axis--) {
      for (int i = 0; i < operands; i++) offsets[i] += strides[i][axis];
      if (++at[axis] < sizes[axis]) break;
      for (int i = 0; i < operands; i++) offsets[i] -= sizes[axis] * strides[i][axis];
      at[axis] = 0;
    }
  }
}

inline int64_t product(const std::vector<int64_t>& sizes) { return checked_product(sizes.data(), sizes.size()); }

/** Elements that lie between the first and the last of a nest of loops, both included: what a place must hold. */
inline int64_t extent(const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides, int64_t offset,
                      const Arguments& arguments) {
  if (sizes.size() > kMaxAxes) arguments.fail("has too many axes");
  if (product(sizes) == 0) return 0;
  int64_t low = offset, high = offset;
  for (size_t axis = 0; axis < sizes.size(); axis++) {
    int64_t span;
    int64_t& end = strides[axis] < 0 ? low : high;
    if (__builtin_mul_overflow(sizes[axis] - 1, strides[axis], &span) || __builtin_add_overflow(end, span, &end) ||
        end > kMaxElements)
      arguments.fail("reaches beyond any memory");
  }
  if (low < 0) arguments.fail("reads before its place");
  return high + 1;
}

/** Bytes in whole cache lines. */
inline size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

/** Whether a step's images are those of the windows that it is in. */
inline void check_images(const Arguments& arguments, const CompileContext& context, int64_t batch) {
  if (context.images > 0 && batch != context.images)
    arguments.fail("has " + std::to_string(batch) + " images among windows of " + std::to_string(context.images));
}

/** The most images that a thread works on at a time. */
inline int64_t images_at_once(const CompileContext& context, int64_t batch) {
  const int64_t own = (batch + context.threads - 1) / context.threads;
  return context.window > 0 && context.window < own ? context.window : own;
}

/** The code of 0: where it is no number the scale is none either, and what is multiplied does not matter. */
inline uint8_t code_zero(float zero) { return zero > 0 ? static_cast<uint8_t>(std::min(std::nearbyint(zero), 255.0f)) : 0; }

/** An index of a row that a program was given. */
inline int64_t checked_row(int64_t row, int64_t size) {
  if (row < 0) row += size;
  if (row < 0 || row >= size)
    throw PlanError("index " + std::to_string(row) + " is outside an axis of " + std::to_string(size));
  return row;
}

}  // namespace frostbit
