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
int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t aligned(int64_t bytes) { return ceiling(bytes, 64) * 64; }

}  // namespace
}  // namespace frostbit
