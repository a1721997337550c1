// THE contract between portable code and the microkernels. Plain data only.
#pragma once

#include <cfloat>
#include <cstddef>
#include <cstdint>

#include "octavo/isa.h"
#include "octavo/types.h"

namespace octavo {

// What happens to an accumulator on its way out of the registers. One formula per output type:
//   out s32   c = acc
//   out f32   v = fma(float(acc), scale[j], bias_f32[j])          (brgemm on s8 weights)
//             v = acc + bias_f32[j]                               (brgemm on f32: scale is null)
//             v = v + r          if residual is set (f32)
//             c = clamp(v, lo, hi)
//   out u8,s8 v = float(acc) * scale[j]
//             v = fma(float(acc), scale[j], float(r - residual_zp) * residual_scale)   if residual is set (u8 or s8)
//             c = rne(clamp(v, lo, hi)) + zp
// clamp(v, lo, hi): v = v > lo ? v : lo; then v < hi ? v : hi. (A NaN becomes lo.) rne = round half to even.
// float(int32) rounds to nearest even. For u8 and s8 the caller passes lo and hi with zp already subtracted and within
// the output type's range, so that no saturation is left to do.
// All arrays are indexed by output column (channel) of the panel: the caller advances them.
struct EpilogueArgs {
  const int32_t* bias = nullptr;       // [n] seeds the int32 accumulators; zero points are folded into it. null = 0
  const float* scale = nullptr;        // [n] null for s32 output and for f32 kernels
  const float* bias_f32 = nullptr;     // [n] f32 output only. null = 0
  const void* residual = nullptr;      // [m][n] of the type residual_dtype; null = none. Never for s32 output
  ptrdiff_t residual_stride_bytes = 0;
  float residual_scale = 0;
  int32_t residual_zp = 0;
  DType residual_dtype = DType::u8;
  DType out = DType::s32;
  float lo = 0, hi = 0;                // ignored for s32 output
  int32_t zp = 0;                      // u8, s8 output
  // What the caller knows, so that a kernel may round in a shorter way to the same result: no |acc| of the call is above
  // largest_acc, no |float(acc) * scale[j]| above largest_out.
  float largest_acc = FLT_MAX, largest_out = FLT_MAX;
};

// brgemm: acc[i][j] = bias[j] + sum_{t<batch} sum_{p<k} A_t[i][p] * B_t[p][j];  C[i][j] = epilogue(acc[i][j])
//   A_t   u8, s8 or f32; row i starts at (const char*)a[t] + i*a_stride_bytes; k contiguous elements; any alignment
//   B     one panel per tap, back to back: tap t starts at b + t * panel_bytes(format, k); 64-byte aligned. Where only some taps of
//         a convolution see the image, b_offsets says where the panels of those are: tap t starts at b + b_offsets[t]
//   C     row i starts at (char*)c + i*c_stride_bytes; n contiguous elements of EpilogueArgs::out; any alignment
// 1 <= m <= mr, 1 <= n <= nr, k >= 1, batch >= 1. A kernel that takes several panels a call (KernelInfo::panels) also takes n up to
// panels * nr: those columns' panels start b_panel_stride bytes apart, each with all its taps. B is zero-padded to a multiple of kr
// rows and to nr columns; A is not padded. The kernel reads only the k elements of each A row, and n elements of bias, scale,
// bias_f32 and of residual rows, and writes only n elements of each C row. C may alias nothing but the residual (same address and
// stride).
// f32: the sum runs in the order t, then p, with one fma each from 0, so that the bits are the same for every tile.
//
// grouped: the same for several groups of group_n columns, each with k values of A of its own, one behind the other in a row:
//   acc[i][j] = bias[j] + sum_{t<batch} sum_{p<k} A_t[i][(j / group_n) * k + p] * B_t[p][j]
// group_n is a power of two that divides nr, k <= group_n fills words of four bytes. Rows of A are read up to the last group of n.
struct BrgemmArgs {
  const void* const* a = nullptr;
  ptrdiff_t a_stride_bytes = 0;
  const void* b = nullptr;
  const ptrdiff_t* b_offsets = nullptr;  // [batch] bytes; null: back to back
  ptrdiff_t b_panel_stride = 0;          // n > nr only
  int64_t batch = 1, k = 0;
  int32_t m = 0, n = 0;
  int32_t group_n = 0;  // grouped only
  void* c = nullptr;
  ptrdiff_t c_stride_bytes = 0;
  bool far_c = false;  // C is in no near cache: a kernel may ask for rows of it before it writes them
  const EpilogueArgs* epi = nullptr;
};
using BrgemmFn = void (*)(const BrgemmArgs*);

// dwconv: m rows of n output pixels of a depthwise convolution, NHWC. One call for several rows lets a kernel prepare what the
// channels share once, and input rows once for all the output rows that see them.
//   acc[r][x][c] = bias[c] + sum_{y<kh} sum_{z<kw} rows[r*stride_h + y][x*stride_w + z*dilation_w][c] * W[y][z][c]
//   C[r][x][c] = epilogue(acc[r][x][c])
//   rows     [(m-1)*stride_h + kh] pointers to u8, s8 or f32 pixels: rows[r*stride_h + y] is the first pixel under kernel row y
//            of pixel 0 of output row r. Pixels are pixel_stride_bytes apart. Padding is the caller's: rows point at pixels that
//            hold the zero point where the image ends. So is dilation in height: rows[] lists what is seen (stride_h = kh if
//            output rows share nothing). f32 kernels leave out products with what is not there: rows[] may hold null, and rows[i]
//            points at the first of `columns` pixels, of which pixel 0 of C sees those from -pad_left on.
//   w        packed by pack_dwconv() for the kernel's format, 64-byte aligned
//   C        pixel x of row r starts at (char*)c + r*c_row_stride_bytes + x*c_stride_bytes; channels contiguous elements
//   residual the same with residual_row_stride_bytes and EpilogueArgs::residual_stride_bytes
// 1 <= m <= KernelInfo::rows, 1 <= n (pixels, any number), 1 <= channels (any number), stride_h <= kh if m > 1. Nothing outside
// the named pixels' channels is read or written. f32: the sum runs in the order y, z with one fma each from 0.
struct DwconvArgs {
  const void* const* rows = nullptr;
  ptrdiff_t pixel_stride_bytes = 0;
  int32_t kh = 1, kw = 1, stride_h = 1, stride_w = 1, dilation_w = 1;
  int32_t m = 1;
  int64_t n = 0, channels = 0;
  int64_t pad_left = 0, columns = INT64_MAX;  // f32 only
  const void* w = nullptr;
  void* c = nullptr;
  ptrdiff_t c_stride_bytes = 0, c_row_stride_bytes = 0;
  ptrdiff_t residual_row_stride_bytes = 0;
  const EpilogueArgs* epi = nullptr;
};
using DwconvFn = void (*)(const DwconvArgs*);

// How weights lie in memory for a kernel. Weights are symmetric (their zero point is 0).
// brgemm panel of one tap, nr columns:  [ceil(k/kr)][nr][kr] elements of elem_bytes (s8: 1, s8 widened to s16: 2, f32: 4)
//     nr=32, kr=4:  k0..3 of column 0 | k0..3 of column 1 | ... | k0..3 of column 31 | k4..7 of column 0 | ...
// dwconv: blocks of nr channels; per block [dwconv_slots()/kr][nr][kr] elements, zero-padded; tap (y, z) in slot slot_of(),
//     channel c of a block in column column_of(format, c).
struct PackFormat {
  uint8_t nr = 0, kr = 0, elem_bytes = 1;
  // Added by the kernel to each A element before it multiplies (128 where s8 is flipped to u8 by xor 0x80, -128 where u8 is
  // flipped to s8), so that packing takes a_offset * colsum(B) out of the folded bias.
  int16_t a_offset = 0;
  // dwconv, nr a multiple of 16: channels of a block lie in the order in which unpacking bytes leaves them: column_of().
  bool unpack_order = false;
  // dwconv: taps go down the kernel's columns, each of which takes a multiple of kr slots, unless it has but one row. Else they
  // follow each other in the order y, z.
  bool by_column = false;
  friend bool operator==(const PackFormat&, const PackFormat&) = default;
};
constexpr size_t panel_bytes(const PackFormat& f, int64_t k) {
  return size_t((k + f.kr - 1) / f.kr) * f.kr * f.nr * f.elem_bytes;
}

// The column of a dwconv block that holds channel c of it. unpack_order: every group of 16 channels gives 4 to each quarter.
constexpr int column_of(const PackFormat& f, int c) {
  return f.unpack_order ? c % 16 / 4 * (f.nr / 4) + c / 16 * 4 + c % 4 : c;
}

// Where tap (y, z) of a dwconv kernel lies: element slot % kr of group slot / kr.
constexpr int64_t slot_of(const PackFormat& f, int64_t kh, int64_t kw, int64_t y, int64_t z) {
  return f.by_column && kh > 1 ? z * ((kh + f.kr - 1) / f.kr * f.kr) + y : y * kw + z;
}
constexpr int64_t dwconv_slots(const PackFormat& f, int64_t kh, int64_t kw) {  // a multiple of kr
  return (slot_of(f, kh, kw, kh - 1, kw - 1) + f.kr) / f.kr * f.kr;
}

// winograd: a sum of 3x3 convolutions of stride 1, NHWC, by the minimal algorithm F(4x4, 3x3), in integers (Winograd 1980; Lavin and
// Gray 2015, arXiv:1509.09308). A tile is 4x4 output pixels, which see 6x6 input pixels d. 36 products for each pair of channels take
// the place of 144:
//   V = T (d + a_offset) T^t                  [6][6] of each input channel, within 16 bits
//   P[x] = sum_{t<batch} sum_{p<k} V_t[x][p] * U_t[x][p][j]     x: one of the 36 places; modulo 2^32
//   acc = bias[j] + S P S^t / 900             [4][4], modulo 2^32
//       | 2  3 -4 -3  2  0 |        | 1  1  1  1  8  0 |        | 15  0  0 |
//       | 0 -2 -5 -1  2  0 |    S = | 0  1 -1  2 -4  0 |        | -5 -5 -5 |
//   T = | 0  2  1 -5  2  0 |        | 0  1  1  4  2  0 |    G = |  5 -5  5 |    U = G w G^t, within 16 bits
//       | 0 -1 -2  1  2  0 |        | 0  1 -1  8 -1  1 |        |  1  2  4 |
//       | 0  2 -1 -2  1  0 |                                    | -4  2 -1 |
//       | 0  2  3 -4 -3  2 |                                    |  0  0 15 |
// The points are 0, 1, -1, 2, -1/2 and infinity, of which 900 = 4 * 225 comes; with -2 for -1/2 it would be 64 * 9. 225 has an
// inverse modulo 2^32, so that whatever overflows on the way, acc - bias is exact as long as it fits 30 bits. A direct convolution
// with no more than kWinogradProducts products to a sum does, whatever its operands are.
// Tiles lie in rows of ceil(w/4), the last of a row and the last row cut off at w and h. A call computes a run of `tiles`: from tile
// `first` of the first row on, then the next rows.
//   a        a[t]: input pixel (0, 0) of the first row of tiles. All that tiles of the run see must be there, padding too: 6x6
//            pixels of each. A larger kernel is several of 3x3 on shifted pixels; one with a stride, on every so manieth
//   b        panels of nr columns, b_panel_stride bytes apart: of each the 36 places [batch] of panel_bytes(format, k); 64-byte
//            aligned
//   C        pixel x of row y at (char*)c + y*c_row_stride_bytes + x*c_pixel_stride_bytes; n contiguous elements of
//            EpilogueArgs::out
//   residual the same with residual_row_stride_bytes and EpilogueArgs::residual_stride_bytes
// batch, k, n, h, w >= 1, any number; first in [0, ceil(w/4)), tiles in [1, ceil(w/4) * ceil(h/4) - first]. Nothing else is read or
// written but the workspace: WinogradSpace::bytes, 64-byte aligned.
constexpr int8_t kWinogradG[6][3] = {{15, 0, 0}, {-5, -5, -5}, {5, -5, 5}, {1, 2, 4}, {-4, 2, -1}, {0, 0, 15}};
constexpr int kWinogradPlaces = 36;
constexpr int64_t kWinogradProducts = ((int64_t(1) << 29) - 1) / (128 * 128);  // |a + a_offset| and |w| are at most 128
struct WinogradArgs {
  const void* const* a = nullptr;
  ptrdiff_t a_pixel_stride_bytes = 0, a_row_stride_bytes = 0;
  const void* b = nullptr;
  ptrdiff_t b_panel_stride = 0;
  int64_t batch = 1, k = 0, n = 0;
  int32_t h = 0, w = 0;
  int64_t first = 0, tiles = 0;
  void* c = nullptr;
  ptrdiff_t c_pixel_stride_bytes = 0, c_row_stride_bytes = 0;
  ptrdiff_t residual_row_stride_bytes = 0;
  void* workspace = nullptr;
  const EpilogueArgs* epi = nullptr;
};
using WinogradFn = void (*)(const WinogradArgs*);

// f(y, x, n) for each row of tiles of a run: the n from tile x on.
template <class F>
constexpr void each_tile_row(const WinogradArgs& g, const F& f) {
  const int64_t across = (int64_t(g.w) + 3) / 4;
  int64_t x = g.first, left = g.tiles;
  for (int64_t y = 0; left > 0; ++y, x = 0) {
    const int64_t n = across - x < left ? across - x : left;
    f(y, x, n);
    left -= n;
  }
}

// Where things lie in the workspace: V, [36][tiles] rows of [batch][k rounded up to kr] words, the last k to whole registers; P of a
// panel, [36][tiles][nr]; and of a row of tiles, `across` at most, the columns of T d, [4 * across + 2][6] registers. The 36 planes are
// an odd number of cache lines apart, so that what one tile has in them does not compete for a line of L1.
struct WinogradSpace {
  size_t row, v_plane, p_plane;  // bytes
  size_t p, columns, bytes;      // where P and the columns begin; of everything
  constexpr WinogradSpace(const PackFormat& f, int64_t batch, int64_t k, int64_t tiles, int64_t across) {
    constexpr int64_t kLine = 64, kRegisterWords = 32;
    const auto odd_lines = [](int64_t lines) { return size_t((lines | 1) * kLine); };
    row = size_t(up((batch - 1) * up(k, f.kr) * f.kr + up(k, kRegisterWords) * kRegisterWords, kRegisterWords) * kLine);
    v_plane = odd_lines(tiles * int64_t(row) / kLine);
    p_plane = odd_lines(up(tiles * f.nr * 4, kLine));
    p = kWinogradPlaces * v_plane;
    columns = p + kWinogradPlaces * p_plane;
    bytes = columns + size_t((4 * (tiles < across ? tiles : across) + 2) * 6 * kLine);
  }

 private:
  static constexpr int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }
};

enum class Op : uint8_t { brgemm, dwconv, grouped, winograd };
constexpr const char* name_of(Op op) {
  constexpr const char* kNames[] = {"brgemm", "dwconv", "grouped", "winograd"};
  return kNames[int(op)];
}

// One row of the registry.
struct KernelInfo {
  const char* name;   // <op>_<a><b>_<isa>_<mr>x<nr>x<kr>
  Op op;
  Isa needs;
  DType a, b;         // u8|s8 with s8, or f32 with f32
  uint8_t mr, nr, kr; // output tile (pixels x channels for dwconv), K values interleaved per column
  bool test_only;     // odd layouts that exercise packing; never chosen
  PackFormat format;
  uint8_t rows;       // dwconv: the most output rows of one call. 0 for brgemm
  uint8_t group;      // grouped, and brgemm for short sums: mr is made of groups of so many rows, one behind the other. Else 0
  uint8_t panels;     // brgemm: the most panels of one call, above 1 where a kernel copies A and the copy serves all of them
  uint8_t words;      // winograd: a product of words takes as long as so many tenths of one of bytes in a direct convolution. Else 0
  uint16_t transform; // winograd: to transform a channel of a tile takes as long as so many of those, to transform one back twice as long
  uint8_t read;       // winograd: to read weights that L2 does not hold takes as long as to multiply so many tiles by them
  BrgemmFn brgemm;    // brgemm, grouped; exactly one of the three is set
  DwconvFn dwconv;
  WinogradFn winograd;
};

}  // namespace octavo
