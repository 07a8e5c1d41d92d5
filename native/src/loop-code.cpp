#include "loop-code.h"

#if defined(__x86_64__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <array>
#include <cstring>
#include <new>

namespace frostbit {

#if defined(__x86_64__)
std::unique_ptr<LoopCode> LoopCode::of(const std::vector<uint8_t>& bytes) {
  void* const data = mmap(nullptr, bytes.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) throw std::bad_alloc();
  std::unique_ptr<LoopCode> code(new LoopCode(data, bytes.size()));
  std::memcpy(data, bytes.data(), bytes.size());
  // SELinux and systemd may refuse it.
  return mprotect(data, bytes.size(), PROT_READ | PROT_EXEC) == 0 ? std::move(code) : nullptr;
}

LoopCode::~LoopCode() { munmap(data_, bytes_); }
#else
LoopCode::~LoopCode() = default;
#endif

// -------------------------------------------------------------------------------------------------------- collecting

LoopMaker::Value LoopMaker::emit(Instruction instruction) {
  instruction.to = values_++;
  code_.push_back(instruction);
  return instruction.to;
}

LoopMaker::Mask LoopMaker::mask(Instruction instruction) {
  instruction.to = masks_++;
  code_.push_back(instruction);
  return instruction.to;
}

LoopMaker::Value LoopMaker::resident(Resident::Kind kind, int index, Value step) {
  residents_.push_back({kind, values_, index, step});
  return values_++;
}

LoopMaker::Value LoopMaker::number(OfThread<float> of) {
  numbers_.push_back(std::move(of));
  return resident(Resident::Kind::Number, static_cast<int>(numbers_.size()) - 1);
}

LoopMaker::Value LoopMaker::word(OfThread<uint32_t> of) {
  return number([of = std::move(of)](int thread) {
    const uint32_t bits = of(thread);
    float number;
    std::memcpy(&number, &bits, sizeof number);
    return number;
  });
}

LoopMaker::Value LoopMaker::word(uint32_t constant) {
  const auto found = words_.find(constant);
  return found != words_.end() ? found->second : words_[constant] = word([constant](int) { return constant; });
}

LoopMaker::Value LoopMaker::zero() {
  if (zero_ < 0) zero_ = resident(Resident::Kind::Zero, 0);
  return zero_;
}

LoopMaker::Value LoopMaker::literal(float number) {
  literals_.push_back(number);
  return emit({Op::Literal, 0, 0, 0, 0, static_cast<int>(literals_.size()) - 1});
}

int LoopMaker::row_of(OfThread<float*> of) {
  rows_.push_back(std::move(of));
  return static_cast<int>(rows_.size()) - 1;
}

LoopMaker::Value LoopMaker::column(OfThread<float*> of) {
  has_columns_ = true;
  return resident(Resident::Kind::Column, row_of(std::move(of)));
}

LoopMaker::Value LoopMaker::column_sums(OfThread<float*> of) {
  has_columns_ = true;
  return resident(Resident::Kind::ColumnSums, row_of(std::move(of)));
}

LoopMaker::Value LoopMaker::counted(OfThread<uint32_t*> of, Value step) {
  const auto row = [of = std::move(of)](int thread) { return reinterpret_cast<float*>(of(thread)); };
  return resident(Resident::Kind::Counted, row_of(row), step);
}

void LoopMaker::end_every(int64_t elements) {
  is_broken_ = is_broken_ || (span_ > 0 && span_ != elements);
  span_ = elements;
}

LoopMaker::Value LoopMaker::lane_sums(OfThread<float*> of) { return resident(Resident::Kind::LaneSums, row_of(std::move(of))); }

int LoopMaker::stream_of(const Operand& x) {
  streams_.push_back({x.data, x.window, x.element_bytes});
  return static_cast<int>(streams_.size()) - 1;
}

LoopMaker::Value LoopMaker::read_from(const Operand& x, ElementType type) {
  const auto found = known_.find(x.key());
  if (found != known_.end()) return found->second;
  if (x.local >= 0) {
    is_broken_ = true;
    return zero();
  }
  const Value value = emit({Op::Load, 0, 0, 0, 0, static_cast<int>(type), stream_of(x)});
  known_[x.key()] = value;
  return value;
}

void LoopMaker::write_to(const Operand& y, Value value, ElementType type) {
  // What was narrowed is read again as it was before by nobody: `widened` is what it is then.
  if (type == ElementType::Float32)
    known_[y.key()] = value;
  else
    known_.erase(y.key());
  if (y.local >= 0) {
    is_broken_ = is_broken_ || type != ElementType::Float32;
    return;
  }
  code_.push_back({Op::Store, 0, value, 0, 0, static_cast<int>(type), stream_of(y)});
}

// --------------------------------------------------------------------------------------------------------- registers

#if defined(__x86_64__)

/** Which registers values have: residents keep theirs, the others have one until they are read for the last time. */
class LoopMaker::Registers {
 public:
  explicit Registers(const LoopMaker& loop)
      : loop_(loop),
        of_value_(loop.values_, -1),
        last_(loop.values_, -1),
        of_mask_(loop.masks_, -1),
        last_mask_(loop.masks_, -1) {
    for (const auto& each : loop.residents_) last_[each.value] = static_cast<int>(loop.code_.size());
    for (size_t at = 0; at < loop.code_.size(); at++) {
      for (const Value value : values_of(loop.code_[at])) last_[value] = std::max(last_[value], static_cast<int>(at));
      for (const Mask mask : masks_of(loop.code_[at])) last_mask_[mask] = static_cast<int>(at);
    }
    for (const auto& each : loop.residents_) take(each.value);
  }

  bool is_full() const { return is_full_; }
  int operator[](Value value) const { return of_value_[value]; }
  int mask(Mask mask) const { return of_mask_[mask]; }
  /** Of what an instruction reads, in its order; 0 where it reads less. */
  std::array<int, 3> of_values(const Instruction& each) const {
    std::array<int, 3> all{};
    const auto values = values_of(each);
    std::transform(values.begin(), values.end(), all.begin(), [this](Value value) { return of_value_[value]; });
    return all;
  }
  std::array<int, 2> of_masks(const Instruction& each) const {
    std::array<int, 2> all{};
    const auto masks = masks_of(each);
    std::transform(masks.begin(), masks.end(), all.begin(), [this](Mask mask) { return of_mask_[mask]; });
    return all;
  }
  /** For what a single instruction needs on the way. */
  static constexpr int kSpare = 31;

  /** Registers for an instruction's result; of values that it reads for the last time it may be one. */
  void advance(int at) {
    const auto& instruction = loop_.code_[at];
    for (const Value value : values_of(instruction))
      if (last_[value] == at) free(value);
    for (const Mask mask : masks_of(instruction))
      if (last_mask_[mask] == at) used_masks_ &= ~(1u << of_mask_[mask]);
    if (makes_mask(instruction)) {
      int k = 1;
      while (k < 8 && (used_masks_ >> k & 1)) k++;
      is_full_ = is_full_ || k == 8;
      of_mask_[instruction.to] = k;
      if (last_mask_[instruction.to] > at) used_masks_ |= 1u << k;
    } else if (makes_value(instruction)) {
      take(instruction.to);
      if (last_[instruction.to] <= at) free(instruction.to);
    }
  }

  static bool makes_mask(const Instruction& each) {
    return each.op == Op::Compare || each.op == Op::CompareWords || each.op == Op::Or;
  }
  static bool makes_value(const Instruction& each) {
    return !makes_mask(each) && each.op != Op::Store && each.op != Op::AddTo && each.op != Op::AddToWhere &&
           each.op != Op::AddProductTo;
  }

 private:
  static std::vector<Value> values_of(const Instruction& each) {
    switch (each.op) {
      case Op::Load:
      case Op::Literal:
      case Op::Or: return {};
      case Op::Store:
      case Op::Round:
      case Op::Narrow:
      case Op::Widen:
      case Op::ShiftWords: return {each.a};
      case Op::MultiplyAdd:
      case Op::AddProductTo: return {each.a, each.b, each.c};
      default: return {each.a, each.b};
    }
  }
  static std::vector<Mask> masks_of(const Instruction& each) {
    if (each.op == Op::Or) return {each.a, each.b};
    if (each.op == Op::Choose || each.op == Op::AddToWhere) return {each.c};
    return {};
  }

  void take(Value value) {
    int at = 0;
    while (at < kSpare && (used_ >> at & 1)) at++;
    is_full_ = is_full_ || at == kSpare;
    used_ |= 1u << at;
    of_value_[value] = at;
  }
  void free(Value value) { used_ &= ~(1u << of_value_[value]); }

  const LoopMaker& loop_;
  std::vector<int> of_value_, last_, of_mask_, last_mask_;
  uint32_t used_ = 0, used_masks_ = 0;
  bool is_full_ = false;
};

// --------------------------------------------------------------------------------------------------------- assembling

/** Instructions as the processor reads them: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2. */
class LoopMaker::Assembler {
 public:
  enum General { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15 };
  /** Opcode maps and prefixes as EVEX numbers them. */
  enum Map { m0f = 1, m0f38 = 2, m0f3a = 3 };
  enum Prefix { none, p66, pf3 };
  struct Memory {
    int base, scale;
    /** −1 where there is none. */
    int index;
    int32_t offset;
  };

  const std::vector<uint8_t>& bytes() const { return bytes_; }
  size_t here() const { return bytes_.size(); }
  void put(std::initializer_list<int> list) {
    for (const int each : list) bytes_.push_back(static_cast<uint8_t>(each));
  }
  void put32(int32_t value) {
    for (int i = 0; i < 4; i++) bytes_.push_back(static_cast<uint8_t>(value >> (8 * i)));
  }

  /** On registers; `length` 2 is 512 bits. */
  void vector(Map map, Prefix prefix, int opcode, int reg, int left, int right, int mask = 0, int length = 2) {
    evex(map, prefix, reg, left, right >> 4 & 1, right >> 3 & 1, mask, length);
    put({opcode, 0xc0 | (reg & 7) << 3 | (right & 7)});
  }
  void vector(Map map, Prefix prefix, int opcode, int reg, const Memory& memory, int length = 2) {
    evex(map, prefix, reg, 0, memory.index >= 0 ? memory.index >> 3 & 1 : 0, memory.base >> 3 & 1, 0, length);
    put({opcode, 0x84 | (reg & 7) << 3,
         memory.scale << 6 | (memory.index >= 0 ? memory.index & 7 : 4) << 3 | (memory.base & 7)});
    put32(memory.offset);
  }
  /** One number for all elements, which follows the code. */
  void broadcast_literal(int reg, int literal) {
    evex(m0f38, p66, reg, 0, 0, 0, 0, 2);
    put({0x18, 0x05 | (reg & 7) << 3});
    literals_.push_back({here(), literal});
    put32(0);
  }
  /** Ends the code. */
  void put_literals(const std::vector<float>& numbers) {
    while (here() % sizeof(float) != 0) put({0xcc});
    for (const auto& [at, literal] : literals_) {
      const auto offset = static_cast<int32_t>(here() + literal * sizeof(float) - at - sizeof(int32_t));
      std::memcpy(&bytes_[at], &offset, sizeof offset);
    }
    for (const float number : numbers) {
      int32_t bits;
      std::memcpy(&bits, &number, sizeof bits);
      put32(bits);
    }
  }
  void load_pointer(int reg, int base, int32_t offset) {
    put({0x48 | (reg >> 3) << 2 | base >> 3, 0x8b, 0x84 | (reg & 7) << 3, 0x20 | (base & 7)});
    put32(offset);
  }
  void push(int reg) { reg < 8 ? put({0x50 + reg}) : put({0x41, 0x50 + (reg & 7)}); }
  void pop(int reg) { reg < 8 ? put({0x58 + reg}) : put({0x41, 0x58 + (reg & 7)}); }

 private:
  void evex(Map map, Prefix prefix, int reg, int left, int x, int b, int mask, int length) {
    const int r = reg >> 3 & 1, high = reg >> 4 & 1;
    put({0x62, (r ^ 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | (high ^ 1) << 4 | map, (~left & 15) << 3 | 4 | prefix,
         length << 5 | ((left >> 4 & 1) ^ 1) << 3 | mask});
  }

  struct LiteralUse {
    size_t at;
    int literal;
  };
  std::vector<uint8_t> bytes_;
  std::vector<LiteralUse> literals_;
};

std::unique_ptr<LoopCode> LoopMaker::make() const {
  using A = Assembler;
  /** What the streams' pointers may be in; the arguments' registers once they are read. */
  static constexpr int kPointers[] = {A::rax, A::r10, A::r11, A::rbx, A::rbp, A::r12, A::r13, A::r14, A::r15, A::rdi};
  static constexpr int kSaved[] = {A::rbx, A::rbp, A::r12, A::r13, A::r14, A::r15};
  if (is_broken_ || streams_.size() > std::size(kPointers)) return nullptr;
  Registers registers(*this);
  Assembler to;
  for (const int reg : kSaved) to.push(reg);
  const auto row = [&](const Resident& each, int opcode) {
    to.load_pointer(A::rax, A::r9, 8 * each.index);
    const bool is_lanes = each.kind == Resident::Kind::LaneSums;
    to.vector(A::m0f, A::none, opcode, registers[each.value], {A::rax, 2, is_lanes ? -1 : static_cast<int>(A::rsi), 0});
  };
  for (const auto& each : residents_) {
    const int reg = registers[each.value];
    if (each.kind == Resident::Kind::Zero)
      to.vector(A::m0f, A::p66, 0xef, reg, reg, reg);
    else if (each.kind == Resident::Kind::Number)
      to.vector(A::m0f38, A::p66, 0x18, reg, {A::r8, 0, -1, 4 * each.index});
    else
      row(each, 0x10);
  }
  to.put({0x49, 0x89, 0xf0});  // mov r8, rsi: where the columns begin
  for (size_t i = 0; i < streams_.size(); i++) to.load_pointer(kPointers[i], A::rdi, 8 * static_cast<int>(i));
  const size_t loop = to.here();
  const auto place = [&](const Instruction& each) {
    const int64_t bytes = streams_[each.stream].element_bytes;
    return A::Memory{kPointers[each.stream], bytes == 4 ? 2 : bytes == 2 ? 1 : 0, A::rsi, 0};
  };
  constexpr int kSpare = Registers::kSpare;
  for (size_t at = 0; at < code_.size(); at++) {
    const auto& each = code_[at];
    const auto [a, b, c] = registers.of_values(each);
    const auto [mask, other_mask] = registers.of_masks(each);
    registers.advance(static_cast<int>(at));
    if (registers.is_full()) return nullptr;
    const int y = Registers::makes_value(each) ? registers[each.to] : 0;
    const int k = Registers::makes_mask(each) ? registers.mask(each.to) : 0;
    const auto type = static_cast<ElementType>(each.detail);
    switch (each.op) {
      case Op::Load:
        if (type == ElementType::Float32) to.vector(A::m0f, A::none, 0x10, y, place(each));
        if (type == ElementType::Float16) to.vector(A::m0f38, A::p66, 0x13, y, place(each));
        if (type == ElementType::Bfloat16) {
          to.vector(A::m0f38, A::p66, 0x33, y, place(each));
          to.vector(A::m0f, A::p66, 0x72, 6, y, y), to.put({16});
        }
        if (type == ElementType::Uint8) {
          to.vector(A::m0f38, A::p66, 0x31, y, place(each));
          to.vector(A::m0f, A::none, 0x5b, y, 0, y);
        }
        if (type == ElementType::Int32) to.vector(A::m0f, A::none, 0x5b, y, place(each));
        break;
      case Op::Literal: to.broadcast_literal(y, each.detail); break;
      case Op::Store:
        if (type == ElementType::Float32) to.vector(A::m0f, A::none, 0x11, a, place(each));
        if (type == ElementType::Float16 || type == ElementType::Bfloat16) to.vector(A::m0f, A::none, 0x11, a, place(each), 1);
        if (type == ElementType::Uint8) {
          to.vector(A::m0f, A::pf3, 0x5b, kSpare, 0, a);
          to.vector(A::m0f38, A::pf3, 0x31, kSpare, place(each));
        }
        break;
      case Op::Add: to.vector(A::m0f, A::none, 0x58, y, a, b); break;
      case Op::Subtract: to.vector(A::m0f, A::none, 0x5c, y, a, b); break;
      case Op::Multiply: to.vector(A::m0f, A::none, 0x59, y, a, b); break;
      case Op::Divide: to.vector(A::m0f, A::none, 0x5e, y, a, b); break;
      case Op::Max: to.vector(A::m0f, A::none, 0x5f, y, a, b); break;
      case Op::Min: to.vector(A::m0f, A::none, 0x5d, y, a, b); break;
      case Op::MultiplyAdd:
        if (y == a || y == b) {
          to.vector(A::m0f38, A::p66, 0xa8, y, y == a ? b : a, c);
        } else {
          if (y != c) to.vector(A::m0f, A::none, 0x28, y, 0, c);
          to.vector(A::m0f38, A::p66, 0xb8, y, a, b);
        }
        break;
      case Op::ScaleByPower: to.vector(A::m0f38, A::p66, 0x2c, y, a, b); break;
      case Op::Round: to.vector(A::m0f3a, A::p66, 0x08, y, 0, a), to.put({8}); break;
      case Op::Narrow:
        if (type == ElementType::Float16) to.vector(A::m0f3a, A::p66, 0x1d, a, 0, y), to.put({8});
        if (type == ElementType::Bfloat16) to.vector(A::m0f38, A::pf3, 0x72, y, 0, a);
        break;
      case Op::Widen:
        if (type == ElementType::Float16) to.vector(A::m0f38, A::p66, 0x13, y, 0, a);
        if (type == ElementType::Bfloat16) {
          to.vector(A::m0f38, A::p66, 0x33, y, 0, a);
          to.vector(A::m0f, A::p66, 0x72, 6, y, y), to.put({16});
        }
        break;
      case Op::XorWords: to.vector(A::m0f, A::p66, 0xef, y, a, b); break;
      case Op::MultiplyWords: to.vector(A::m0f38, A::p66, 0x40, y, a, b); break;
      case Op::ShiftWords: to.vector(A::m0f, A::p66, 0x72, 2, y, a), to.put({each.detail}); break;
      case Op::CompareWords: to.vector(A::m0f3a, A::p66, 0x1e, k, a, b), to.put({1}); break;
      case Op::Compare: to.vector(A::m0f, A::none, 0xc2, k, a, b), to.put({each.detail}); break;
      case Op::Or: to.put({0xc5, 0x80 | (~mask & 15) << 3 | 4, 0x45, 0xc0 | k << 3 | other_mask}); break;
      case Op::Choose: to.vector(A::m0f38, A::p66, 0x65, y, b, a, mask); break;
      case Op::AddTo: to.vector(A::m0f, A::none, 0x58, b, b, a); break;
      case Op::AddToWhere: to.vector(A::m0f, A::none, 0x58, b, b, a, mask); break;
      case Op::AddProductTo: to.vector(A::m0f38, A::p66, 0xb8, c, a, b); break;
    }
  }
  for (const auto& each : residents_) {
    const int reg = registers[each.value];
    if (each.kind == Resident::Kind::Counted) to.vector(A::m0f, A::p66, 0xfe, reg, reg, registers[each.step]);
  }
  to.put({0x48, 0x01, 0xce, 0x48, 0x39, 0xd6, 0x0f, 0x8c});  // add rsi, rcx; cmp rsi, rdx; jl loop
  to.put32(static_cast<int32_t>(loop) - static_cast<int32_t>(to.here()) - 4);
  to.put({0x4c, 0x89, 0xc6});  // mov rsi, r8
  for (const auto& each : residents_)
    if (each.kind == Resident::Kind::ColumnSums || each.kind == Resident::Kind::LaneSums) row(each, 0x11);
  for (int i = std::size(kSaved) - 1; i >= 0; i--) to.pop(kSaved[i]);
  to.put({0xc5, 0xf8, 0x77, 0xc3});  // vzeroupper; ret
  to.put_literals(literals_);
  return LoopCode::of(to.bytes());
}

#else

std::unique_ptr<LoopCode> LoopMaker::make() const { return nullptr; }

#endif

}  // namespace frostbit
