// Matrix products: y = α a' b' + β c, for a batch of matrices.
#include <oneapi/dnnl/dnnl.h>

#include "steps.h"

namespace frostbit {
namespace {

/** Rows of y that one thread takes at a time. */
constexpr int64_t kRows = 8;

class ProductStep : public Step {
 public:
  ProductStep(Arguments& arguments, CompileContext&) {
    m_ = arguments.integer(), n_ = arguments.integer(), k_ = arguments.integer();
    const int64_t most_m = arguments.size(), most_n = arguments.size(), most_k = arguments.size();
    most_ = {most_m, most_n, most_k};
    is_a_transposed_ = arguments.integer() != 0, is_b_transposed_ = arguments.integer() != 0;
    c_row_ = arguments.size(), c_column_ = arguments.size();
    batch_ = arguments.list();
    strides_[0] = arguments.list(), strides_[1] = arguments.list();
    if (strides_[0].size() != batch_.size() || strides_[1].size() != batch_.size()) arguments.fail("has uneven lists");
    alpha_ = arguments.number(), beta_ = arguments.number();
    const auto matrices = [&](const std::vector<int64_t>& strides, int64_t rows, int64_t columns) {
      const int64_t elements = product({rows, columns});
      return elements == 0 ? 0 : extent(batch_, strides, elements - 1, arguments);
    };
    a_ = arguments.place<float>(matrices(strides_[0], most_m, most_k));
    b_ = arguments.place<float>(matrices(strides_[1], most_k, most_n));
    c_ = arguments.optional<float>(extent({most_m, most_n}, {c_row_, c_column_}, 0, arguments));
    y_ = arguments.place<float>(product(batch_), most_m, most_n);
  }

  void run(int, const RunContext& run) override {
    const int64_t m = run.size(m_), n = run.size(n_), k = run.size(k_);
    if (m > most_[0] || n > most_[1] || k > most_[2]) throw PlanError("more rows than there are");
    if (m == 0 || n == 0) return;
    const int64_t batches = product(batch_);
    const bool is_by_batch = batches >= run.threads;
    const Range all{0, batches};
    for_each_row(batch_, strides_, is_by_batch ? share(run, batches) : all, [&](int64_t i, const int64_t* at) {
      const Range rows = is_by_batch ? Range{0, m} : share(run, m, kRows);
      multiply(a_ + at[0], b_ + at[1], y_ + i * m * n, rows, m, n, k);
    });
  }

 private:
  void multiply(const float* a, const float* b, float* y, Range rows, int64_t m, int64_t n, int64_t k) const {
    const int64_t count = rows.end - rows.begin;
    if (count == 0) return;
    float* target = y + rows.begin * n;
    for (int64_t i = 0; i < count; i++)
      for (int64_t j = 0; j < n; j++)
        target[i * n + j] = c_ ? beta_ * c_[(rows.begin + i) * c_row_ + j * c_column_] : 0.0f;
    if (k == 0) return;
    const float* left = a + rows.begin * (is_a_transposed_ ? 1 : k);
    const auto status =
        dnnl_sgemm(is_a_transposed_ ? 'T' : 'N', is_b_transposed_ ? 'T' : 'N', count, n, k, alpha_, left,
                   is_a_transposed_ ? m : k, b, is_b_transposed_ ? k : n, 1.0f, target, n);
    if (status != dnnl_success) throw PlanError("oneDNN refused a matrix product: " + std::to_string(status));
  }

  int64_t m_, n_, k_;
  std::vector<int64_t> most_;
  bool is_a_transposed_, is_b_transposed_;
  int64_t c_row_, c_column_;
  std::vector<int64_t> batch_, strides_[2];
  float alpha_, beta_;
  float *a_, *b_, *c_, *y_;
};

}  // namespace

StepMakers product_steps() { return {{"product", make_step<ProductStep>}}; }

}  // namespace frostbit
