// dwconv_{u8s8,s8s8}_sve_4x64x1      acc[r][x][c] = bias[c] + sum of taps; see octavo/ukernel.h
// A: u8 or s8 pixels, channels contiguous; loads widen bytes to words, one channel a lane
// B: blocks of 64 channels, [taps][64] s8, for vectors of any length up to the architecture's 2048 bits
// C: any type
// Registers (four pixels): 4 accumulators, 4 pixels, 1 weight
// Needs SVE. Exact: one multiply-add of words for each tap
// Measured: no machine at hand. For cores like A64FX, which have long vectors and no SDOT in NEON; where NEON has it, NEON wins
#include <arm_sve.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/unroll.inl.h"
#include "octavo/ukernel.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int64_t kBlock = 64;

struct U8 {
  static svint32_t pixel(svbool_t p, const char* a) { return svld1ub_s32(p, reinterpret_cast<const uint8_t*>(a)); }
};
struct S8 {
  static svint32_t pixel(svbool_t p, const char* a) { return svld1sb_s32(p, reinterpret_cast<const int8_t*>(a)); }
};

OCTAVO_INLINE svint32_t start(svbool_t p, const int32_t* bias, int64_t channel) {
  return bias ? svld1_s32(p, bias + channel) : svdup_s32(0);
}
OCTAVO_INLINE svfloat32_t load(svbool_t p, const void* floats) { return svld1_f32(p, static_cast<const float*>(floats)); }

// The channels p from `channel` on, c and r (or null) being where their first one is stored and its residual.
inline void store(svbool_t p, svint32_t acc, const EpilogueArgs& e, int64_t channel, const char* r, char* c) {
  if (e.out == DType::s32) return svst1_s32(p, reinterpret_cast<int32_t*>(c), acc);
  svfloat32_t v = svcvt_f32_s32_x(p, acc);
  if (e.out == DType::f32) {
    const svfloat32_t bias = e.bias_f32 ? load(p, e.bias_f32 + channel) : svdup_f32(0);
    v = e.scale ? svmla_f32_x(p, bias, v, load(p, e.scale + channel)) : svadd_f32_x(p, v, bias);
    if (r) v = svadd_f32_x(p, v, load(p, r));
    // fmaxnm would give lo for a NaN too, but has an order of its own for zeros.
    v = svsel_f32(svcmpgt_n_f32(p, v, e.lo), v, svdup_f32(e.lo));
    v = svsel_f32(svcmplt_n_f32(p, v, e.hi), v, svdup_f32(e.hi));
    return svst1_f32(p, reinterpret_cast<float*>(c), v);
  }
  const svfloat32_t scale = load(p, e.scale + channel);
  if (r) {
    const svint32_t q = e.residual_dtype == DType::u8 ? U8::pixel(p, r) : S8::pixel(p, r);
    const svfloat32_t residual = svmul_n_f32_x(p, svcvt_f32_s32_x(p, svsub_n_s32_x(p, q, e.residual_zp)), e.residual_scale);
    v = svmla_f32_x(p, residual, v, scale);
  } else {
    v = svmul_f32_x(p, v, scale);
  }
  v = svrintn_f32_x(p, svminnm_n_f32_x(p, svmaxnm_n_f32_x(p, v, e.lo), e.hi));
  svst1b_s32(p, reinterpret_cast<int8_t*>(c), svadd_n_s32_x(p, svcvt_s32_f32_x(p, v), e.zp));
}

// The channels p from `channel` on, of all pixels of output row y. w: their weights of the first tap.
template <class K>
inline void row(const DwconvArgs& g, int64_t y, svbool_t p, int64_t channel, const char* w) {
  const EpilogueArgs& e = *g.epi;
  const ptrdiff_t next = g.stride_w * g.pixel_stride_bytes, step = g.dilation_w * g.pixel_stride_bytes;
  const ptrdiff_t c_offset = channel * (e.out == DType::u8 || e.out == DType::s8 ? 1 : 4);
  char* c = static_cast<char*>(g.c) + y * g.c_row_stride_bytes + c_offset;
  const char* r = e.residual ? static_cast<const char*>(e.residual) + y * g.residual_row_stride_bytes + c_offset : nullptr;
  const auto put = [&](svint32_t acc) {
    store(p, acc, e, channel, r, c);
    c += g.c_stride_bytes;
    if (r) r += e.residual_stride_bytes;
  };
  // fn(a, weight) for every tap, a being the pixel under it of output pixel x.
  const auto taps = [&](int64_t x, auto fn) {
    const char* tap = w;
    for (int ky = 0; ky < g.kh; ++ky) {
      const char* a = static_cast<const char*>(g.rows[y * g.stride_h + ky]) + x * next + channel;
      for (int kx = 0; kx < g.kw; ++kx, a += step, tap += kBlock) fn(a, S8::pixel(p, tap));
    }
  };
  int64_t x = 0;
  for (; x + 4 <= g.n; x += 4) {
    svint32_t a0 = start(p, e.bias, channel), a1 = a0, a2 = a0, a3 = a0;
    taps(x, [&](const char* a, svint32_t weight) {
      a0 = svmla_s32_x(p, a0, K::pixel(p, a), weight);
      a1 = svmla_s32_x(p, a1, K::pixel(p, a + next), weight);
      a2 = svmla_s32_x(p, a2, K::pixel(p, a + 2 * next), weight);
      a3 = svmla_s32_x(p, a3, K::pixel(p, a + 3 * next), weight);
    });
    put(a0), put(a1), put(a2), put(a3);
  }
  for (; x < g.n; ++x) {
    svint32_t acc = start(p, e.bias, channel);
    taps(x, [&](const char* a, svint32_t weight) { acc = svmla_s32_x(p, acc, K::pixel(p, a), weight); });
    put(acc);
  }
}

template <class K>
inline void dwconv(const DwconvArgs& g) {
  const char* w = static_cast<const char*>(g.w);
  const ptrdiff_t block_bytes = ptrdiff_t(g.kh) * g.kw * kBlock;
  for (int64_t block = 0; block < g.channels; block += kBlock, w += block_bytes) {
    const int64_t n = g.channels - block < kBlock ? g.channels - block : kBlock;
    for (int64_t c = 0; c < n; c += int64_t(svcntw())) {
      const svbool_t p = svwhilelt_b32(c, n);
      for (int64_t y = 0; y < g.m; ++y) row<K>(g, y, p, block + c, w + c);
    }
  }
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_dwconv_u8s8_sve_4x64x1(const DwconvArgs* g) { dwconv<U8>(*g); }
void octavo_dwconv_s8s8_sve_4x64x1(const DwconvArgs* g) { dwconv<S8>(*g); }
}
