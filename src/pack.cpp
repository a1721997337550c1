// A panel is made of words: the kr elements of one column that one dot instruction multiplies. Weights are read where they
// are contiguous: along k a word is a copy; along columns or taps, kr rows are interleaved a vector at a time.
#include "src/pack.h"

#include <algorithm>
#include <cstring>

namespace octavo::detail {
namespace {

constexpr int kChunk = 16;  // words that are made at once

// A register of every baseline. (GCC's and Clang's own notation: 16 bytes are SSE2 or NEON without asking for either.)
using Vector = int8_t __attribute__((vector_size(kChunk)));
// Interleave the lower and the upper halves of two registers of elements of Size bytes.
template <int Size>
Vector zip_low(Vector a, Vector b) {
  using Wide = int64_t __attribute__((vector_size(kChunk)));
  using Word = int32_t __attribute__((vector_size(kChunk)));
  using Half = int16_t __attribute__((vector_size(kChunk)));
  if constexpr (Size == 8) return (Vector)__builtin_shufflevector((Wide)a, (Wide)b, 0, 2);
  if constexpr (Size == 4) return (Vector)__builtin_shufflevector((Word)a, (Word)b, 0, 4, 1, 5);
  if constexpr (Size == 2) return (Vector)__builtin_shufflevector((Half)a, (Half)b, 0, 8, 1, 9, 2, 10, 3, 11);
  if constexpr (Size == 1) return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
template <int Size>
Vector zip_high(Vector a, Vector b) {
  using Wide = int64_t __attribute__((vector_size(kChunk)));
  using Word = int32_t __attribute__((vector_size(kChunk)));
  using Half = int16_t __attribute__((vector_size(kChunk)));
  if constexpr (Size == 8) return (Vector)__builtin_shufflevector((Wide)a, (Wide)b, 1, 3);
  if constexpr (Size == 4) return (Vector)__builtin_shufflevector((Word)a, (Word)b, 2, 6, 3, 7);
  if constexpr (Size == 2) return (Vector)__builtin_shufflevector((Half)a, (Half)b, 4, 12, 5, 13, 6, 14, 7, 15);
  if constexpr (Size == 1) return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// out: element 0 (of Size bytes) of every row, then element 1 of every row, and so on.
template <int Rows, int Size = 1>
void zip(const Vector* rows, Vector* out) {
  if constexpr (Rows == 1) {
    *out = *rows;
  } else {
    Vector low[Rows / 2], high[Rows / 2];
    for (int i = 0; i < Rows / 2; ++i) {
      low[i] = zip_low<Size>(rows[i], rows[i + Rows / 2]);
      high[i] = zip_high<Size>(rows[i], rows[i + Rows / 2]);
    }
    zip<Rows / 2, Size>(low, out);
    zip<Rows / 2, Size>(high, out + Rows / 2);
  }
}

// Sixteen elements, as wide as the panel has them.
void put(Vector v, int8_t* d) { std::memcpy(d, &v, sizeof v); }
void put(Vector v, int16_t* d) {
  const Vector sign = v < 0;  // the upper bytes: all systems are little-endian
  const Vector wide[2] = {zip_low<1>(v, sign), zip_high<1>(v, sign)};
  std::memcpy(d, wide, sizeof wide);
}
Vector get(const int8_t* s, int8_t flip) {
  Vector v;
  std::memcpy(&v, s, sizeof v);
  return v ^ flip;
}

// Words of one element from each of KR rows, row_stride elements apart: d[j][r] = s[r][j] for kChunk values of j.
template <int KR, class D>
void interleave(const int8_t* s, ptrdiff_t row_stride, int8_t flip, D* d) {
  Vector rows[KR], words[KR];
  for (int r = 0; r < KR; ++r) rows[r] = get(s + r * row_stride, flip);
  zip<KR>(rows, words);
  for (int i = 0; i < KR; ++i) put(words[i], d + i * kChunk);
}
template <int KR>
void interleave(const float* s, ptrdiff_t row_stride, int8_t, float* d) {
  for (int j = 0; j < kChunk; ++j)
    for (int r = 0; r < KR; ++r) d[j * KR + r] = s[r * row_stride + j];
}

// Words of as many columns as make sixteen elements, for each of kChunk taps: d[t*step][c][r] = s[c][r][t].
template <int KR, class D>
void transpose(const int8_t* s, ptrdiff_t row_stride, ptrdiff_t col_stride, int8_t flip, D* d, ptrdiff_t step) {
  Vector rows[kChunk], taps[kChunk];
  for (int c = 0; c < kChunk / KR; ++c)
    for (int r = 0; r < KR; ++r) rows[c * KR + r] = get(s + c * col_stride + r * row_stride, flip);
  zip<kChunk>(rows, taps);
  for (int t = 0; t < kChunk; ++t) put(taps[t], d + t * step);
}
template <int KR>
void transpose(const float* s, ptrdiff_t row_stride, ptrdiff_t col_stride, int8_t, float* d, ptrdiff_t step) {
  for (int c = 0; c < kChunk / KR; ++c)
    for (int r = 0; r < KR; ++r)
      for (int t = 0; t < kChunk; ++t) d[t * step + c * KR + r] = s[c * col_stride + r * row_stride + t];
}

// Words of as many columns as make sixteen elements, each of which lies in one piece: d[g*step][c][r] = s[c][g*KR + r] for
// sixteen elements of every column.
template <int KR, class D>
void collect(const int8_t* s, ptrdiff_t col_stride, int8_t flip, D* d, ptrdiff_t step) {
  constexpr int kColumns = kChunk / KR;
  Vector columns[kColumns], words[kColumns];
  for (int c = 0; c < kColumns; ++c) columns[c] = get(s + c * col_stride, flip);
  zip<kColumns, KR>(columns, words);
  for (int g = 0; g < kColumns; ++g) put(words[g], d + g * step);
}
template <int KR>
void collect(const float* s, ptrdiff_t col_stride, int8_t, float* d, ptrdiff_t step) {
  constexpr int kColumns = kChunk / KR, kBytes = KR * int(sizeof(float));
  if constexpr (kBytes < kChunk) {  // a word is one of kBytes s8 elements
    constexpr int kPiece = kChunk / kBytes;
    for (int c = 0; c < kColumns; c += kPiece)
      for (int g = 0; g < kColumns; g += kPiece)
        collect<kBytes>(reinterpret_cast<const int8_t*>(s + c * col_stride + g * KR), col_stride * ptrdiff_t(sizeof(float)), 0,
                        reinterpret_cast<int8_t*>(d + g * step + c * KR), step * ptrdiff_t(sizeof(float)));
  } else {
    for (int c = 0; c < kColumns; ++c)
      for (int p = 0; p < kChunk; ++p) d[p / KR * step + c * KR + p % KR] = s[c * col_stride + p];
  }
}

// One element as the panel has it, and one word of KR of them.
float packed(float s, int8_t) { return s; }
int8_t packed(int8_t s, int8_t flip) { return int8_t(s ^ flip); }
template <int KR, class S, class D>
void copy_word(const S* s, ptrdiff_t row_stride, int8_t flip, D* d) {
  for (int r = 0; r < KR; ++r) d[r] = packed(s[r * row_stride], flip);
}

template <class S, class D>
struct Packer {
  const PackFormat& f;
  const WeightBlock& w;
  int64_t row, column;
  char* panel;
  size_t tap_bytes;
  const int8_t flip = w.flip ? int8_t(-128) : int8_t(0);

  const S* source(int64_t t, int64_t p, int64_t j) const {
    return static_cast<const S*>(w.data) + t * w.tap_stride + p * w.row_stride + j * w.col_stride;
  }
  D* target(int64_t t, int64_t p, int64_t j) const {
    const int64_t at = row + p;
    return reinterpret_cast<D*>(panel + size_t(t) * tap_bytes) + (at / f.kr * f.nr + column + j) * f.kr + at % f.kr;
  }
  // The same where p begins a word of KR rows: a division by a constant.
  template <int KR>
  D* word(int64_t t, int64_t p, int64_t j) const {
    return reinterpret_cast<D*>(panel + size_t(t) * tap_bytes) + ((row + p) / KR * f.nr + column + j) * KR;
  }

  // One element at a time: the rows that do not fill a word, and layouts of no vector's shape.
  void elements(int64_t p_begin, int64_t p_end) const {
    for (int64_t t = 0; t < w.taps; ++t)
      for (int64_t p = p_begin; p < p_end; ++p) {
        const S* s = source(t, p, 0);
        D* d = target(t, p, 0);
        for (int64_t j = 0; j < w.n; ++j, s += w.col_stride, d += f.kr) *d = packed(*s, flip);
      }
  }

  // Elements of a word are neighbours. A block of rows at a time, so that the words written stay in L1.
  template <int KR>
  void along_k(int64_t p_begin, int64_t p_end) const {
    constexpr int64_t kRows = 128 * KR, kAtOnce = kChunk / KR;
    const ptrdiff_t step = ptrdiff_t(f.nr) * KR;
    for (int64_t t = 0; t < w.taps; ++t)
      for (int64_t block = p_begin; block < p_end; block += kRows) {
        const int64_t end = std::min(block + kRows, p_end), whole = block + (end - block) / kChunk * kChunk;
        int64_t j = 0;
        for (; j + kAtOnce <= w.n; j += kAtOnce)
          for (int64_t p = block; p < whole; p += kChunk)
            collect<KR>(source(t, p, j), w.col_stride, flip, word<KR>(t, p, j), step);
        words_along_k<KR>(t, block, whole, j, step);
        words_along_k<KR>(t, whole, end, 0, step);
      }
  }
  // One word at a time: rows [p, end) of the columns from `first` on.
  template <int KR>
  void words_along_k(int64_t t, int64_t p, int64_t end, int64_t first, ptrdiff_t step) const {
    for (int64_t j = first; j < w.n && p < end; ++j) {
      const S* s = source(t, p, j);
      D* d = word<KR>(t, p, j);
      for (int64_t left = end - p; left > 0; left -= KR, s += KR, d += step) copy_word<KR>(s, 1, flip, d);
    }
  }

  template <int KR>
  void along_columns(int64_t p_begin, int64_t p_end) const {
    for (int64_t t = 0; t < w.taps; ++t)
      for (int64_t p = p_begin; p < p_end; p += KR) {
        const S* s = source(t, p, 0);
        D* d = word<KR>(t, p, 0);
        int64_t j = 0;
        for (; j + kChunk <= w.n; j += kChunk) interleave<KR>(s + j, w.row_stride, flip, d + j * KR);
        if (j == w.n) continue;
        if (w.n >= kChunk) {  // the last ones once more
          interleave<KR>(s + w.n - kChunk, w.row_stride, flip, d + (w.n - kChunk) * KR);
        } else {
          for (; j < w.n; ++j) copy_word<KR>(s + j, w.row_stride, flip, d + j * KR);
        }
      }
  }

  // Taps are neighbours: the words of a chunk of taps go to as many panels. These lie at strides that compete for the same lines
  // of L1, so that blocks are staged. Weights are those of a convolution, [n][k][taps]: what follows a row's taps is the next
  // row or column, and a chunk of taps may be read whole, except at the very end.
  template <int KR>
  void along_taps(int64_t p_begin, int64_t p_end) const {
    constexpr int64_t kWords = 8, kColumns = 32, kAtOnce = kChunk / KR;
    D stage[kChunk][kWords][kColumns * KR];
    for (int64_t t = 0; t < w.taps; t += kChunk)
      for (int64_t first = 0; first < w.n; first += kColumns)
        for (int64_t block = p_begin; block < p_end; block += kWords * KR) {
          const int64_t taps = std::min<int64_t>(kChunk, w.taps - t), columns = std::min(kColumns, w.n - first),
                        words = std::min(kWords, (p_end - block) / KR);
          for (int64_t i = 0; i < words; ++i) {
            const int64_t p = block + i * KR;
            // The columns before this one may be read whole.
            const int64_t rest = (w.n * w.k - p - KR + 1) * w.taps - t - kChunk, whole = rest < 0 ? 0 : rest / (w.k * w.taps) + 1;
            int64_t j = 0;
            for (; j + kAtOnce <= columns && first + j + kAtOnce <= whole; j += kAtOnce)
              transpose<KR>(source(t, p, first + j), w.row_stride, w.col_stride, flip, &stage[0][i][j * KR],
                            sizeof stage[0] / sizeof(D));
            for (; j < columns; ++j)
              for (int64_t y = 0; y < taps; ++y)
                copy_word<KR>(source(t + y, p, first + j), w.row_stride, flip, &stage[y][i][j * KR]);
          }
          for (int64_t y = 0; y < taps; ++y)
            for (int64_t i = 0; i < words; ++i)
              std::memcpy(word<KR>(t + y, block + i * KR, first), stage[y][i], size_t(columns) * KR * sizeof(D));
        }
  }

  template <int KR>
  void words(int64_t p_begin, int64_t p_end) const {
    if (w.taps > 1 && w.tap_stride == 1 && w.row_stride == w.taps && w.col_stride == w.k * w.taps)
      return along_taps<KR>(p_begin, p_end);
    if (w.row_stride == 1) return along_k<KR>(p_begin, p_end);
    if (w.col_stride == 1) return along_columns<KR>(p_begin, p_end);
    elements(p_begin, p_end);
  }

  void run() const {
    const int64_t head = std::min((f.kr - row % f.kr) % f.kr, w.k), tail = head + (w.k - head) / f.kr * f.kr;
    elements(0, head);
    switch (f.kr) {
      case 1:
        words<1>(head, tail);
        break;
      case 2:
        words<2>(head, tail);
        break;
      case 4:
        words<4>(head, tail);
        break;
      case 8:
        words<8>(head, tail);
        break;
      default:
        elements(head, tail);
    }
    elements(tail, w.k);
  }
};

// kChunk columns of KR elements a group, over `groups` groups. Partial sums fit 16 bits for kFlush groups.
template <int KR, class D>
void add_chunk_sums(const D* __restrict panel, int64_t group_elements, int64_t groups, int32_t* __restrict sums) {
  constexpr int kLanes = kChunk * KR / 2, kFlush = 127;
  while (groups > 0) {
    int16_t lanes[kLanes] = {};
    const int64_t count = std::min<int64_t>(groups, kFlush);
    for (int64_t g = 0; g < count; ++g, panel += group_elements) {
      for (int i = 0; i < kLanes; ++i) {
        if constexpr (sizeof(D) == 1) {
          int16_t pair;
          std::memcpy(&pair, panel + 2 * i, 2);
          lanes[i] = int16_t(lanes[i] + (int16_t(uint16_t(pair) << 8) >> 8) + (pair >> 8));
        } else {
          lanes[i] = int16_t(lanes[i] + panel[2 * i] + panel[2 * i + 1]);
        }
      }
    }
    for (int i = 0; i < kLanes; ++i) sums[i * 2 / KR] += lanes[i];
    groups -= count;
  }
}

template <class D>
void add_sums(const PackFormat& f, int64_t k, int64_t n, const D* panel, int32_t* sums) {
  const int64_t groups = (k + f.kr - 1) / f.kr, group_elements = int64_t(f.nr) * f.kr;
  int64_t j = 0;
  for (; j + kChunk <= n && (f.kr == 2 || f.kr == 4 || f.kr == 8); j += kChunk) {
    const D* chunk = panel + j * f.kr;
    if (f.kr == 2) add_chunk_sums<2>(chunk, group_elements, groups, sums + j);
    if (f.kr == 4) add_chunk_sums<4>(chunk, group_elements, groups, sums + j);
    if (f.kr == 8) add_chunk_sums<8>(chunk, group_elements, groups, sums + j);
  }
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t i = j; i < n; ++i)
      for (int r = 0; r < f.kr; ++r) sums[i] += panel[g * group_elements + i * f.kr + r];
}

// A tap of all channels of a block at a time.
template <class S, class D>
void pack_channels(const PackFormat& f, const S* w, int64_t kh, int64_t kw, int64_t channels, char* packed) {
  const size_t block_bytes = panel_bytes(f, dwconv_slots(f, kh, kw));
  int at[UINT8_MAX];
  for (int c = 0; c < f.nr; ++c) at[c] = column_of(f, c) * f.kr;
  for (; channels > 0; channels -= f.nr, w += f.nr * kh * kw, packed += block_bytes) {
    const int64_t n = std::min<int64_t>(channels, f.nr);
    for (int64_t t = 0; t < kh * kw; ++t) {
      const int64_t slot = slot_of(f, kh, kw, t / kw, t % kw);
      D* d = reinterpret_cast<D*>(packed) + slot / f.kr * f.nr * f.kr + slot % f.kr;
      for (int64_t c = 0; c < n; ++c) d[at[c]] = D(w[c * kh * kw + t]);
    }
  }
}

}  // namespace

void pack_block(const PackFormat& f, const WeightBlock& w, int64_t row, int64_t column, void* panel, size_t tap_bytes) noexcept {
  char* to = static_cast<char*>(panel);
  if (w.dtype == DType::f32) return Packer<float, float>{f, w, row, column, to, tap_bytes}.run();
  if (f.elem_bytes == 2) return Packer<int8_t, int16_t>{f, w, row, column, to, tap_bytes}.run();
  Packer<int8_t, int8_t>{f, w, row, column, to, tap_bytes}.run();
}

void add_column_sums(const PackFormat& f, int64_t k, int64_t n, const void* panel, int32_t* sums) noexcept {
  if (f.elem_bytes == 2) return add_sums(f, k, n, static_cast<const int16_t*>(panel), sums);
  add_sums(f, k, n, static_cast<const int8_t*>(panel), sums);
}

size_t dwconv_bytes(const PackFormat& f, int64_t kh, int64_t kw, int64_t channels) noexcept {
  return panel_bytes(f, dwconv_slots(f, kh, kw)) * size_t((channels + f.nr - 1) / f.nr);
}

void pack_dwconv(const PackFormat& f, const void* w, DType dtype, int64_t kh, int64_t kw, int64_t channels, void* packed,
                 int32_t* sums) noexcept {
  char* to = static_cast<char*>(packed);
  if (dtype == DType::f32) return pack_channels<float, float>(f, static_cast<const float*>(w), kh, kw, channels, to);
  const int8_t* from = static_cast<const int8_t*>(w);
  f.elem_bytes == 2 ? pack_channels<int8_t, int16_t>(f, from, kh, kw, channels, to)
                    : pack_channels<int8_t, int8_t>(f, from, kh, kw, channels, to);
  for (int64_t c = 0; sums && c < channels; ++c)
    for (int64_t t = 0; t < kh * kw; ++t) sums[c] += *from++;
}

}  // namespace octavo::detail
