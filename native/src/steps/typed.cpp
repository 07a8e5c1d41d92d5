// Element by element in other types than float32: arithmetic of integers and float64, predicates, casts. Plain loops.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "steps.h"

namespace frostbit {
namespace {

constexpr int64_t kUnit = 16;

/** Numbered as src/engines/native/lowerings/typed.ts numbers them. */
enum class Arithmetic : int64_t {
  Add,
  Sub,
  Mul,
  Div,
  Max,
  Min,
  Pow,
  Mod,
  FMod,
  BitwiseAnd,
  BitwiseOr,
  BitwiseXor,
  ShiftLeft,
  ShiftRight,
  Count
};

template <class T>
T remainder_of(T a, T b, bool takes_sign_of_a) {
  if constexpr (std::is_floating_point_v<T>) {
    return takes_sign_of_a ? std::fmod(a, b) : std::fmod(std::fmod(a, b) + b, b);
  } else {
    if (b == 0) throw PlanError("a remainder of a division by zero");
    if (std::is_signed_v<T> && b == T(-1)) return 0;
    const T rest = static_cast<T>(a % b);
    return !takes_sign_of_a && rest != 0 && (rest < 0) != (b < 0) ? static_cast<T>(rest + b) : rest;
  }
}

template <class T>
T quotient_of(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    return a / b;
  } else {
    if (b == 0) throw PlanError("a division of integers by zero");
    if (std::is_signed_v<T> && b == T(-1)) return static_cast<T>(0 - static_cast<uint64_t>(a));
    return static_cast<T>(a / b);
  }
}

/** Bits that are shifted beyond either end are lost. */
template <class T>
T with_bits(Arithmetic op, T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    throw PlanError("reals have no bits to work on");
  } else {
    const bool is_beyond = b < T(0) || static_cast<uint64_t>(b) >= 8 * sizeof(T);
    switch (op) {
      case Arithmetic::BitwiseAnd: return static_cast<T>(a & b);
      case Arithmetic::BitwiseOr: return static_cast<T>(a | b);
      case Arithmetic::BitwiseXor: return static_cast<T>(a ^ b);
      case Arithmetic::ShiftLeft: return is_beyond ? T(0) : static_cast<T>(static_cast<uint64_t>(a) << b);
      default: return is_beyond ? T(a < T(0) ? -1 : 0) : static_cast<T>(a >> b);
    }
  }
}

/** Integers wrap around. */
template <class T>
T computed(Arithmetic op, T a, T b) {
  using Wide = std::conditional_t<std::is_floating_point_v<T>, T, uint64_t>;
  const Wide left = static_cast<Wide>(a), right = static_cast<Wide>(b);
  switch (op) {
    case Arithmetic::Add: return static_cast<T>(left + right);
    case Arithmetic::Sub: return static_cast<T>(left - right);
    case Arithmetic::Mul: return static_cast<T>(left * right);
    case Arithmetic::Div: return quotient_of(a, b);
    case Arithmetic::Max: return a > b || a != a ? a : b;
    case Arithmetic::Min: return a < b || a != a ? a : b;
    case Arithmetic::Pow: return static_cast<T>(std::pow(static_cast<double>(a), static_cast<double>(b)));
    case Arithmetic::Mod: return remainder_of(a, b, false);
    case Arithmetic::FMod: return remainder_of(a, b, true);
    default: return with_bits(op, a, b);
  }
}

/** y, contiguous, from operands with strides. */
template <class T>
class ArithmeticStep : public Step {
 public:
  ArithmeticStep(Arguments& arguments, CompileContext&) : op_(static_cast<Arithmetic>(arguments.size())) {
    if (op_ >= Arithmetic::Count) arguments.fail("has an unknown operation");
    sizes_ = arguments.list(), strides_[0] = arguments.list(), strides_[1] = arguments.list();
    if (strides_[0].size() != sizes_.size() || strides_[1].size() != sizes_.size()) arguments.fail("has uneven lists");
    a_ = arguments.place<T>(extent(sizes_, strides_[0], 0, arguments));
    b_ = arguments.place<T>(extent(sizes_, strides_[1], 0, arguments));
    y_ = arguments.place<T>(product(sizes_));
  }

  void run(int, const RunContext& run) override {
    for_each_row(sizes_, strides_, share(run, product(sizes_), kUnit),
                 [&](int64_t i, const int64_t* at) { y_[i] = computed(op_, a_[at[0]], b_[at[1]]); });
  }

 private:
  Arithmetic op_;
  std::vector<int64_t> sizes_, strides_[2];
  T *a_, *b_, *y_;
};

template <class T>
T negated(T x) {
  return static_cast<T>(0 - static_cast<std::conditional_t<std::is_floating_point_v<T>, T, uint64_t>>(x));
}

struct Negate {
  template <class T>
  T operator()(T x) const {
    return negated(x);
  }
};
struct Magnitude {
  template <class T>
  T operator()(T x) const {
    return x < 0 ? negated(x) : x;
  }
};
struct SignOf {
  template <class T>
  T operator()(T x) const {
    return x > 0 ? T(1) : x < 0 ? T(-1) : x;
  }
};
struct IsNotANumber {
  template <class T>
  uint8_t operator()(T x) const {
    return x != x;
  }
};
struct Complement {
  template <class T>
  T operator()(T x) const {
    return static_cast<T>(~x);
  }
};
struct Opposite {
  uint8_t operator()(uint8_t x) const { return x == 0; }
};

/** y = operation(x), element by element. */
template <class From, class To, class Operation>
class MapStep : public Step {
 public:
  MapStep(Arguments& arguments, CompileContext&) : count_(arguments.size()) {
    x_ = arguments.place<From>(count_);
    y_ = arguments.place<To>(count_);
  }

  void run(int, const RunContext& run) override {
    const auto [begin, end] = share(run, count_, kUnit);
    for (int64_t i = begin; i < end; i++) y_[i] = Operation()(x_[i]);
  }

 private:
  int64_t count_;
  From* x_;
  To* y_;
};

template <class To, class From>
To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

float of_half(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
  if (exponent == 0) {
    const float value = std::ldexp(static_cast<float>(fraction), -24);
    return sign ? -value : value;
  }
  return bits_as<float>(sign | (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13);
}

/** Rounded to the nearest, ties to even. */
uint16_t half_of(float value) {
  const auto bits = bits_as<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const float size = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7e00;
  if (size >= 65520.0f) return sign | 0x7c00;
  if (size < 6.103515625e-05f) return sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(size, 24)));
  const uint32_t rounded = (bits & 0x7fffffff) + 0xfff + (bits >> 13 & 1);
  return sign | static_cast<uint16_t>((rounded >> 13) - (112 << 10));
}

float of_bfloat16(uint16_t half) { return bits_as<float>(static_cast<uint32_t>(half) << 16); }

uint16_t bfloat16_of(float value) {
  const auto bits = bits_as<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/** Numbered as src/engines/native/lowerings/cast.ts numbers them. */
enum class Type : int64_t {
  Float32,
  Float64,
  Float16,
  Bfloat16,
  Int8,
  Uint8,
  Int16,
  Uint16,
  Int32,
  Uint32,
  Int64,
  Uint64,
  Bool,
  Count
};

int64_t bytes_of(Type type) {
  static constexpr int64_t bytes[] = {4, 8, 2, 2, 1, 1, 2, 2, 4, 4, 8, 8, 1};
  return bytes[static_cast<int64_t>(type)];
}

bool is_real(Type type) { return type <= Type::Bfloat16; }

template <class T, class To>
void load(const char* from, To* to, int64_t count) {
  const T* x = reinterpret_cast<const T*>(from);
  for (int64_t i = 0; i < count; i++) to[i] = static_cast<To>(x[i]);
}

void load_reals(Type type, const char* from, double* to, int64_t count) {
  const uint16_t* halves = reinterpret_cast<const uint16_t*>(from);
  switch (type) {
    case Type::Float32: return load<float>(from, to, count);
    case Type::Float64: return load<double>(from, to, count);
    case Type::Float16:
      for (int64_t i = 0; i < count; i++) to[i] = of_half(halves[i]);
      return;
    default:
      for (int64_t i = 0; i < count; i++) to[i] = of_bfloat16(halves[i]);
  }
}

void load_integers(Type type, const char* from, int64_t* to, int64_t count) {
  switch (type) {
    case Type::Int8: return load<int8_t>(from, to, count);
    case Type::Int16: return load<int16_t>(from, to, count);
    case Type::Uint16: return load<uint16_t>(from, to, count);
    case Type::Int32: return load<int32_t>(from, to, count);
    case Type::Uint32: return load<uint32_t>(from, to, count);
    case Type::Int64:
    case Type::Uint64: return load<int64_t>(from, to, count);
    default: return load<uint8_t>(from, to, count);
  }
}

template <class T, class From>
void store(const From* from, char* to, int64_t count) {
  T* y = reinterpret_cast<T*>(to);
  for (int64_t i = 0; i < count; i++) y[i] = static_cast<T>(from[i]);
}

void store_reals(Type type, const double* from, char* to, int64_t count) {
  uint16_t* halves = reinterpret_cast<uint16_t*>(to);
  switch (type) {
    case Type::Float32: return store<float>(from, to, count);
    case Type::Float64: return store<double>(from, to, count);
    case Type::Float16:
      for (int64_t i = 0; i < count; i++) halves[i] = half_of(static_cast<float>(from[i]));
      return;
    default:
      for (int64_t i = 0; i < count; i++) halves[i] = bfloat16_of(static_cast<float>(from[i]));
  }
}

void store_integers(Type type, const int64_t* from, char* to, int64_t count) {
  switch (type) {
    case Type::Bool:
      for (int64_t i = 0; i < count; i++) to[i] = from[i] != 0;
      return;
    case Type::Int8:
    case Type::Uint8: return store<uint8_t>(from, to, count);
    case Type::Int16:
    case Type::Uint16: return store<uint16_t>(from, to, count);
    case Type::Int32:
    case Type::Uint32: return store<uint32_t>(from, to, count);
    default: return store<int64_t>(from, to, count);
  }
}

/** Cut towards zero; what no integer holds becomes the nearest one, and 0 where it is no number. */
int64_t integer_of(double value) {
  if (!(value == value)) return 0;
  if (value >= 9223372036854775807.0) return std::numeric_limits<int64_t>::max();
  return value <= -9223372036854775808.0 ? std::numeric_limits<int64_t>::min() : static_cast<int64_t>(value);
}

/** Through float64 or int64, a block at a time. */
class CastStep : public Step {
 public:
  CastStep(Arguments& arguments, CompileContext&)
      : from_(static_cast<Type>(arguments.size())), to_(static_cast<Type>(arguments.size())), count_(arguments.size()) {
    if (from_ >= Type::Count || to_ >= Type::Count) arguments.fail("has an unknown type");
    x_ = arguments.place<char>(count_, bytes_of(from_));
    y_ = arguments.place<char>(count_, bytes_of(to_));
  }

  void run(int, const RunContext& run) override {
    const auto [begin, end] = share(run, count_, kBlock);
    for (int64_t i = begin; i < end; i += kBlock) cast(i, std::min(kBlock, end - i));
  }

 private:
  static constexpr int64_t kBlock = 256;

  void cast(int64_t first, int64_t count) {
    const char* from = x_ + first * bytes_of(from_);
    char* to = y_ + first * bytes_of(to_);
    double reals[kBlock];
    int64_t integers[kBlock];
    if (is_real(from_))
      load_reals(from_, from, reals, count);
    else
      load_integers(from_, from, integers, count);
    if (is_real(from_) && !is_real(to_))
      for (int64_t i = 0; i < count; i++) integers[i] = to_ == Type::Bool ? reals[i] != 0 : integer_of(reals[i]);
    if (!is_real(from_) && is_real(to_))
      for (int64_t i = 0; i < count; i++)
        reals[i] =
            from_ == Type::Uint64 ? static_cast<double>(static_cast<uint64_t>(integers[i])) : static_cast<double>(integers[i]);
    if (is_real(to_))
      store_reals(to_, reals, to, count);
    else
      store_integers(to_, integers, to, count);
  }

  Type from_, to_;
  int64_t count_;
  char *x_, *y_;
};

}  // namespace

StepMakers typed_steps() {
  return {
      {"arithmetic:float64", make_step<ArithmeticStep<double>>},
      {"arithmetic:int8", make_step<ArithmeticStep<int8_t>>},
      {"arithmetic:uint8", make_step<ArithmeticStep<uint8_t>>},
      {"arithmetic:int16", make_step<ArithmeticStep<int16_t>>},
      {"arithmetic:uint16", make_step<ArithmeticStep<uint16_t>>},
      {"arithmetic:int32", make_step<ArithmeticStep<int32_t>>},
      {"arithmetic:uint32", make_step<ArithmeticStep<uint32_t>>},
      {"arithmetic:int64", make_step<ArithmeticStep<int64_t>>},
      {"arithmetic:uint64", make_step<ArithmeticStep<uint64_t>>},
      {"BitwiseNot:int8", make_step<MapStep<int8_t, int8_t, Complement>>},
      {"BitwiseNot:uint8", make_step<MapStep<uint8_t, uint8_t, Complement>>},
      {"BitwiseNot:int16", make_step<MapStep<int16_t, int16_t, Complement>>},
      {"BitwiseNot:uint16", make_step<MapStep<uint16_t, uint16_t, Complement>>},
      {"BitwiseNot:int32", make_step<MapStep<int32_t, int32_t, Complement>>},
      {"BitwiseNot:uint32", make_step<MapStep<uint32_t, uint32_t, Complement>>},
      {"BitwiseNot:int64", make_step<MapStep<int64_t, int64_t, Complement>>},
      {"BitwiseNot:uint64", make_step<MapStep<uint64_t, uint64_t, Complement>>},
      {"Neg:float64", make_step<MapStep<double, double, Negate>>},
      {"Neg:int8", make_step<MapStep<int8_t, int8_t, Negate>>},
      {"Neg:int32", make_step<MapStep<int32_t, int32_t, Negate>>},
      {"Neg:int64", make_step<MapStep<int64_t, int64_t, Negate>>},
      {"Abs:float64", make_step<MapStep<double, double, Magnitude>>},
      {"Abs:int8", make_step<MapStep<int8_t, int8_t, Magnitude>>},
      {"Abs:int32", make_step<MapStep<int32_t, int32_t, Magnitude>>},
      {"Abs:int64", make_step<MapStep<int64_t, int64_t, Magnitude>>},
      {"Sign:float64", make_step<MapStep<double, double, SignOf>>},
      {"Sign:int8", make_step<MapStep<int8_t, int8_t, SignOf>>},
      {"Sign:int32", make_step<MapStep<int32_t, int32_t, SignOf>>},
      {"Sign:int64", make_step<MapStep<int64_t, int64_t, SignOf>>},
      {"IsNaN:float32", make_step<MapStep<float, uint8_t, IsNotANumber>>},
      {"IsNaN:float64", make_step<MapStep<double, uint8_t, IsNotANumber>>},
      {"Not:bool", make_step<MapStep<uint8_t, uint8_t, Opposite>>},
      {"cast", make_step<CastStep>},
  };
}

}  // namespace frostbit
