// Reads and writes at positions given by tensors of indices.
#include <algorithm>
#include <cstring>

#include "steps.h"

namespace frostbit {
namespace {

/** Where each element of `indices` points: its own coordinates, but along one axis what it holds. */
class Elements {
 public:
  explicit Elements(Arguments& arguments) : sizes_(arguments.list()) {
    strides_[0] = arguments.list();
    if (strides_[0].size() != sizes_.size()) arguments.fail("has uneven lists");
    size_ = arguments.size(), step_ = arguments.size();
    count_ = product(sizes_);
    auto sizes = sizes_, strides = strides_[0];
    sizes.push_back(size_), strides.push_back(step_);
    extent_ = extent(sizes, strides, 0, arguments);
  }

  int64_t count() const { return count_; }
  /** Elements that x must have at least. */
  int64_t extent_of_x() const { return extent_; }

  template <class Visit>
  void visit(const int64_t* indices, Range range, Visit visit) const {
    for_each_row(sizes_, strides_, range,
                 [&](int64_t i, const int64_t* at) { visit(i, at[0] + checked_row(indices[i], size_) * step_); });
  }

 private:
  std::vector<int64_t> sizes_, strides_[1];
  int64_t size_, step_, count_, extent_;
};

template <class T>
class GatherElementsStep : public Step {
 public:
  GatherElementsStep(Arguments& arguments, CompileContext&) : elements_(arguments) {
    x_ = arguments.place<T>(elements_.extent_of_x());
    indices_ = arguments.place<int64_t>(elements_.count());
    y_ = arguments.place<T>(elements_.count());
  }

  void run(int, const RunContext& run) override {
    elements_.visit(indices_, share(run, elements_.count(), 16), [&](int64_t i, int64_t at) { y_[i] = x_[at]; });
  }

 private:
  Elements elements_;
  T *x_, *y_;
  int64_t* indices_;
};

/** Slices of x, each of `length` elements, by tuples of indices of its first axes after the batch ones. */
class Slices {
 public:
  explicit Slices(Arguments& arguments)
      : count_(arguments.size()),
        per_batch_(arguments.size()),
        batch_step_(arguments.size()),
        sizes_(arguments.list()),
        steps_(arguments.list()),
        length_(arguments.size()) {
    if (steps_.size() != sizes_.size() || (count_ > 0 && per_batch_ < 1)) arguments.fail("has uneven lists");
    if (count_ == 0) return;
    auto sizes = sizes_, strides = steps_;
    sizes.push_back((count_ - 1) / per_batch_ + 1), strides.push_back(batch_step_);
    sizes.push_back(length_), strides.push_back(1);
    for (const int64_t stride : strides)
      if (stride < 0) arguments.fail("has a negative stride");
    extent_ = extent(sizes, strides, 0, arguments);
  }

  int64_t count() const { return count_; }
  int64_t depth() const { return static_cast<int64_t>(sizes_.size()); }
  int64_t length() const { return length_; }
  int64_t extent_of_x() const { return extent_; }

  int64_t start(const int64_t* indices, int64_t i) const {
    int64_t at = i / per_batch_ * batch_step_;
    for (int64_t axis = 0; axis < depth(); axis++) at += checked_row(indices[i * depth() + axis], sizes_[axis]) * steps_[axis];
    return at;
  }

 private:
  int64_t count_, per_batch_, batch_step_;
  std::vector<int64_t> sizes_, steps_;
  int64_t length_, extent_ = 0;
};

template <class T>
class GatherSlicesStep : public Step {
 public:
  GatherSlicesStep(Arguments& arguments, CompileContext&) : slices_(arguments) {
    x_ = arguments.place<T>(slices_.extent_of_x());
    indices_ = arguments.place<int64_t>(slices_.count(), slices_.depth());
    y_ = arguments.place<T>(slices_.count(), slices_.length());
  }

  void run(int, const RunContext& run) override {
    if (slices_.length() == 0) return;
    const auto [begin, end] = share(run, slices_.count());
    for (int64_t i = begin; i < end; i++)
      std::memmove(y_ + i * slices_.length(), x_ + slices_.start(indices_, i), slices_.length() * sizeof(T));
  }

 private:
  Slices slices_;
  T *x_, *y_;
  int64_t* indices_;
};

/** Numbered as src/engines/native/lowerings/scatter.ts numbers them. */
enum class Combine : int64_t { None, Add, Mul, Max, Min, Count };

Combine combine_of(Arguments& arguments) {
  const auto op = static_cast<Combine>(arguments.size());
  if (op >= Combine::Count) arguments.fail("has an unknown reduction");
  return op;
}

template <class T>
T combined(Combine op, T old, T update) {
  switch (op) {
    case Combine::Add: return old + update;
    case Combine::Mul: return old * update;
    case Combine::Max: return std::max(old, update);
    case Combine::Min: return std::min(old, update);
    default: return update;
  }
}

/** Each thread reads all indices and writes what points into its part of y, in order: the result is always the same. */
template <class T>
class ScatterElementsStep : public Step {
 public:
  ScatterElementsStep(Arguments& arguments, CompileContext&)
      : op_(combine_of(arguments)), size_(arguments.size()), elements_(arguments) {
    if (elements_.extent_of_x() > size_) arguments.fail("writes past its end");
    x_ = arguments.place<T>(size_);
    indices_ = arguments.place<int64_t>(elements_.count());
    updates_ = arguments.place<T>(elements_.count());
    y_ = arguments.place<T>(size_);
  }

  void run(int, const RunContext& run) override {
    const auto [begin, end] = share(run, size_, 16);
    if (end > begin && y_ != x_) std::memmove(y_ + begin, x_ + begin, (end - begin) * sizeof(T));
    elements_.visit(indices_, {0, elements_.count()}, [&, begin = begin, end = end](int64_t i, int64_t at) {
      if (at >= begin && at < end) y_[at] = combined(op_, y_[at], updates_[i]);
    });
  }

 private:
  Combine op_;
  int64_t size_;
  Elements elements_;
  T *x_, *updates_, *y_;
  int64_t* indices_;
};

/** As ScatterElementsStep, for whole slices. */
template <class T>
class ScatterSlicesStep : public Step {
 public:
  ScatterSlicesStep(Arguments& arguments, CompileContext&)
      : op_(combine_of(arguments)), size_(arguments.size()), slices_(arguments) {
    if (slices_.extent_of_x() > size_) arguments.fail("writes past its end");
    x_ = arguments.place<T>(size_);
    indices_ = arguments.place<int64_t>(slices_.count(), slices_.depth());
    updates_ = arguments.place<T>(slices_.count(), slices_.length());
    y_ = arguments.place<T>(size_);
  }

  void run(int, const RunContext& run) override {
    const int64_t length = slices_.length();
    if (length == 0) return;
    const auto [begin, end] = share(run, size_, length);
    if (end > begin && y_ != x_) std::memmove(y_ + begin, x_ + begin, (end - begin) * sizeof(T));
    for (int64_t i = 0; i < slices_.count(); i++) {
      const int64_t at = slices_.start(indices_, i);
      if (at < begin || at >= end) continue;
      for (int64_t j = 0; j < length; j++) y_[at + j] = combined(op_, y_[at + j], updates_[i * length + j]);
    }
  }

 private:
  Combine op_;
  int64_t size_;
  Slices slices_;
  T *x_, *updates_, *y_;
  int64_t* indices_;
};

}  // namespace

StepMakers indexing_steps() {
  return {
      {"gatherElements1", make_step<GatherElementsStep<uint8_t>>},
      {"gatherElements2", make_step<GatherElementsStep<uint16_t>>},
      {"gatherElements4", make_step<GatherElementsStep<uint32_t>>},
      {"gatherElements8", make_step<GatherElementsStep<uint64_t>>},
      {"gatherSlices1", make_step<GatherSlicesStep<uint8_t>>},
      {"gatherSlices2", make_step<GatherSlicesStep<uint16_t>>},
      {"gatherSlices4", make_step<GatherSlicesStep<uint32_t>>},
      {"gatherSlices8", make_step<GatherSlicesStep<uint64_t>>},
      {"scatterElements:uint8", make_step<ScatterElementsStep<uint8_t>>},
      {"scatterElements:float32", make_step<ScatterElementsStep<float>>},
      {"scatterElements:int32", make_step<ScatterElementsStep<int32_t>>},
      {"scatterElements:int64", make_step<ScatterElementsStep<int64_t>>},
      {"scatterSlices:uint8", make_step<ScatterSlicesStep<uint8_t>>},
      {"scatterSlices:float32", make_step<ScatterSlicesStep<float>>},
      {"scatterSlices:int32", make_step<ScatterSlicesStep<int32_t>>},
      {"scatterSlices:int64", make_step<ScatterSlicesStep<int64_t>>},
  };
}

}  // namespace frostbit
