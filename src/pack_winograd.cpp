// Weights of 3x3 convolutions to the panels of winograd kernels: U = G w G^t (WinogradArgs in octavo/ukernel.h).
#include "src/pack_winograd.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace octavo::detail {
namespace {

constexpr int64_t kWeights = 9;  // of a channel
constexpr int kLanes = 64;       // words of a panel that are made at once

using Lanes = int16_t[kLanes];

// y = G x.
void transform(const Lanes& x0, const Lanes& x1, const Lanes& x2, Lanes (&y)[6]) noexcept {
  for (int i = 0; i < 6; ++i)
    for (int l = 0; l < kLanes; ++l)
      y[i][l] = int16_t(kWinogradG[i][0] * x0[l] + kWinogradG[i][1] * x1[l] + kWinogradG[i][2] * x2[l]);
}

}  // namespace

void pack_winograd(const PackFormat& f, const int8_t* w, int64_t ic, int64_t n, void* panel, int32_t* sums) noexcept {
  const int words = f.nr * f.kr, lanes = std::min(words, kLanes);
  const size_t place_bytes = panel_bytes(f, ic);
  for (int64_t row = 0; row < ic; row += f.kr)
    for (int first = 0; first < words; first += lanes) {
      Lanes x[kWeights] = {};
      for (int l = 0; l < lanes; ++l) {
        const int64_t column = (first + l) / f.kr, channel = row + (first + l) % f.kr;
        if (column >= n || channel >= ic) continue;
        const int8_t* from = w + (column * ic + channel) * kWeights;
        int32_t sum = 0;
        for (int i = 0; i < kWeights; ++i) {
          x[i][l] = from[i];
          sum += from[i];
        }
        sums[column] += sum;
      }
      Lanes rows[3][6];  // w G^t, by columns
      for (int i = 0; i < 3; ++i) transform(x[3 * i], x[3 * i + 1], x[3 * i + 2], rows[i]);
      char* to = static_cast<char*>(panel) + size_t(row * f.nr + first) * sizeof(int16_t);
      for (int j = 0; j < 6; ++j) {
        Lanes u[6];
        transform(rows[0][j], rows[1][j], rows[2][j], u);
        for (int i = 0; i < 6; ++i) std::memcpy(to + size_t(i * 6 + j) * place_bytes, u[i], size_t(lanes) * sizeof(int16_t));
      }
    }
}

}  // namespace octavo::detail
