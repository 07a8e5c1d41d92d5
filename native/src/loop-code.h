// Machine code for AVX-512 that does what several operations do to the same elements in one loop: what passes between them
// stays in registers. Made when a plan is, run on its threads.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "program.h"

namespace frostbit {

/** Types in which elements lie in memory; in registers they are float32. */
enum class ElementType { Float32, Float16, Bfloat16, Uint8, Int32 };

/** A place in memory where each element has its own. */
struct LoopStream {
  char* data;
  int64_t window;
  int64_t element_bytes;

  char* at(int64_t begin, char* buffers, int64_t first) const {
    return window < 0 ? data + begin * element_bytes : buffers + window + (begin - first) * element_bytes;
  }
};

/** Code that can be called; what it was made of says with what. */
class LoopCode {
 public:
  /** Null where the system runs nothing that was written. */
  static std::unique_ptr<LoopCode> of(const std::vector<uint8_t>& bytes);
  ~LoopCode();
  LoopCode(const LoopCode&) = delete;
  LoopCode& operator=(const LoopCode&) = delete;

  /** Elements from `begin` in steps up to `end`, sixteen at each. */
  void run(char* const* streams, int64_t begin, int64_t end, int64_t step, const float* numbers, float* const* rows) const {
    reinterpret_cast<void (*)(char* const*, int64_t, int64_t, int64_t, const float*, float* const*)>(data_)(
        streams, begin, end, step, numbers, rows);
  }

 private:
  LoopCode(void* data, size_t bytes) : data_(data), bytes_(bytes) {}

  void* data_;
  size_t bytes_;
};

/** Collects what a loop does. Values are registers of sixteen elements. */
class LoopMaker {
 public:
  using Value = int;
  /** One bit for each of sixteen elements. */
  using Mask = int;
  template <class T>
  using OfThread = std::function<T(int thread)>;
  static constexpr int kLanes = 16;

  /** One number for all elements. */
  Value number(OfThread<float> of);
  /** The same of 32 bits, which may stand for anything. */
  Value word(OfThread<uint32_t> of);
  Value word(uint32_t constant);
  Value zero();
  /** One that is known, read where it is used: it keeps no register. */
  Value literal(float number);
  /** One number for each column: rows of as many as there are columns. */
  Value column(OfThread<float*> of);
  /** Sums for each column, or for each of sixteen lanes, that the loop adds to. */
  Value column_sums(OfThread<float*> of);
  Value lane_sums(OfThread<float*> of);
  /** Words for each column, or for each lane where the loop has no columns, that grow by `step` from row to row. */
  Value counted(OfThread<uint32_t*> of, Value step);
  /** It goes by rows whatever else it reads. */
  void have_columns() { has_columns_ = true; }
  /** Chunks end with every so many elements: what is counted does not go on there as before. */
  void end_every(int64_t elements);

  Value read(const Elementwise<float>& x) { return read(x, ElementType::Float32); }
  template <class T>
  Value read(const Elementwise<T>& x, ElementType type) {
    return read_from(key(x), type);
  }
  void write(const Elementwise<float>& y, Value value) { write(y, value, ElementType::Float32); }
  template <class T>
  void write(const Elementwise<T>& y, Value value, ElementType type) {
    write_to(key(y), value, type);
  }

  Value add(Value a, Value b) { return binary(Op::Add, a, b); }
  Value subtract(Value a, Value b) { return binary(Op::Subtract, a, b); }
  Value multiply(Value a, Value b) { return binary(Op::Multiply, a, b); }
  Value divide(Value a, Value b) { return binary(Op::Divide, a, b); }
  /** a > b ? a : b, so b where one of both is no number; and the least likewise. */
  Value greater(Value a, Value b) { return binary(Op::Max, a, b); }
  Value less(Value a, Value b) { return binary(Op::Min, a, b); }
  /** a · b + c */
  Value multiply_add(Value a, Value b, Value c) { return emit({Op::MultiplyAdd, 0, a, b, c}); }
  /** a · 2^b of whole b */
  Value times_power_of_two(Value a, Value b) { return binary(Op::ScaleByPower, a, b); }
  Value negative(Value a) { return exclusive_or(a, literal(-0.0f)); }
  /** To the nearest whole number, ties to even. */
  Value rounded(Value a) { return emit({Op::Round, 0, a}); }
  /** Of a type of 16 bits, and back. */
  Value narrowed(Value a, ElementType type) { return emit({Op::Narrow, 0, a, 0, 0, static_cast<int>(type)}); }
  Value widened(Value a, ElementType type) { return emit({Op::Widen, 0, a, 0, 0, static_cast<int>(type)}); }

  Value exclusive_or(Value a, Value b) { return binary(Op::XorWords, a, b); }
  Value multiply_words(Value a, Value b) { return binary(Op::MultiplyWords, a, b); }
  Value shifted_right(Value a, int bits) { return emit({Op::ShiftWords, 0, a, 0, 0, bits}); }

  Mask is_less(Value a, Value b) { return compare(a, b, 17); }
  Mask is_greater(Value a, Value b) { return compare(a, b, 30); }
  Mask is_another(Value a, Value b) { return compare(a, b, 12); }
  Mask is_no_number(Value a) { return compare(a, a, 3); }
  Mask is_word_less(Value a, Value b) { return mask({Op::CompareWords, 0, a, b}); }
  Mask either(Mask a, Mask b) { return mask({Op::Or, 0, a, b}); }
  Value choose(Mask mask, Value a, Value b) { return emit({Op::Choose, 0, a, b, mask}); }

  /** What several operations ask for by the same key is made once. */
  using Key = std::tuple<const void*, int64_t, int64_t, int64_t>;
  template <class Make>
  Mask shared(const Key& key, Make make) {
    const auto found = shared_.find(key);
    return found != shared_.end() ? found->second : shared_[key] = make();
  }

  void add_to(Value sums, Value a) { code_.push_back({Op::AddTo, 0, a, sums}); }
  /** Where the mask says so. */
  void add_to(Value sums, Value a, Mask mask) { code_.push_back({Op::AddToWhere, 0, a, sums, mask}); }
  void add_product_to(Value sums, Value a, Value b) { code_.push_back({Op::AddProductTo, 0, a, b, sums}); }

  /** Null where there are more values than registers, what is read was never made, or it may not run. */
  std::unique_ptr<LoopCode> make() const;

  const std::vector<LoopStream>& streams() const { return streams_; }
  const std::vector<OfThread<float>>& numbers() const { return numbers_; }
  const std::vector<OfThread<float*>>& rows() const { return rows_; }
  bool has_columns() const { return has_columns_; }
  /** Elements of which no chunk holds some of two; 0 where it may. */
  int64_t span() const { return span_; }

 private:
  enum class Op {
    Load,
    Literal,
    Store,
    Add,
    Subtract,
    Multiply,
    Divide,
    Max,
    Min,
    MultiplyAdd,
    ScaleByPower,
    Round,
    Narrow,
    Widen,
    XorWords,
    MultiplyWords,
    ShiftWords,
    Compare,
    CompareWords,
    Or,
    Choose,
    AddTo,
    AddToWhere,
    AddProductTo
  };
  struct Instruction {
    Op op;
    int to, a = 0, b = 0, c = 0, detail = 0, stream = 0;
  };
  /** A value that keeps its register for the whole loop. */
  struct Resident {
    enum class Kind { Zero, Number, Column, Counted, ColumnSums, LaneSums } kind;
    Value value;
    int index;
    /** What is added to it from row to row. */
    Value step = -1;
  };
  struct Operand {
    int local;
    char* data;
    int64_t window;
    int64_t element_bytes;

    auto key() const { return std::tuple(local, data, window); }
  };
  class Registers;
  class Assembler;

  template <class T>
  static Operand key(const Elementwise<T>& x) {
    using Plain = std::remove_const_t<T>;
    return {x.local, reinterpret_cast<char*>(const_cast<Plain*>(x.data)), x.window, sizeof(T)};
  }

  Value read_from(const Operand& x, ElementType type);
  void write_to(const Operand& y, Value value, ElementType type);
  Value binary(Op op, Value a, Value b) { return emit({op, 0, a, b}); }
  Mask compare(Value a, Value b, int predicate) { return mask({Op::Compare, 0, a, b, 0, predicate}); }
  Value emit(Instruction instruction);
  Mask mask(Instruction instruction);
  Value resident(Resident::Kind kind, int index, Value step = -1);
  int stream_of(const Operand& x);
  int row_of(OfThread<float*> of);

  int values_ = 0, masks_ = 0;
  int64_t span_ = 0;
  bool is_broken_ = false, has_columns_ = false;
  std::vector<Instruction> code_;
  std::vector<Resident> residents_;
  std::map<std::tuple<int, char*, int64_t>, Value> known_;
  std::map<Key, Mask> shared_;
  std::map<uint32_t, Value> words_;
  std::vector<float> literals_;
  std::vector<LoopStream> streams_;
  std::vector<OfThread<float>> numbers_;
  std::vector<OfThread<float*>> rows_;
  Value zero_ = -1;
};

}  // namespace frostbit
