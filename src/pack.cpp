#include "src/pack.h"

#include <algorithm>

namespace octavo::detail {
namespace {

// One element at a time: the rows of a block that do not fill a group of kr.
template <class S, class D>
void pack_rows(const PackFormat& f, const WeightBlock& w, int64_t p_begin, int64_t p_end, int64_t row, int64_t column, D* panel,
               int32_t* sums) {
  for (int64_t p = p_begin; p < p_end; ++p) {
    const int64_t at = row + p;
    D* d = panel + (at / f.kr * f.nr + column) * f.kr + at % f.kr;
    const S* s = static_cast<const S*>(w.data) + p * w.row_stride;
    for (int64_t j = 0; j < w.n; ++j, s += w.col_stride, d += f.kr) {
      *d = D(*s);
      if constexpr (sizeof(S) == 1) sums[j] += *s;
    }
  }
}

// Whole groups of KR rows. The strides are constants where they are 1, so that the compiler can use vectors.
template <int KR, class S, class D>
void pack_groups(const PackFormat& f, const S* __restrict s, ptrdiff_t row_stride, ptrdiff_t col_stride, int64_t groups,
                 int64_t n, D* __restrict d, int32_t* __restrict sums) {
  for (; groups > 0; --groups, s += KR * row_stride, d += f.nr * KR) {
    for (int64_t j = 0; j < n; ++j) {
      int32_t sum = 0;
      for (int r = 0; r < KR; ++r) {
        const S v = s[r * row_stride + j * col_stride];
        d[j * KR + r] = D(v);
        if constexpr (sizeof(S) == 1) sum += v;
      }
      if constexpr (sizeof(S) == 1) sums[j] += sum;
    }
  }
}

template <int KR, class S, class D>
void pack_strided(const PackFormat& f, const S* s, ptrdiff_t row_stride, ptrdiff_t col_stride, int64_t groups, int64_t n, D* d,
                  int32_t* sums) {
  if (row_stride == 1) return pack_groups<KR>(f, s, 1, col_stride, groups, n, d, sums);
  if (col_stride == 1) return pack_groups<KR>(f, s, row_stride, 1, groups, n, d, sums);
  pack_groups<KR>(f, s, row_stride, col_stride, groups, n, d, sums);
}

template <class S, class D>
void pack(const PackFormat& f, const WeightBlock& w, int64_t row, int64_t column, D* panel, int32_t* sums) {
  const int64_t head = std::min((f.kr - row % f.kr) % f.kr, w.k), groups = (w.k - head) / f.kr;
  const bool known = f.kr == 1 || f.kr == 2 || f.kr == 4 || f.kr == 8;
  const int64_t tail = known ? head + groups * f.kr : head;
  pack_rows<S>(f, w, 0, head, row, column, panel, sums);
  const S* s = static_cast<const S*>(w.data) + head * w.row_stride;
  D* d = panel + ((row + head) / f.kr * f.nr + column) * f.kr;
  switch (f.kr) {
    case 1:
      pack_strided<1>(f, s, w.row_stride, w.col_stride, groups, w.n, d, sums);
      break;
    case 2:
      pack_strided<2>(f, s, w.row_stride, w.col_stride, groups, w.n, d, sums);
      break;
    case 4:
      pack_strided<4>(f, s, w.row_stride, w.col_stride, groups, w.n, d, sums);
      break;
    case 8:
      pack_strided<8>(f, s, w.row_stride, w.col_stride, groups, w.n, d, sums);
      break;
    default:
      break;
  }
  pack_rows<S>(f, w, tail, w.k, row, column, panel, sums);
}

}  // namespace

void pack_block(const PackFormat& f, const WeightBlock& w, int64_t row, int64_t column, void* panel, int32_t* sums) noexcept {
  if (w.dtype == DType::f32) return pack<float>(f, w, row, column, static_cast<float*>(panel), sums);
  if (f.elem_bytes == 2) return pack<int8_t>(f, w, row, column, static_cast<int16_t*>(panel), sums);
  pack<int8_t>(f, w, row, column, static_cast<int8_t*>(panel), sums);
}

size_t dwconv_bytes(const PackFormat& f, int64_t taps, int64_t channels) noexcept {
  return panel_bytes(f, taps) * size_t((channels + f.nr - 1) / f.nr);
}

void pack_dwconv(const PackFormat& f, const void* w, DType dtype, int64_t taps, int64_t channels, void* packed,
                 int32_t* sums) noexcept {
  const size_t block_bytes = panel_bytes(f, taps);
  for (int64_t c = 0; c < channels; ++c) {
    const WeightBlock channel{static_cast<const char*>(w) + c * taps * int64_t(size_of(dtype)), dtype, taps, 1, 1, taps};
    pack_block(f, channel, 0, column_of(f, int(c % f.nr)), static_cast<char*>(packed) + size_t(c / f.nr) * block_bytes,
               sums ? sums + c : nullptr);
  }
}

}  // namespace octavo::detail
