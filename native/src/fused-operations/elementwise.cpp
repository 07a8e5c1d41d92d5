// Arithmetic element by element.
#include "../fused-part.h"

namespace frostbit {
namespace {

/** An operand that is one element for all comes after the stream. */
class BinaryPart : public Part {
 public:
  BinaryPart(Arguments& arguments, const PartContext& context) : kernels_(context.kernels) {
    const int64_t op = arguments.size(), repeat = arguments.size();
    if (op >= static_cast<int64_t>(Binary::Count) || repeat > 2) arguments.fail("has an unknown operation");
    op_ = static_cast<Binary>(op), repeat_ = static_cast<Repeat>(repeat);
    if (repeat_ != Repeat::Left) a_ = arguments.stream<float>(context.count);
    if (repeat_ != Repeat::Right) b_ = arguments.stream<float>(context.count);
    if (repeat_ == Repeat::Left) left_ = arguments.place<float>(1);
    if (repeat_ == Repeat::Right) right_ = arguments.place<float>(1);
    y_ = arguments.stream<float>(context.count);
  }

  void run(const Chunk& chunk) override {
    kernels_->binary(op_, repeat_, left_ ? left_ : chunk.at(a_), right_ ? right_ : chunk.at(b_), chunk.at(y_), chunk.count);
  }

 private:
  const Kernels* kernels_;
  Binary op_;
  Repeat repeat_;
  float *left_ = nullptr, *right_ = nullptr;
  Stream<float> a_, b_, y_;
};

/** One operand is a row that every row of the stream meets. */
class BinaryRowPart : public Part {
 public:
  BinaryRowPart(Arguments& arguments, const PartContext& context) : kernels_(context.kernels), width_(context.width) {
    const int64_t op = arguments.size(), repeat = arguments.size();
    if (op >= static_cast<int64_t>(Binary::Count) || repeat < 1 || repeat > 2) arguments.fail("has an unknown operation");
    op_ = static_cast<Binary>(op), is_right_ = repeat == 1;
    x_ = arguments.stream<float>(context.count);
    row_ = arguments.place<float>(width_);
    y_ = arguments.stream<float>(context.count);
  }

  void run(const Chunk& chunk) override {
    const float* x = chunk.at(x_);
    float* y = chunk.at(y_);
    for (int64_t i = 0; i < chunk.count; i += width_)
      kernels_->binary(op_, Repeat::None, is_right_ ? x + i : row_, is_right_ ? row_ : x + i, y + i, width_);
  }

 private:
  const Kernels* kernels_;
  int64_t width_;
  Binary op_;
  bool is_right_;
  float* row_;
  Stream<float> x_, y_;
};

class UnaryPart : public Part {
 public:
  UnaryPart(Arguments& arguments, const PartContext& context)
      : kernels_(context.kernels), alpha_(arguments.number()), beta_(arguments.number()) {
    const int64_t op = arguments.size();
    if (op >= static_cast<int64_t>(Unary::Count)) arguments.fail("has an unknown operation");
    op_ = static_cast<Unary>(op);
    x_ = arguments.stream<float>(context.count);
    y_ = arguments.stream<float>(context.count);
  }

  void run(const Chunk& chunk) override { kernels_->unary(op_, chunk.at(x_), chunk.at(y_), chunk.count, alpha_, beta_); }

 private:
  const Kernels* kernels_;
  Unary op_;
  float alpha_, beta_;
  Stream<float> x_, y_;
};

class ClipPart : public Part {
 public:
  ClipPart(Arguments& arguments, const PartContext& context)
      : kernels_(context.kernels),
        x_(arguments.stream<float>(context.count)),
        low_(arguments.optional<float>(1)),
        high_(arguments.optional<float>(1)),
        y_(arguments.stream<float>(context.count)) {}

  void run(const Chunk& chunk) override {
    kernels_->clip(chunk.at(x_), chunk.at(y_), chunk.count, low_ ? *low_ : -__builtin_inff(),
                   high_ ? *high_ : __builtin_inff());
  }

 private:
  const Kernels* kernels_;
  Stream<float> x_;
  float *low_, *high_;
  Stream<float> y_;
};

}  // namespace

PartMakers elementwise_parts() {
  return {{"binary", make_part<BinaryPart>},
          {"binaryRow", make_part<BinaryRowPart>},
          {"unary", make_part<UnaryPart>},
          {"clip", make_part<ClipPart>}};
}

}  // namespace frostbit
