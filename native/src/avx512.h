// What the loops for AVX-512 share. All of it is each file's own, so that nothing of it is weak: objects for one processor give
// the linker nothing to share (kernels.cpp says why).
#pragma once
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#if !defined(__clang__)
// GCC's own intrinsics are what it complains about.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace frostbit {
namespace {

/** Floats of a vector. */
constexpr int64_t kLanes = 16;

int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
[[maybe_unused]] int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; }
[[maybe_unused]] int64_t aligned(int64_t bytes) { return ceiling(bytes, 64) * 64; }

/** 16 × 16 numbers of 32 bits: out[i] has the i-th of each row. */
[[maybe_unused]] void transpose(__m512i (&rows)[16], __m512i* out) {
  __m512i t[16];
  for (int i = 0; i < 8; i++) {
    t[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
  }
  for (int i = 0; i < 4; i++) {
    rows[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    rows[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    rows[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    rows[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; i++) {
    out[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    out[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
  }
}

}  // namespace
}  // namespace frostbit
