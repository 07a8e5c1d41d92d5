#include "matrix-product.h"

#include <oneapi/dnnl/dnnl.h>

#include <string>
#include <vector>

#include "dnnl-compat.h"
#include "program.h"

namespace frostbit {
namespace {

/** Products with so many columns at most are faster by our own loops, which pack less. */
constexpr int64_t kNarrow = 128;

void check(dnnl_status_t status) {
  if (status != dnnl_success) throw PlanError("oneDNN refused a matrix product: " + std::to_string(status));
}

template <class T>
char mark(const Matrix<T>& matrix) {
  return matrix.is_transposed ? 'T' : 'N';
}

}  // namespace

void multiply(const ProductSizes& sizes, const ProductManner& manner, const Matrix<float>& a, const Matrix<float>& b,
              const Matrix<float>& y) {
  const auto& [m, n, k] = sizes;
  check(dnnl_sgemm(mark(a), mark(b), m, n, k, manner.alpha, a.data, a.step, b.data, b.step, manner.adds ? 1.0f : 0.0f, y.data,
                   y.step));
}

/** All sizes are known only at the run, so that eight primitives serve every product. */
void multiply(const ProductSizes& sizes, const ProductManner& manner, const Matrix<uint16_t>& a, const Matrix<uint16_t>& b,
              const Matrix<float>& y) {
  using dnnl::memory;
  if (sizes.n <= kNarrow && multiply_by_tiles(sizes, manner.adds, a, b, y)) return;
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  thread_local dnnl::stream stream(engine);
  const auto desc = [](int64_t rows, int64_t columns, bool is_transposed, int64_t step, memory::data_type type) {
    return memory::desc({rows, columns}, type, is_transposed ? memory::dims{1, step} : memory::dims{step, 1});
  };
  struct Product {
    dnnl::matmul primitive;
    memory::desc scratchpad;
  };
  const auto make = [&](bool adds, bool is_a_transposed, bool is_b_transposed) {
    const int64_t open = DNNL_RUNTIME_DIM_VAL;
    dnnl::post_ops onto;
    if (adds) onto.append_sum(1.0f);
    dnnl::primitive_attr attributes;
    attributes.set_post_ops(onto);
    // Threads run the same primitives at once: what those work in is each thread's own.
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return matmul_of(engine, attributes, desc(open, open, is_a_transposed, open, memory::data_type::bf16),
                     desc(open, open, is_b_transposed, open, memory::data_type::bf16),
                     desc(open, open, false, open, memory::data_type::f32));
  };
  static const auto primitives = [&] {
    std::vector<Product> all;
    for (const int i : {0, 1, 2, 3, 4, 5, 6, 7}) {
      const auto descriptor = make(i & 4, i & 2, i & 1);
      all.push_back({dnnl::matmul(descriptor), descriptor.scratchpad_desc()});
    }
    return all;
  }();
  const auto& [m, n, k] = sizes;
  const auto view = [&](const auto& matrix, int64_t rows, int64_t columns, memory::data_type type) {
    return memory(desc(rows, columns, matrix.is_transposed, matrix.step, type), engine, matrix.data);
  };
  const Product& product = primitives[4 * manner.adds + 2 * a.is_transposed + b.is_transposed];
  thread_local std::vector<char> scratch;
  if (scratch.size() < product.scratchpad.get_size()) scratch.resize(product.scratchpad.get_size());
  product.primitive.execute(stream, {{DNNL_ARG_SCRATCHPAD, memory(product.scratchpad, engine, scratch.data())},
                                     {DNNL_ARG_SRC, view(a, m, k, memory::data_type::bf16)},
                                     {DNNL_ARG_WEIGHTS, view(b, k, n, memory::data_type::bf16)},
                                     {DNNL_ARG_DST, view(y, m, n, memory::data_type::f32)}});
}

void multiply(const ProductSizes& sizes, const ProductManner& manner, const Matrix<uint8_t>& a, const Matrix<int8_t>& b,
              const Matrix<int32_t>& y) {
  const auto& [m, n, k] = sizes;
  const int32_t offset = 0;
  check(dnnl_gemm_u8s8s32(mark(a), mark(b), 'F', m, n, k, 1.0f, a.data, a.step, manner.zero, b.data, b.step, 0, 0.0f, y.data,
                          y.step, &offset));
}

}  // namespace frostbit
