// Attention by blocks of queries and keys: y = softmax(scale · q k + mask) v and its gradient, without all scores in memory
// (FlashAttention, arXiv:2205.14135 and arXiv:2307.08691).
#include <limits>
#include <type_traits>

#include "../matrix-product.h"
#include "steps.h"

namespace frostbit {
namespace {

/** Queries and keys of a block at most: more are slower where a block is partly masked, fewer where oneDNN packs the same
 * again. */
constexpr int64_t kQueries = 384, kKeys = 384;

/** How many of `count` queries or keys are a block's, so that all blocks have about as many. */
int64_t evenly(int64_t count, int64_t most) {
  constexpr int64_t unit = 16;
  const int64_t blocks = (count + most - 1) / most;
  return (count + unit * blocks - 1) / (unit * blocks) * unit;
}

/** Matrices in memory, one for each element of the batch. */
template <class T>
struct Matrices {
  Matrix<T> first{};
  std::vector<int64_t> strides{};

  Matrix<T> at(const std::vector<int64_t>& batch, int64_t element) const {
    Matrix<T> matrix = first;
    for (size_t axis = batch.size(); axis-- > 0; element /= batch[axis]) matrix.data += element % batch[axis] * strides[axis];
    return matrix;
  }
};

/** A thread's memory, piece by piece. */
struct Scratch {
  char* at;

  template <class T>
  T* take(int64_t count) {
    T* const taken = reinterpret_cast<T*>(at);
    at += aligned(count * sizeof(T));
    return taken;
  }
};

/** The largest of a row's scores, and what makes its exponentials probabilities: as their sum's logarithm a masked score would
 * hide it. */
struct RowStatistics {
  float largest, factor;
};

/** Queries of one head that see no keys but these. */
struct Block {
  /** Of the batch. */
  int64_t element;
  /** Of the element's matrix. */
  int64_t row, rows;
  int64_t first_key, last_key;

  int64_t cost() const { return rows * (last_key - first_key); }
};

/**
 * What forward and backward have in common. Integers: queries of a head; rows of q in an element of the batch, one head's after
 * the other's; keys; columns of q; columns of v; the batch; of q, k, v and in the gradient dy each whether it lies transposed,
 * elements between its memory's rows, strides along the batch; sizes of the heads' batch and the mask's strides along it, its
 * stride from query to query.
 * Numbers: the scale. Places: q, k, v and in the gradient dy; the mask, if any; or in its place which keys each query of a head
 * sees, from the first to behind the last, one at least; y [batch, rows, columns of v].
 */
template <class T>
class Attention {
 public:
  Attention(Arguments& arguments, CompileContext& context, bool has_gradient) : kernels_(*context.kernels) {
    queries_ = arguments.size(), rows_ = arguments.size(), keys_ = arguments.size();
    size_ = arguments.size(), width_ = arguments.size();
    batch_ = arguments.list();
    elements_ = product(batch_);
    for (const int64_t size : {queries_, rows_, keys_, size_, width_, elements_})
      if (size == 0) arguments.fail("has nothing to do");
    if (rows_ % queries_ != 0) arguments.fail("has a part of a head");
    const int64_t counts[] = {elements_, rows_};
    const int64_t all_rows = checked_product(counts, 2);
    q_ = matrices(arguments, rows_, size_), k_ = matrices(arguments, size_, keys_), v_ = matrices(arguments, keys_, width_);
    if (has_gradient) dy_ = matrices(arguments, rows_, width_);
    if (dy_.first.is_transposed) arguments.fail("has rows of dy that do not lie side by side");
    const auto heads = arguments.list(), mask_strides = strides_of(heads, arguments);
    mask_row_ = arguments.size();
    if (product(heads) != all_rows / queries_) arguments.fail("has a mask of other heads");
    scale_ = arguments.number();
    q_.first.data = place(arguments, q_, rows_, size_);
    k_.first.data = place(arguments, k_, size_, keys_);
    v_.first.data = place(arguments, v_, keys_, width_);
    if (has_gradient) dy_.first.data = place(arguments, dy_, rows_, width_);
    mask_ = {{nullptr, false, mask_row_}, mask_strides};
    mask_batch_ = heads;
    is_same_for_all_ = std::all_of(mask_strides.begin(), mask_strides.end(), [](int64_t stride) { return stride == 0; });
    auto sizes = heads, strides = mask_strides;
    sizes.push_back(queries_), strides.push_back(mask_row_);
    mask_.first.data = arguments.optional<float>(extent(sizes, strides, keys_ - 1, arguments));
    given_spans_ = arguments.optional<Range>(queries_);
    y_ = arguments.place<float>(elements_, rows_, width_);
    list_blocks(context);
  }

 protected:
  /** What is added to a block's first query's scores; null where spans say all of it. */
  const float* mask_of(const Range* spans, const Block& block) const {
    if (!mask_.first.data || spans) return nullptr;
    const int64_t row = block.element * rows_ + block.row;
    return mask_.at(mask_batch_, row / queries_).data + row % queries_ * mask_row_;
  }

  /** A thread's own note of what is masked, and of who does what; all threads have the same. */
  struct Division {
    std::vector<Block> blocks;
    /** Where each thread's blocks begin, and the end. */
    std::vector<int64_t> cuts;
    /** Of each query, the keys that it sees; null where the mask says more than that. */
    const Range* spans;

    /** Whether a thread's first block is of an element that another thread has begun. */
    bool goes_on(int thread) const {
      const int64_t first = cuts[thread];
      return first > 0 && first < cuts[thread + 1] && blocks[first].element == blocks[first - 1].element;
    }
  };

  const Division& division_of(const RunContext& run) const { return divisions_[run.thread]; }

  bool looks_for_spans() const { return mask_.first.data && is_same_for_all_ && !given_spans_; }

  /** Of a mask that is the same for all heads: which keys this thread's share of the queries see. */
  void find_spans(const RunContext& run) const {
    Range* const spans = reinterpret_cast<Range*>(run.shared);
    const auto [first, last] = share(run, queries_);
    for (int64_t i = first; i < last; i++) spans[i] = span_of(mask_.first.data + i * mask_row_);
  }

  /** Of each query, the keys that it sees; null where it sees all of them, or the mask says more than that. */
  const Range* spans_of(const RunContext& run) const {
    const Range* const spans = given_spans_ ? given_spans_ : reinterpret_cast<const Range*>(run.shared);
    if (!given_spans_ && !looks_for_spans()) return nullptr;
    const bool are_some = std::all_of(spans, spans + queries_, [&](const Range& span) {
      return 0 <= span.begin && span.begin < span.end && span.end <= keys_;
    });
    if (given_spans_ && !are_some) throw PlanError("a query sees keys that there are not");
    return are_some ? spans : nullptr;
  }

  /** Blocks of about the same work for each thread; with `find_spans` done, without what is masked. */
  const Division& divide(const RunContext& run) {
    Division& division = divisions_[run.thread];
    division.blocks.assign(blocks_.begin(), blocks_.end());
    const Range* const spans = spans_of(run);
    division.spans = spans;
    int64_t total = 0;
    for (Block& block : division.blocks) {
      if (spans) limit(block, spans);
      total += block.cost();
    }
    division.cuts.clear();
    int64_t before = 0;
    for (size_t i = 0; i < blocks_.size(); before += division.blocks[i++].cost())
      while (static_cast<double>(before) * run.threads >=
             static_cast<double>(total) * static_cast<double>(division.cuts.size()))
        division.cuts.push_back(static_cast<int64_t>(i));
    division.cuts.resize(run.threads + 1, static_cast<int64_t>(blocks_.size()));
    return division;
  }

  /** The keys from `key` on, `count` of them, that a block's i-th query sees, counted from `key`. */
  Range seen(const Range* spans, const Block& block, int64_t i, int64_t key, int64_t count) const {
    if (!spans) return {0, count};
    const Range& span = spans[(block.row + i) % queries_];
    const int64_t begin = std::clamp(span.begin - key, int64_t{0}, count);
    return {begin, std::clamp(span.end - key, begin, count)};
  }

  /** Where a row's scores from `begin` on go, as products read them: rounded, where they lie; null where they stay as they are.
   */
  static uint16_t* rounded_from(float* x, int64_t begin) {
    return std::is_same_v<T, float> ? nullptr : reinterpret_cast<uint16_t*>(x) + begin;
  }

  /** Of a row of so many, all rounded, but those that are seen. */
  static void clear_unseen(float* x, const Range& seen, int64_t count) {
    T* const row = reinterpret_cast<T*>(x);
    std::fill(row, row + seen.begin, T{0});
    std::fill(row + seen.end, row + count, T{0});
  }

  /** Rows of so many scores, all rounded. */
  static Matrix<T> rounded(float* x, int64_t count) {
    return {reinterpret_cast<T*>(x), false, count * static_cast<int64_t>(sizeof(float) / sizeof(T))};
  }

  /** Of a block's queries, from the first to the last, those that see any of `count` keys from `key` on. */
  Range rows_seeing(const Range* spans, const Block& block, int64_t key, int64_t count) const {
    const auto sees = [&](int64_t i) {
      const auto [begin, end] = seen(spans, block, i, key, count);
      return begin < end;
    };
    Range rows{0, block.rows};
    while (rows.begin < rows.end && !sees(rows.begin)) rows.begin++;
    while (rows.begin < rows.end && !sees(rows.end - 1)) rows.end--;
    return rows;
  }

  size_t span_bytes() const { return aligned(queries_ * sizeof(Range)); }

  static constexpr int64_t kScores = kQueries * kKeys;

  const Kernels& kernels_;
  int64_t queries_, rows_, keys_, size_, width_, elements_;
  std::vector<int64_t> batch_;
  Matrices<T> q_, k_, v_, dy_;
  int64_t mask_row_;
  float scale_;
  float* y_;

 private:
  const Range* given_spans_;

  Matrices<T> matrices(Arguments& arguments, int64_t rows, int64_t columns) {
    const bool is_transposed = arguments.integer() != 0;
    const int64_t step = arguments.size();
    if (step < (is_transposed ? rows : columns)) arguments.fail("has rows that overlap");
    return {{nullptr, is_transposed, step}, strides_of(batch_, arguments)};
  }

  /** Along axes of these sizes, none of them backwards. */
  static std::vector<int64_t> strides_of(const std::vector<int64_t>& sizes, Arguments& arguments) {
    auto strides = arguments.list();
    if (strides.size() != sizes.size()) arguments.fail("has uneven lists");
    for (const int64_t stride : strides)
      if (stride < 0) arguments.fail("has a stride of " + std::to_string(stride));
    return strides;
  }

  T* place(Arguments& arguments, const Matrices<T>& matrices, int64_t rows, int64_t columns) const {
    const auto& [data, is_transposed, step] = matrices.first;
    const int64_t lines = is_transposed ? columns : rows, length = is_transposed ? rows : columns;
    const int64_t apart[] = {lines - 1, step};
    return arguments.place<T>(extent(batch_, matrices.strides, checked_product(apart, 2) + length - 1, arguments));
  }

  void list_blocks(CompileContext& context) {
    const int64_t queries_at_once = evenly(queries_, kQueries);
    for (int64_t element = 0; element < elements_; element++)
      for (int64_t head = 0; head < rows_; head += queries_)
        for (int64_t query = 0; query < queries_; query += queries_at_once)
          blocks_.push_back({element, head + query, std::min(queries_at_once, queries_ - query), 0, keys_});
    divisions_.resize(context.threads);
    for (Division& division : divisions_) division.blocks.reserve(blocks_.size()), division.cuts.reserve(context.threads + 1);
    context.want_shared(span_bytes());
  }

  /** The keys side by side to which a row adds 0, where it hides all others; none where it says more. */
  Range span_of(const float* row) const {
    int64_t begin = 0;
    while (begin < keys_ && row[begin] <= kHidden) begin++;
    int64_t end = begin;
    while (end < keys_ && row[end] == 0) end++;
    const bool hides_rest = std::all_of(row + end, row + keys_, [](float value) { return value <= kHidden; });
    return hides_rest ? Range{begin, end} : Range{0, 0};
  }

  void limit(Block& block, const Range* spans) const {
    block.first_key = keys_, block.last_key = 0;
    for (int64_t i = block.row; i < block.row + block.rows; i++) {
      block.first_key = std::min(block.first_key, spans[i % queries_].begin);
      block.last_key = std::max(block.last_key, spans[i % queries_].end);
    }
  }

  /** No score is below this: beside another key a hidden one counts for nothing. */
  static constexpr float kHidden = -1e30f;

  std::vector<int64_t> mask_batch_;
  Matrices<float> mask_;
  bool is_same_for_all_;
  std::vector<Block> blocks_;
  /** Each thread's. */
  std::vector<Division> divisions_;
};

/** Places behind the mask: y [batch, rows, columns of v], and of each row the logarithm of the sum of its exponentials, if
 * wanted. */
template <class T>
class AttentionStep : public Step, Attention<T> {
 public:
  AttentionStep(Arguments& arguments, CompileContext& context) : Attention<T>(arguments, context, false) {
    statistics_ = arguments.optional<RowStatistics>(this->elements_, this->rows_);
    Scratch scratch{nullptr};
    take(scratch);
    context.want_scratch(reinterpret_cast<size_t>(scratch.at));
  }

  int phases() const override { return this->looks_for_spans() ? 2 : 1; }

  void run(int phase, const RunContext& run) override {
    if (phase + 1 < phases()) return this->find_spans(run);
    Scratch scratch{run.scratch};
    const Work work = take(scratch);
    const auto& [blocks, cuts, spans] = this->divide(run);
    for (int64_t i = cuts[run.thread]; i < cuts[run.thread + 1]; i++) attend(blocks[i], spans, work);
  }

 private:
  struct Work {
    float *scores, *largest;
    double* sums;
  };

  static Work take(Scratch& scratch) {
    return {scratch.take<float>(Attention<T>::kScores), scratch.take<float>(kQueries), scratch.take<double>(kQueries)};
  }

  void attend(const Block& block, const Range* spans, const Work& work) const {
    const Matrix<T> q = this->q_.at(this->batch_, block.element).from_row(block.row);
    const Matrix<T> k = this->k_.at(this->batch_, block.element), v = this->v_.at(this->batch_, block.element);
    const int64_t row = block.element * this->rows_ + block.row;
    float* const y = this->y_ + row * this->width_;
    std::fill_n(y, block.rows * this->width_, 0.0f);
    std::fill_n(work.largest, block.rows, -std::numeric_limits<float>::infinity());
    std::fill_n(work.sums, block.rows, 0.0);
    const int64_t keys_at_once = evenly(block.last_key - block.first_key, kKeys);
    for (int64_t key = block.first_key; key < block.last_key; key += keys_at_once) {
      const int64_t count = std::min(keys_at_once, block.last_key - key);
      const auto [first, last] = this->rows_seeing(spans, block, key, count);
      if (first == last) continue;
      multiply({last - first, count, this->size_}, {}, q.from_row(first), k.from_column(key), {work.scores, false, count});
      for (int64_t i = first; i < last; i++)
        add_keys(block, spans, i, key, count, work, work.scores + (i - first) * count, y + i * this->width_);
      multiply({last - first, this->width_, count}, {1, true}, this->rounded(work.scores, count), v.from_row(key),
               {y + first * this->width_, false, this->width_});
    }
    for (int64_t i = 0; i < block.rows; i++) {
      const float factor = static_cast<float>(1 / work.sums[i]);
      scale_row(y + i * this->width_, factor);
      if (statistics_) statistics_[row + i] = {work.largest[i], factor};
    }
  }

  /** The i-th query's scores become exponentials; what was summed up before is scaled to the largest score so far. */
  void add_keys(const Block& block, const Range* spans, int64_t i, int64_t key, int64_t count, const Work& work, float* scores,
                float* y) const {
    const Range seen = this->seen(spans, block, i, key, count);
    const auto [begin, end] = seen;
    const float* const mask = this->mask_of(spans, block);
    const float before = work.largest[i];
    const double sum = this->kernels_.rows->attend(scores + begin, this->rounded_from(scores, begin),
                                                   mask ? mask + i * this->mask_row_ + key + begin : nullptr, end - begin,
                                                   this->scale_, &work.largest[i]);
    this->clear_unseen(scores, seen, count);
    if (work.largest[i] != before && work.sums[i] != 0) {
      const float factor = std::exp(before - work.largest[i]);
      work.sums[i] *= factor;
      scale_row(y, factor);
    }
    work.sums[i] += sum;
  }

  void scale_row(float* y, float factor) const {
    this->kernels_.binary(Binary::Mul, Repeat::Right, y, &factor, y, this->width_);
  }

  RowStatistics* statistics_;
};

/**
 * Places: dy behind v; behind the mask y, the logarithms, and dq [batch, rows, columns of q], dk [batch, keys, columns of q]
 * and dv [batch, keys, columns of v], each if wanted. An element's dk and dv are added up where they lie by the thread that
 * begins it; threads that go on with it have partial sums, which are added in their order.
 */
template <class T>
class AttentionGradientStep : public Step, Attention<T> {
 public:
  AttentionGradientStep(Arguments& arguments, CompileContext& context) : Attention<T>(arguments, context, true) {
    statistics_ = arguments.place<RowStatistics>(this->elements_, this->rows_);
    dq_ = arguments.optional<float>(this->elements_, this->rows_, this->size_);
    dk_ = arguments.optional<float>(this->elements_, this->keys_, this->size_);
    dv_ = arguments.optional<float>(this->elements_, this->keys_, this->width_);
    Scratch scratch{nullptr};
    take(scratch);
    context.want_scratch(reinterpret_cast<size_t>(scratch.at));
    context.want_shared(this->span_bytes() + (context.threads > 1 ? context.threads * partial_bytes() : 0));
  }

  int phases() const override { return 2 + this->looks_for_spans(); }

  void run(int phase, const RunContext& run) override {
    if (phase + 2 < phases()) return this->find_spans(run);
    if (phase + 1 < phases()) return add_blocks(run);
    add_partials(run);
  }

 private:
  /** An element's dk and dv, or parts of them. */
  struct Sums {
    float *dk, *dv;
  };

  struct Work {
    float *p, *dp, *means, *product;
  };

  Work take(Scratch& scratch) const {
    const int64_t scores = Attention<T>::kScores;
    return {scratch.take<float>(scores), scratch.take<float>(scores), scratch.take<float>(kQueries),
            scratch.take<float>(this->width_)};
  }

  void add_blocks(const RunContext& run) {
    Scratch scratch{run.scratch};
    const Work work = take(scratch);
    const auto& division = this->divide(run);
    const auto& [blocks, cuts, spans] = division;
    const int64_t first = cuts[run.thread], last = cuts[run.thread + 1];
    Sums sums{};
    for (int64_t i = first; i < last; i++) {
      const Block& block = blocks[i];
      if (i == first || block.element != blocks[i - 1].element) {
        sums = i == first && division.goes_on(run.thread) ? partial(run, run.thread) : whole(block.element);
        if (sums.dk) std::fill_n(sums.dk, this->keys_ * this->size_, 0.0f);
        if (sums.dv) std::fill_n(sums.dv, this->keys_ * this->width_, 0.0f);
      }
      add_block(block, spans, work, sums);
    }
  }

  size_t partial_bytes() const { return aligned(this->keys_ * (this->size_ + this->width_) * sizeof(float)); }

  Sums partial(const RunContext& run, int thread) const {
    float* const dk = reinterpret_cast<float*>(run.shared + this->span_bytes() + thread * partial_bytes());
    return {dk_ ? dk : nullptr, dv_ ? dk + this->keys_ * this->size_ : nullptr};
  }

  Sums whole(int64_t element) const {
    return {dk_ ? dk_ + element * this->keys_ * this->size_ : nullptr,
            dv_ ? dv_ + element * this->keys_ * this->width_ : nullptr};
  }

  void add_partials(const RunContext& run) const {
    const auto& division = this->division_of(run);
    for (int thread = 1; thread < run.threads; thread++) {
      if (!division.goes_on(thread)) continue;
      const Sums to = whole(division.blocks[division.cuts[thread]].element), from = partial(run, thread);
      if (dk_) add(to.dk, from.dk, share(run, this->keys_ * this->size_));
      if (dv_) add(to.dv, from.dv, share(run, this->keys_ * this->width_));
    }
  }

  void add(float* to, const float* from, Range range) const {
    this->kernels_.binary(Binary::Add, Repeat::None, to + range.begin, from + range.begin, to + range.begin,
                          range.end - range.begin);
  }

  void add_block(const Block& block, const Range* spans, const Work& work, const Sums& sums) const {
    const Matrix<T> q = this->q_.at(this->batch_, block.element).from_row(block.row);
    const Matrix<T> k = this->k_.at(this->batch_, block.element), v = this->v_.at(this->batch_, block.element);
    const Matrix<T> dy = this->dy_.at(this->batch_, block.element).from_row(block.row);
    const int64_t row = block.element * this->rows_ + block.row;
    const float* const y = this->y_ + row * this->width_;
    for (int64_t i = 0; i < block.rows; i++)
      work.means[i] = inner_product(dy.from_row(i).data, y + i * this->width_, work.product);
    if (dq_) std::fill_n(dq_ + row * this->size_, block.rows * this->size_, 0.0f);
    const int64_t keys_at_once = evenly(block.last_key - block.first_key, kKeys);
    for (int64_t key = block.first_key; key < block.last_key; key += keys_at_once) {
      const int64_t count = std::min(keys_at_once, block.last_key - key);
      const auto [first, last] = this->rows_seeing(spans, block, key, count);
      const int64_t rows = last - first;
      if (rows == 0) continue;
      const Matrix<T> own_q = q.from_row(first), own_dy = dy.from_row(first);
      multiply({rows, count, this->size_}, {}, own_q, k.from_column(key), {work.p, false, count});
      multiply({rows, count, this->width_}, {}, own_dy, v.from_row(key).transposed(), {work.dp, false, count});
      for (int64_t i = first; i < last; i++)
        take_gradient(block, spans, i, key, count, work, work.p + (i - first) * count, work.dp + (i - first) * count);
      const auto p = this->rounded(work.p, count), ds = this->rounded(work.dp, count);
      const auto add = [&](const ProductSizes& sizes, const Matrix<T>& a, const Matrix<T>& b, float* sums) {
        multiply(sizes, {1, true}, a, b, {sums, false, sizes.n});
      };
      if (sums.dv) add({count, this->width_, rows}, p.transposed(), own_dy, sums.dv + key * this->width_);
      if (sums.dk) add({count, this->size_, rows}, ds.transposed(), own_q, sums.dk + key * this->size_);
      if (dq_) add({rows, this->size_, count}, ds, k.from_column(key).transposed(), dq_ + (row + first) * this->size_);
    }
  }

  /** The i-th query's scores become probabilities, and the gradients of these the scores' gradients. */
  void take_gradient(const Block& block, const Range* spans, int64_t i, int64_t key, int64_t count, const Work& work, float* p,
                     float* dp) const {
    const Range seen = this->seen(spans, block, i, key, count);
    const auto [begin, end] = seen;
    const float* const mask = this->mask_of(spans, block);
    const auto [largest, factor] = statistics_[block.element * this->rows_ + block.row + i];
    this->kernels_.rows->attend_gradient(p + begin, this->rounded_from(p, begin), dp + begin, this->rounded_from(dp, begin),
                                         mask ? mask + i * this->mask_row_ + key + begin : nullptr, end - begin, this->scale_,
                                         largest, factor, work.means[i]);
    for (float* const x : {p, dp}) this->clear_unseen(x, seen, count);
  }

  /** Of a row of dy and one of y. */
  float inner_product(const T* dy, const float* y, float* product) const {
    const float* wide = product;
    if constexpr (std::is_same_v<T, float>)
      wide = dy;
    else
      this->kernels_.widen_bfloat16(dy, product, this->width_);
    this->kernels_.binary(Binary::Mul, Repeat::None, wide, y, product, this->width_);
    return static_cast<float>(this->kernels_.rows->reduce_row(Reduction::Sum, product, this->width_, 0.0));
  }

  RowStatistics* statistics_;
  float *dq_, *dk_, *dv_;
};

}  // namespace

StepMakers attention_steps() {
  return {
      {"attention", make_step<AttentionStep<float>>},
      {"attention:bfloat16", make_step<AttentionStep<uint16_t>>},
      {"attentionGradient", make_step<AttentionGradientStep<float>>},
      {"attentionGradient:bfloat16", make_step<AttentionGradientStep<uint16_t>>},
  };
}

}  // namespace frostbit
