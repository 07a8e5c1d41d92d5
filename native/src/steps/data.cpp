// Moves data: strided copies, fills, gathers, one-hot rows.
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "steps.h"

namespace frostbit {
namespace {

/** One strided copy of elements of `T`: what Transpose, Slice, Expand, Concat and changes of layout are made of. */
template <class T>
class CopyStep : public Step {
 public:
  CopyStep(Arguments& arguments, CompileContext& context) : kernels_(context.kernels) {
    auto sizes = arguments.list();
    auto from = arguments.list(), to = arguments.list();
    const int64_t from_offset = arguments.size(), to_offset = arguments.size();
    if (sizes.empty() || from.size() != sizes.size() || to.size() != sizes.size()) arguments.fail("has uneven lists");
    x_ = arguments.place<T>(extent(sizes, from, from_offset, arguments)) + from_offset;
    y_ = arguments.place<T>(extent(sizes, to, to_offset, arguments)) + to_offset;
    length_ = sizes.back(), from_ = from.back(), to_ = to.back();
    sizes.pop_back(), from.pop_back(), to.pop_back();
    rows_ = product(sizes);
    sizes_ = sizes, strides_[0] = from, strides_[1] = to;
    if (!sizes.empty()) height_ = sizes.back(), down_[0] = from.back(), down_[1] = to.back();
    is_turned_ = height_ >= 8 && length_ >= 8 && ((to_ == 1 && down_[0] == 1) || (from_ == 1 && down_[1] == 1));
    if (!is_turned_) return;
    sizes_.back() = (height_ + kTile - 1) / kTile;
    rows_ = product(sizes_);
    for (auto& strides : strides_) strides.back() *= kTile;
  }

  void run(int, const RunContext& run) override {
    if (length_ == 0) return;
    if (is_turned_) return turn(run);
    for_each_row(sizes_, strides_, share(run, rows_), [&](int64_t, const int64_t* at) {
      const T* x = x_ + at[0];
      T* y = y_ + at[1];
      if (from_ == 1 && to_ == 1) {
        std::memmove(y, x, length_ * sizeof(T));
        return;
      }
      for (int64_t i = 0; i < length_; i++) y[i * to_] = x[i * from_];
    });
  }

 private:
  /** What lies along rows on one side and down columns on the other. */
  void turn(const RunContext& run) const {
    for_each_row(sizes_, strides_, share(run, rows_), [&](int64_t row, const int64_t* at) {
      const int64_t rows = std::min(kTile, height_ - row % sizes_.back() * kTile);
      for (int64_t begin = 0; begin < length_; begin += kTile) {
        const int64_t columns = std::min(kTile, length_ - begin);
        const T* x = x_ + at[0] + begin * from_;
        T* y = y_ + at[1] + begin * to_;
        if (to_ == 1)
          turn_tile(x, from_, y, down_[1], columns, rows);
        else
          turn_tile(x, down_[0], y, to_, rows, columns);
      }
    });
  }

  static constexpr int64_t kTile = 16;

  /** y[j, i] = x[i, j], rows of each so many elements apart. */
  void turn_tile(const T* x, int64_t x_step, T* y, int64_t y_step, int64_t rows, int64_t columns) const {
    if constexpr (std::is_same_v<T, uint32_t>) return kernels_->turn_tile(x, x_step, y, y_step, rows, columns);
    T tile[kTile][kTile];
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < columns; j++) tile[j][i] = x[i * x_step + j];
    for (int64_t j = 0; j < columns; j++) std::memcpy(y + j * y_step, tile[j], rows * sizeof(T));
  }

  const Kernels* kernels_;
  std::vector<int64_t> sizes_, strides_[2];
  int64_t length_, from_, to_, rows_;
  /** Of the axis before the last: its size, and how far its elements are apart. */
  int64_t height_ = 0, down_[2] = {0, 0};
  bool is_turned_ = false;
  T *x_, *y_;
};

/** Every element the same: the contents of `value`, or zero where it is left out. */
template <class T>
class FillStep : public Step {
 public:
  FillStep(Arguments& arguments, CompileContext&) : count_(arguments.size()) {
    value_ = arguments.optional<T>(1);
    y_ = arguments.place<T>(count_);
  }

  void run(int, const RunContext& run) override {
    const T value = value_ ? *value_ : T(0);
    const auto [begin, end] = share(run, count_, 16);
    for (int64_t i = begin; i < end; i++) y_[i] = value;
  }

 private:
  int64_t count_;
  T *value_, *y_;
};

/** y[o, i, …] = x[o, indices[i], …] */
template <class T>
class GatherStep : public Step {
 public:
  GatherStep(Arguments& arguments, CompileContext&)
      : outer_(arguments.size()),
        size_(arguments.size()),
        inner_(arguments.size()),
        count_(arguments.integer()),
        max_(arguments.size()) {
    x_ = arguments.place<T>(outer_, size_, inner_);
    indices_ = arguments.place<int64_t>(max_);
    y_ = arguments.place<T>(outer_, max_, inner_);
  }

  void run(int, const RunContext& run) override {
    const int64_t count = run.size(count_);
    if (count > max_) throw PlanError("more rows than there are");
    const auto [begin, end] = share(run, outer_ * count);
    for (int64_t i = begin; i < end; i++) {
      const int64_t row = checked_row(indices_[i % count], size_);
      std::memmove(y_ + i * inner_, x_ + (i / count * size_ + row) * inner_, inner_ * sizeof(T));
    }
  }

 private:
  int64_t outer_, size_, inner_, count_, max_;
  T *x_, *y_;
  int64_t* indices_;
};

/** y[o, k, i] = values[indices[o, i] = k] */
template <class T>
class OneHotStep : public Step {
 public:
  OneHotStep(Arguments& arguments, CompileContext&)
      : outer_(arguments.size()), depth_(arguments.size()), inner_(arguments.size()) {
    indices_ = arguments.place<int64_t>(outer_, inner_);
    values_ = arguments.place<T>(2);
    y_ = arguments.place<T>(outer_, depth_, inner_);
  }

  void run(int, const RunContext& run) override {
    const auto [begin, end] = share(run, outer_);
    for (int64_t o = begin; o < end; o++)
      for (int64_t i = 0; i < inner_; i++) {
        const int64_t given = indices_[o * inner_ + i];
        const int64_t index = given < 0 ? given + depth_ : given;
        for (int64_t k = 0; k < depth_; k++) y_[(o * depth_ + k) * inner_ + i] = values_[k == index];
      }
  }

 private:
  int64_t outer_, depth_, inner_;
  int64_t* indices_;
  T *values_, *y_;
};

}  // namespace

StepMakers data_steps() {
  return {
      {"copy1", make_step<CopyStep<uint8_t>>},      {"copy2", make_step<CopyStep<uint16_t>>},
      {"copy4", make_step<CopyStep<uint32_t>>},     {"copy8", make_step<CopyStep<uint64_t>>},
      {"fill1", make_step<FillStep<uint8_t>>},      {"fill2", make_step<FillStep<uint16_t>>},
      {"fill4", make_step<FillStep<uint32_t>>},     {"fill8", make_step<FillStep<uint64_t>>},
      {"gather1", make_step<GatherStep<uint8_t>>},  {"gather2", make_step<GatherStep<uint16_t>>},
      {"gather4", make_step<GatherStep<uint32_t>>}, {"gather8", make_step<GatherStep<uint64_t>>},
      {"oneHot1", make_step<OneHotStep<uint8_t>>},  {"oneHot4", make_step<OneHotStep<uint32_t>>},
      {"oneHot8", make_step<OneHotStep<uint64_t>>},
  };
}

}  // namespace frostbit
