// rowmat_neon: sums[j] = sum_p a[p] * b[p][j], B as it lies in memory
// A: s16; rows: one value for all columns; columns: sixteen values, as they are
// B: u8 or s8, sixteen values widened to s16
// C: s32 sums
// Registers, of 32: rows: 16 accumulators, A, 2 of B; columns: 4 accumulators, 2 of A, 2 of B
// Needs NEON. SMLAL sums s16*s16 into s32; sums wrap modulo 2^32
// Measured: under an emulator only
#include "kernels/arm/q.inl.h"
#include "octavo/rowmat.h"

namespace octavo::OCTAVO_ISA {
namespace {

struct Wide {
  int16x8_t low, high;
};
template <bool Signed>
OCTAVO_INLINE Wide widen(uint8x16_t x) {
  if constexpr (Signed) {
    const int8x16_t s = vreinterpretq_s8_u8(x);
    return {vmovl_s8(vget_low_s8(s)), vmovl_high_s8(s)};
  } else {
    return {vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(x))), vreinterpretq_s16_u16(vmovl_high_u8(x))};
  }
}
OCTAVO_INLINE uint8x16_t load16(const char* p) { return vld1q_u8(reinterpret_cast<const uint8_t*>(p)); }

// The sums of `Units` times 16 columns; of the last unit `live` of them, which are all unless Part.
template <bool Signed, int Units, bool Part>
OCTAVO_INLINE void sum_columns(const RowMatrixArgs& g, int64_t j, int live) {
  int32x4_t acc[Units][4];
  OCTAVO_UNROLL
  for (int u = 0; u < Units; ++u) acc[u][0] = acc[u][1] = acc[u][2] = acc[u][3] = vdupq_n_s32(0);
  const char* row = static_cast<const char*>(g.b) + j;
  for (int64_t p = 0; p < g.k; ++p, row += g.b_stride_bytes) {
    OCTAVO_UNROLL
    for (int u = 0; u < Units; ++u) {
      const Wide b = widen<Signed>(Part ? load_bytes(row, live) : load16(row + 16 * u));
      acc[u][0] = vmlal_n_s16(acc[u][0], vget_low_s16(b.low), g.a[p]);
      acc[u][1] = vmlal_high_n_s16(acc[u][1], b.low, g.a[p]);
      acc[u][2] = vmlal_n_s16(acc[u][2], vget_low_s16(b.high), g.a[p]);
      acc[u][3] = vmlal_high_n_s16(acc[u][3], b.high, g.a[p]);
    }
  }
  OCTAVO_UNROLL
  for (int u = 0; u < Units; ++u) {
    int32_t all[16];
    OCTAVO_UNROLL
    for (int i = 0; i < 4; ++i) vst1q_s32(all + 4 * i, acc[u][i]);
    std::memcpy(g.sums + j + 16 * u, all, size_t(Part ? live : 16) * sizeof *all);
  }
}

template <bool Signed>
void rows(const RowMatrixArgs* g) {
  int64_t j = 0;
  for (; j + 64 <= g->n; j += 64) sum_columns<Signed, 4, false>(*g, j, 16);
  for (; j + 16 <= g->n; j += 16) sum_columns<Signed, 1, false>(*g, j, 16);
  if (j < g->n) sum_columns<Signed, 1, true>(*g, j, int(g->n - j));
}

// The sums of `Columns` columns.
template <bool Signed, int Columns>
OCTAVO_INLINE void sum_dots(const RowMatrixArgs& g, int64_t j) {
  const char* b = static_cast<const char*>(g.b) + j * g.b_stride_bytes;
  int32x4_t acc[Columns];
  OCTAVO_UNROLL
  for (int c = 0; c < Columns; ++c) acc[c] = vdupq_n_s32(0);
  const auto add = [&](int64_t p, const auto& load) OCTAVO_LAMBDA {
    const int16x8_t low = vld1q_s16(g.a + p), high = vld1q_s16(g.a + p + 8);
    const char* column = b + p;
    OCTAVO_UNROLL
    for (int c = 0; c < Columns; ++c, column += g.b_stride_bytes) {
      const Wide w = widen<Signed>(load(column));
      acc[c] = vmlal_s16(acc[c], vget_low_s16(low), vget_low_s16(w.low));
      acc[c] = vmlal_high_s16(acc[c], low, w.low);
      acc[c] = vmlal_s16(acc[c], vget_low_s16(high), vget_low_s16(w.high));
      acc[c] = vmlal_high_s16(acc[c], high, w.high);
    }
  };
  int64_t p = 0;
  for (; p + 16 <= g.k; p += 16) add(p, [](const char* from) OCTAVO_LAMBDA { return load16(from); });
  if (p < g.k) add(p, [&](const char* from) OCTAVO_LAMBDA { return load_bytes(from, int(g.k - p)); });
  OCTAVO_UNROLL
  for (int c = 0; c < Columns; ++c) g.sums[j + c] = vaddvq_s32(acc[c]);
}

template <bool Signed>
void columns(const RowMatrixArgs* g) {
  int64_t j = 0;
  for (; j + 4 <= g->n; j += 4) sum_dots<Signed, 4>(*g, j);
  for (; j < g->n; ++j) sum_dots<Signed, 1>(*g, j);
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA

extern "C" {
extern const octavo::RowMatrixKernels octavo_rowmat_neon;
constinit const octavo::RowMatrixKernels octavo_rowmat_neon = {
    "rowmat_neon",
    octavo::Isa::neon,
    octavo::OCTAVO_ISA::rows<false>,
    octavo::OCTAVO_ISA::rows<true>,
    octavo::OCTAVO_ISA::columns<false>,
    octavo::OCTAVO_ISA::columns<true>,
};
}
