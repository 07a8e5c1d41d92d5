// Exchanges rows and columns tile by tile: each line of the cache is read once.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

namespace frostbit {

constexpr int64_t kTurnedTile = 16;

/** y[j, i] = x[i, j] for at most 16 rows and columns; rows of each are so many elements apart. */
template <class T>
void turn_tile(const T* x, int64_t x_step, T* y, int64_t y_step, int64_t rows, int64_t columns) {
  T tile[kTurnedTile][kTurnedTile];
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) tile[j][i] = x[i * x_step + j];
  for (int64_t j = 0; j < columns; j++) std::memcpy(y + j * y_step, tile[j], rows * sizeof(T));
}

/** Images of `channels` planes, row-major, to channels last. */
template <class T>
void turn_images(const T* x, T* y, int64_t images, int64_t channels, int64_t plane) {
  for (int64_t image = 0; image < images; image++, x += channels * plane, y += channels * plane)
    for (int64_t channel = 0; channel < channels; channel += kTurnedTile)
      for (int64_t at = 0; at < plane; at += kTurnedTile)
        turn_tile(x + channel * plane + at, plane, y + at * channels + channel, channels,
                  std::min(kTurnedTile, channels - channel), std::min(kTurnedTile, plane - at));
}

}  // namespace frostbit
