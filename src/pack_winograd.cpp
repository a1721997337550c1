// Weights to the panels of winograd kernels: U = G w G^t (WinogradArgs in octavo/ukernel.h).
#include "src/pack_winograd.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "src/plan.h"

namespace octavo::detail {
namespace {

constexpr int kLanes = 32;  // words of a panel that are made at once

using Lanes = int16_t[kLanes];

// y = G x. (Unrolled: the constants are powers of two, or near to them.)
void transform(const Lanes& x0, const Lanes& x1, const Lanes& x2, Lanes (&y)[6]) noexcept {
#pragma GCC unroll 6
  for (int i = 0; i < 6; ++i)
    for (int l = 0; l < kLanes; ++l)
      y[i][l] = int16_t(kWinogradG[i][0] * x0[l] + kWinogradG[i][1] * x1[l] + kWinogradG[i][2] * x2[l]);
}

// Weights of one column and channel to lane l of x, rows x cols of them. Returns their sum. Most pieces are whole: kAll by kAll.
constexpr std::integral_constant<int64_t, 3> kAll;
template <class Count>
int32_t take(const int8_t* from, ptrdiff_t row, ptrdiff_t col, Count rows, Count cols, int l, Lanes (&x)[3][3]) noexcept {
  int32_t sum = 0;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j) {
      const int8_t w = from[i * row + j * col];
      x[i][j][l] = w;
      sum += w;
    }
  return sum;
}

}  // namespace

std::vector<WinogradPiece> winograd_pieces(const Window& w) {
  const auto starts = [](int64_t taps, int64_t stride) {
    std::vector<int64_t> s;
    for (int64_t phase = 0; phase < std::min(taps, stride); ++phase)
      for (int64_t tap = phase; tap < taps; tap += 3 * stride) s.push_back(tap);
    return s;
  };
  std::vector<WinogradPiece> pieces;
  for (const int64_t y : starts(w.kh, w.stride_h))
    for (const int64_t x : starts(w.kw, w.stride_w)) pieces.push_back({y, x});
  return pieces;
}

void pack_winograd(const PackFormat& f, const Window& window, const std::vector<WinogradPiece>& pieces, const int8_t* w,
                   int64_t ic, int64_t n, void* panel, int32_t* sums) noexcept {
  const int words = f.nr * f.kr, lanes = std::min(words, kLanes);
  const size_t place_bytes = pieces.size() * panel_bytes(f, ic);
  const int64_t taps = window.kh * window.kw, row_stride = window.stride_h * window.kw;
  char* of_piece = static_cast<char*>(panel);
  for (const WinogradPiece& piece : pieces) {
    const int64_t rows = std::min<int64_t>(kAll, ceil_div(window.kh - piece.y, window.stride_h)),
                  cols = std::min<int64_t>(kAll, ceil_div(window.kw - piece.x, window.stride_w));
    for (int64_t row = 0; row < ic; row += f.kr)
      for (int first = 0; first < words; first += lanes) {
        Lanes x[3][3] = {};
        int64_t column = first / f.kr, channel = row + first % f.kr;
        for (int l = 0; l < lanes; ++l) {
          if (column < n && channel < ic) {
            const int8_t* from = w + (column * ic + channel) * taps + piece.y * window.kw + piece.x;
            sums[column] += rows == kAll && cols == kAll ? take(from, row_stride, window.stride_w, kAll, kAll, l, x)
                                                         : take(from, row_stride, window.stride_w, rows, cols, l, x);
          }
          if (++channel == row + f.kr) channel = row, ++column;
        }
        Lanes by_row[3][6];  // w G^t, by columns
        for (int i = 0; i < 3; ++i) transform(x[i][0], x[i][1], x[i][2], by_row[i]);
        char* to = of_piece + size_t(row * f.nr + first) * sizeof(int16_t);
        for (int j = 0; j < 6; ++j) {
          Lanes u[6];
          transform(by_row[0][j], by_row[1][j], by_row[2][j], u);
          for (int i = 0; i < 6; ++i) std::memcpy(to + size_t(i * 6 + j) * place_bytes, u[i], size_t(lanes) * sizeof(int16_t));
        }
      }
    of_piece += panel_bytes(f, ic);
  }
}

}  // namespace octavo::detail
