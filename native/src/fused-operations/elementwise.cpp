// Arithmetic element by element.
#include "../fused-operation.h"
#include "../loop-functions.h"

namespace frostbit {
namespace {

bool is_of_a_loop(Binary op) {
  return op == Binary::Add || op == Binary::Sub || op == Binary::Mul || op == Binary::Div || op == Binary::ReluGradient;
}

LoopMaker::Value in_loop(LoopMaker& loop, Binary op, LoopMaker::Value a, LoopMaker::Value b) {
  switch (op) {
    case Binary::Add: return loop.add(a, b);
    case Binary::Sub: return loop.subtract(a, b);
    case Binary::Mul: return loop.multiply(a, b);
    case Binary::Div: return loop.divide(a, b);
    default: return loop.choose(loop.is_greater(b, loop.zero()), a, loop.zero());
  }
}

/** −1 where loops have no such operation. */
LoopMaker::Value in_loop(LoopMaker& loop, Unary op, LoopMaker::Value x) {
  switch (op) {
    // The zero comes first, so that what is no number stays none.
    case Unary::Relu: return loop.greater(loop.zero(), x);
    case Unary::Copy: return x;
    case Unary::Neg: return loop.negative(x);
    case Unary::Reciprocal: return loop.divide(loop.literal(1.0f), x);
    case Unary::Exp: return exp_in(loop, x);
    case Unary::Sigmoid: return sigmoid_in(loop, x);
    case Unary::Tanh: return tanh_in(loop, x);
    case Unary::Erf: return erf_in(loop, x);
    case Unary::Gelu: return gelu_in(loop, x);
    case Unary::GeluTanh: return gelu_tanh_in(loop, x);
    default: return -1;
  }
}

/** A broadcast operand, one element for all, comes after the element-wise one. */
class BinaryOperation : public FusedOperation {
 public:
  BinaryOperation(Arguments& arguments, const FusedContext& context) : kernels_(context.kernels) {
    const int64_t op = arguments.size(), repeat = arguments.size();
    if (op >= static_cast<int64_t>(Binary::Count) || repeat > 2) arguments.fail("has an unknown operation");
    op_ = static_cast<Binary>(op), repeat_ = static_cast<Repeat>(repeat);
    if (repeat_ != Repeat::Left) a_ = arguments.elementwise<float>(context.count);
    if (repeat_ != Repeat::Right) b_ = arguments.elementwise<float>(context.count);
    if (repeat_ == Repeat::Left) left_ = arguments.place<float>(1);
    if (repeat_ == Repeat::Right) right_ = arguments.place<float>(1);
    y_ = arguments.elementwise<float>(context.count);
  }

  void run(const Chunk& chunk) override {
    kernels_->binary(op_, repeat_, left_ ? left_ : chunk.at(a_), right_ ? right_ : chunk.at(b_), chunk.at(y_), chunk.count);
  }

  bool describe(LoopMaker& loop) override {
    if (!is_of_a_loop(op_)) return false;
    const auto one = [&](const float* value) { return loop.number([value](int) { return *value; }); };
    const auto a = left_ ? one(left_) : loop.read(a_), b = right_ ? one(right_) : loop.read(b_);
    loop.write(y_, in_loop(loop, op_, a, b));
    return true;
  }

 private:
  const Kernels* kernels_;
  Binary op_;
  Repeat repeat_;
  float *left_ = nullptr, *right_ = nullptr;
  Elementwise<float> a_, b_, y_;
};

/** One operand is a row that every row of the element-wise one meets. */
class BinaryRowOperation : public FusedOperation {
 public:
  BinaryRowOperation(Arguments& arguments, const FusedContext& context) : kernels_(context.kernels), width_(context.width) {
    const int64_t op = arguments.size(), repeat = arguments.size();
    if (op >= static_cast<int64_t>(Binary::Count) || repeat < 1 || repeat > 2) arguments.fail("has an unknown operation");
    op_ = static_cast<Binary>(op), is_right_ = repeat == 1;
    x_ = arguments.elementwise<float>(context.count);
    row_ = arguments.place<float>(width_);
    y_ = arguments.elementwise<float>(context.count);
  }

  void run(const Chunk& chunk) override {
    const float* x = chunk.at(x_);
    float* y = chunk.at(y_);
    for (int64_t i = 0; i < chunk.count; i += width_)
      kernels_->binary(op_, Repeat::None, is_right_ ? x + i : row_, is_right_ ? row_ : x + i, y + i, width_);
  }

  bool describe(LoopMaker& loop) override {
    if (!is_of_a_loop(op_)) return false;
    const auto x = loop.read(x_), row = loop.column([this](int) { return row_; });
    loop.write(y_, is_right_ ? in_loop(loop, op_, x, row) : in_loop(loop, op_, row, x));
    return true;
  }

 private:
  const Kernels* kernels_;
  int64_t width_;
  Binary op_;
  bool is_right_;
  float* row_;
  Elementwise<float> x_, y_;
};

class UnaryOperation : public FusedOperation {
 public:
  UnaryOperation(Arguments& arguments, const FusedContext& context)
      : kernels_(context.kernels), alpha_(arguments.number()), beta_(arguments.number()) {
    const int64_t op = arguments.size();
    if (op >= static_cast<int64_t>(Unary::Count)) arguments.fail("has an unknown operation");
    op_ = static_cast<Unary>(op);
    x_ = arguments.elementwise<float>(context.count);
    y_ = arguments.elementwise<float>(context.count);
  }

  void run(const Chunk& chunk) override { kernels_->unary(op_, chunk.at(x_), chunk.at(y_), chunk.count, alpha_, beta_); }

  bool describe(LoopMaker& loop) override {
    const auto y = in_loop(loop, op_, loop.read(x_));
    if (y < 0) return false;
    loop.write(y_, y);
    return true;
  }

 private:
  const Kernels* kernels_;
  Unary op_;
  float alpha_, beta_;
  Elementwise<float> x_, y_;
};

/** One that is left out bounds nothing. */
class Bounds {
 public:
  explicit Bounds(Arguments& arguments) : low_(arguments.optional<float>(1)), high_(arguments.optional<float>(1)) {}

  struct InLoop {
    LoopMaker::Value low, high;
  };
  InLoop in(LoopMaker& loop) const {
    return {loop.number([this](int) { return low(); }), loop.number([this](int) { return high(); })};
  }

  float low() const { return low_ ? *low_ : -__builtin_inff(); }
  float high() const { return high_ ? *high_ : __builtin_inff(); }

 private:
  float *low_, *high_;
};

class ClipOperation : public FusedOperation {
 public:
  ClipOperation(Arguments& arguments, const FusedContext& context)
      : kernels_(context.kernels),
        x_(arguments.elementwise<float>(context.count)),
        bounds_(arguments),
        y_(arguments.elementwise<float>(context.count)) {}

  void run(const Chunk& chunk) override {
    kernels_->clip(chunk.at(x_), chunk.at(y_), chunk.count, bounds_.low(), bounds_.high());
  }

  bool describe(LoopMaker& loop) override {
    const auto [low, high] = bounds_.in(loop);
    loop.write(y_, loop.less(high, loop.greater(low, loop.read(x_))));
    return true;
  }

 private:
  const Kernels* kernels_;
  Elementwise<float> x_;
  Bounds bounds_;
  Elementwise<float> y_;
};

class ClipGradientOperation : public FusedOperation {
 public:
  ClipGradientOperation(Arguments& arguments, const FusedContext& context)
      : kernels_(context.kernels),
        dy_(arguments.elementwise<float>(context.count)),
        x_(arguments.elementwise<float>(context.count)),
        bounds_(arguments),
        dx_(arguments.elementwise<float>(context.count)) {}

  void run(const Chunk& chunk) override {
    kernels_->clip_gradient(chunk.at(dy_), chunk.at(x_), chunk.at(dx_), chunk.count, bounds_.low(), bounds_.high());
  }

  bool describe(LoopMaker& loop) override {
    const auto [low, high] = bounds_.in(loop);
    const auto x = loop.read(x_);
    const auto is_outside = loop.either(loop.is_less(x, low), loop.is_greater(x, high));
    loop.write(dx_, loop.choose(is_outside, loop.zero(), loop.read(dy_)));
    return true;
  }

 private:
  const Kernels* kernels_;
  Elementwise<float> dy_, x_;
  Bounds bounds_;
  Elementwise<float> dx_;
};

/** A broadcast operand, one element for all, comes after the element-wise one. */
class CompareOperation : public FusedOperation {
 public:
  CompareOperation(Arguments& arguments, const FusedContext& context) : kernels_(context.kernels) {
    const int64_t op = arguments.size(), repeat = arguments.size();
    if (op >= static_cast<int64_t>(Comparison::And) || repeat > 2) arguments.fail("has an unknown operation");
    op_ = static_cast<Comparison>(op), repeat_ = static_cast<Repeat>(repeat);
    if (repeat_ != Repeat::Left) a_ = arguments.elementwise<float>(context.count);
    if (repeat_ != Repeat::Right) b_ = arguments.elementwise<float>(context.count);
    if (repeat_ != Repeat::None) one_ = arguments.place<float>(1);
    y_ = arguments.elementwise<uint8_t>(context.count);
  }

  void run(const Chunk& chunk) override {
    const float* a = repeat_ == Repeat::Left ? one_ : chunk.at(a_);
    const float* b = repeat_ == Repeat::Right ? one_ : chunk.at(b_);
    kernels_->compare(op_, repeat_, a, b, chunk.at(y_), chunk.count);
  }

 private:
  const Kernels* kernels_;
  Comparison op_;
  Repeat repeat_;
  float* one_ = nullptr;
  Elementwise<float> a_, b_;
  Elementwise<uint8_t> y_;
};

/** And, Or or Xor of conditions. */
class CombineConditionsOperation : public FusedOperation {
 public:
  CombineConditionsOperation(Arguments& arguments, const FusedContext& context)
      : kernels_(context.kernels), op_(static_cast<Comparison>(arguments.size())) {
    if (op_ < Comparison::And || op_ >= Comparison::Count) arguments.fail("has an unknown operation");
    a_ = arguments.elementwise<uint8_t>(context.count);
    b_ = arguments.elementwise<uint8_t>(context.count);
    y_ = arguments.elementwise<uint8_t>(context.count);
  }

  void run(const Chunk& chunk) override {
    kernels_->combine_conditions(op_, chunk.at(a_), chunk.at(b_), chunk.at(y_), chunk.count);
  }

 private:
  const Kernels* kernels_;
  Comparison op_;
  Elementwise<uint8_t> a_, b_, y_;
};

/** a where the condition holds, else b; what is one element for all comes after the element-wise ones. */
class WhereOperation : public FusedOperation {
 public:
  WhereOperation(Arguments& arguments, const FusedContext& context) : kernels_(context.kernels) {
    const int64_t a_is_one = arguments.size(), b_is_one = arguments.size();
    condition_ = arguments.elementwise<uint8_t>(context.count);
    if (!a_is_one) a_ = arguments.elementwise<float>(context.count);
    if (!b_is_one) b_ = arguments.elementwise<float>(context.count);
    if (a_is_one) one_a_ = arguments.place<float>(1);
    if (b_is_one) one_b_ = arguments.place<float>(1);
    y_ = arguments.elementwise<float>(context.count);
  }

  void run(const Chunk& chunk) override {
    const float* a = one_a_ ? one_a_ : chunk.at(a_);
    const float* b = one_b_ ? one_b_ : chunk.at(b_);
    kernels_->choose(chunk.at(condition_), a, b, one_a_, one_b_, chunk.at(y_), chunk.count);
  }

 private:
  const Kernels* kernels_;
  float *one_a_ = nullptr, *one_b_ = nullptr;
  Elementwise<uint8_t> condition_;
  Elementwise<float> a_, b_, y_;
};

/** All of a or all of b, as one condition says. */
class SelectOperation : public FusedOperation {
 public:
  SelectOperation(Arguments& arguments, const FusedContext& context)
      : kernels_(context.kernels),
        a_(arguments.elementwise<float>(context.count)),
        b_(arguments.elementwise<float>(context.count)),
        condition_(arguments.place<uint8_t>(1)),
        y_(arguments.elementwise<float>(context.count)) {}

  void run(const Chunk& chunk) override {
    const float* chosen = chunk.at(*condition_ ? a_ : b_);
    if (chosen != chunk.at(y_)) kernels_->unary(Unary::Copy, chosen, chunk.at(y_), chunk.count, 0, 0);
  }

 private:
  const Kernels* kernels_;
  Elementwise<float> a_, b_;
  uint8_t* condition_;
  Elementwise<float> y_;
};

}  // namespace

FusedOperationMakers elementwise_operations() {
  return {{"binary", make_operation<BinaryOperation>},
          {"binaryRow", make_operation<BinaryRowOperation>},
          {"unary", make_operation<UnaryOperation>},
          {"clip", make_operation<ClipOperation>},
          {"clipGradient", make_operation<ClipGradientOperation>},
          {"compare", make_operation<CompareOperation>},
          {"combineConditions", make_operation<CombineConditionsOperation>},
          {"where", make_operation<WhereOperation>},
          {"select", make_operation<SelectOperation>}};
}

}  // namespace frostbit
