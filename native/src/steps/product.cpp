// Matrix products: y = α a' b' + β c, for a batch of matrices; of float32, of bfloat16 with float32 sums, which may be rounded
// to bfloat16, of float64, or of 8-bit codes.
#include <type_traits>

#include "../matrix-product.h"
#include "steps.h"

namespace frostbit {
namespace {

/** Rows or columns of y that one thread takes at a time. */
constexpr int64_t kUnit = 16;

/** Sums that a thread has before they are rounded: more leave its cache, for fewer rows oneDNN packs b too often. */
constexpr int64_t kSums = 256 * 1024;

template <class A, class B, class Y>
class ProductStep : public Step {
 public:
  ProductStep(Arguments& arguments, CompileContext& context) : kernels_(*context.kernels) {
    m_ = arguments.integer(), n_ = arguments.integer(), k_ = arguments.integer();
    const int64_t max_m = arguments.size(), max_n = arguments.size(), max_k = arguments.size();
    max_ = {max_m, max_n, max_k};
    is_a_transposed_ = arguments.integer() != 0, is_b_transposed_ = arguments.integer() != 0;
    a_step_ = arguments.size(), b_step_ = arguments.size();
    c_row_ = arguments.size(), c_column_ = arguments.size();
    batch_ = arguments.list();
    strides_[0] = arguments.list(), strides_[1] = arguments.list();
    if (strides_[0].size() != batch_.size() || strides_[1].size() != batch_.size()) arguments.fail("has uneven lists");
    alpha_ = arguments.number(), beta_ = arguments.number();
    if (!std::is_same_v<A, float> && alpha_ != 1) arguments.fail("has a factor");
    const auto extent_of = [&](const std::vector<int64_t>& strides, int64_t rows, int64_t columns, int64_t step) {
      if (step != 0 && step < columns) arguments.fail("has rows that overlap");
      const int64_t elements = product({rows, columns});
      if (elements == 0) return int64_t{0};
      const int64_t last = step == 0 ? elements : checked_extent(rows, columns, step);
      return extent(batch_, strides, last - 1, arguments);
    };
    const auto matrices = [&](int which, int64_t rows, int64_t columns, bool is_transposed, int64_t step) {
      return is_transposed ? extent_of(strides_[which], columns, rows, step) : extent_of(strides_[which], rows, columns, step);
    };
    a_ = arguments.place<A>(matrices(0, max_m, max_k, is_a_transposed_, a_step_));
    b_ = arguments.place<B>(matrices(1, max_k, max_n, is_b_transposed_, b_step_));
    if constexpr (is_integer)
      zero_ = arguments.place<float>(1);
    else
      c_ = arguments.optional<Y>(extent({max_m, max_n}, {c_row_, c_column_}, 0, arguments));
    y_ = arguments.place<Y>(product(batch_), max_m, max_n);
    if (is_rounded && c_) arguments.fail("rounds what is added");
    if (is_rounded) context.want_scratch(std::min(max_m * max_n, std::max(kSums, kUnit * max_n)) * sizeof(float));
  }

  void run(int, const RunContext& run) override {
    const ProductSizes sizes{run.size(m_), run.size(n_), run.size(k_)};
    const auto& [m, n, k] = sizes;
    if (m > max_[0] || n > max_[1] || k > max_[2]) throw PlanError("more rows than there are");
    if (m == 0 || n == 0) return;
    const int64_t batches = product(batch_);
    const bool is_by_batch = batches % run.threads == 0 || batches >= 4 * run.threads;
    const bool is_by_row = m >= run.threads * kUnit || m >= n;
    const Range rows = is_by_batch || !is_by_row ? Range{0, m} : share(run, m, kUnit);
    const Range columns = is_by_batch || is_by_row ? Range{0, n} : share(run, n, kUnit);
    if (rows.begin == rows.end || columns.begin == columns.end) return;
    const Matrix<A> a{a_, is_a_transposed_, a_step_ ? a_step_ : is_a_transposed_ ? m : k};
    const Matrix<B> b{b_, is_b_transposed_, b_step_ ? b_step_ : is_b_transposed_ ? k : n};
    for_each_row(batch_, strides_, is_by_batch ? share(run, batches) : Range{0, batches}, [&](int64_t i, const int64_t* at) {
      const Matrix<Y> y{y_ + (i * m + rows.begin) * n + columns.begin, false, n};
      Matrix<A> left = a.from_row(rows.begin);
      Matrix<B> right = b.from_column(columns.begin);
      left.data += at[0], right.data += at[1];
      const ProductSizes own{rows.end - rows.begin, columns.end - columns.begin, k};
      if constexpr (is_rounded)
        round(own, left, right, y, reinterpret_cast<float*>(run.scratch));
      else
        work(own, left, right, y, rows.begin, columns.begin);
    });
  }

 private:
  static constexpr bool is_integer = std::is_same_v<Y, int32_t>, is_rounded = std::is_same_v<Y, uint16_t>;

  static int64_t rows_at_once(int64_t columns) { return std::max(kUnit, kSums / columns); }

  static int64_t checked_extent(int64_t rows, int64_t columns, int64_t step) {
    const int64_t sizes[] = {rows - 1, step};
    return checked_product(sizes, 2) + columns;
  }

  void work(const ProductSizes& sizes, const Matrix<A>& a, const Matrix<B>& b, const Matrix<Y>& y, int64_t row,
            int64_t column) const {
    const bool adds = c_ && beta_ != 0;
    if (adds || sizes.k == 0)
      for (int64_t i = 0; i < sizes.m; i++)
        for (int64_t j = 0; j < sizes.n; j++)
          y.data[i * y.step + j] = adds ? static_cast<Y>(beta_ * c_[(row + i) * c_row_ + (column + j) * c_column_]) : Y{0};
    if (sizes.k > 0) multiply(sizes, {alpha_, adds, is_integer ? code_zero(*zero_) : uint8_t{0}}, a, b, y);
  }

  /** By our own loops, or some rows after the other. */
  void round(const ProductSizes& sizes, const Matrix<A>& a, const Matrix<B>& b, const Matrix<Y>& y, float* sums) const {
    if (multiply_by_tiles(sizes, a, b, y)) return;
    const auto& [m, n, k] = sizes;
    const int64_t most = rows_at_once(n);
    for (int64_t row = 0; row < m; row += most) {
      const int64_t rows = std::min(most, m - row);
      if (k > 0)
        multiply({rows, n, k}, {}, a.from_row(row), b, Matrix<float>{sums, false, n});
      else
        std::fill_n(sums, rows * n, 0.0f);
      for (int64_t i = 0; i < rows; i++) kernels_.narrow_bfloat16(sums + i * n, y.from_row(row + i).data, n);
    }
  }

  const Kernels& kernels_;
  int64_t m_, n_, k_;
  std::vector<int64_t> max_;
  bool is_a_transposed_, is_b_transposed_;
  int64_t a_step_, b_step_, c_row_, c_column_;
  std::vector<int64_t> batch_, strides_[2];
  float alpha_, beta_;
  A* a_;
  B* b_;
  float* zero_ = nullptr;
  Y *c_ = nullptr, *y_;
};

}  // namespace

StepMakers product_steps() {
  return {
      {"product", make_step<ProductStep<float, float, float>>},
      {"product:bfloat16", make_step<ProductStep<uint16_t, uint16_t, float>>},
      {"product:float64", make_step<ProductStep<double, double, double>>},
      {"product:bfloat16:rounded", make_step<ProductStep<uint16_t, uint16_t, uint16_t>>},
      {"product:integer", make_step<ProductStep<uint8_t, int8_t, int32_t>>},
  };
}

}  // namespace frostbit
