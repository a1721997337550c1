// dwconv_{u8s8,s8s8,f32f32}_scalar_1x8x1      acc[r][x][c] = bias[c] + sum of taps; see octavo/ukernel.h
// A: u8, s8 or f32 pixels, channels contiguous
// B: blocks of 8 channels, [kh*kw][8]:  tap 0 of channel 0..7 | tap 1 of channel 0..7 | ...
// C: s32, f32, u8 or s8; epilogue as in octavo/ukernel.h
// Registers: none to speak of
// Needs nothing. Exact: int32 that wraps, fma in the order y, z
// Measured: not a fast path
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "octavo/ukernel.h"

namespace octavo::OCTAVO_ISA {
namespace {

template <class T>
inline T get(const void* p, ptrdiff_t index) {
  T v;
  std::memcpy(&v, static_cast<const char*>(p) + index * ptrdiff_t(sizeof(T)), sizeof v);
  return v;
}

inline float clamp(float v, float lo, float hi) {
  v = v > lo ? v : lo;
  return v < hi ? v : hi;
}

template <class Acc>
inline void store(Acc acc, const EpilogueArgs& e, int64_t j, const char* r, char* c) {
  if (e.out == DType::s32) {
    const int32_t v = int32_t(acc);
    std::memcpy(c + 4 * j, &v, 4);
  } else if (e.out == DType::f32) {
    const float bias = e.bias_f32 ? e.bias_f32[j] : 0.0f;
    float v = e.scale ? __builtin_fmaf(float(acc), e.scale[j], bias) : float(acc) + bias;
    if (r) v += get<float>(r, j);
    v = clamp(v, e.lo, e.hi);
    std::memcpy(c + 4 * j, &v, 4);
  } else {
    float v = float(acc) * e.scale[j];
    if (r) {
      const int32_t q = e.residual_dtype == DType::u8 ? int32_t(get<uint8_t>(r, j)) : int32_t(get<int8_t>(r, j));
      v = __builtin_fmaf(float(acc), e.scale[j], float(q - e.residual_zp) * e.residual_scale);
    }
    c[j] = char(int32_t(__builtin_rintf(clamp(v, e.lo, e.hi))) + e.zp);
  }
}

template <class A, class B, class Acc>
void dwconv(const DwconvArgs& g) {
  constexpr int kBlock = 8;
  const EpilogueArgs& e = *g.epi;
  const ptrdiff_t taps = ptrdiff_t(g.kh) * g.kw;
  for (int64_t i = 0; i < g.m * g.n; ++i) {
    const int64_t row = i / g.n, x = i % g.n;
    const void* const* rows = g.rows + row * g.stride_h;
    char* c = static_cast<char*>(g.c) + row * g.c_row_stride_bytes + x * g.c_stride_bytes;
    const char* r = static_cast<const char*>(e.residual);
    if (r) r += row * g.residual_row_stride_bytes + x * e.residual_stride_bytes;
    for (int64_t j = 0; j < g.channels; ++j) {
      const B* w = static_cast<const B*>(g.w) + j / kBlock * taps * kBlock + j % kBlock;
      Acc acc = sizeof(A) == 1 && e.bias ? Acc(e.bias[j]) : Acc(0);
      for (int y = 0; y < g.kh; ++y)
        for (int z = 0; z < g.kw; ++z, w += kBlock) {
          const int64_t column = x * g.stride_w + int64_t(z) * g.dilation_w - (sizeof(A) == 1 ? 0 : g.pad_left);
          if (sizeof(A) > 1 && (!rows[y] || column < 0 || column >= g.columns)) continue;
          const A a = get<A>(static_cast<const char*>(rows[y]) + column * g.pixel_stride_bytes, j);
          if constexpr (sizeof(A) == 1) {
            acc = Acc(uint32_t(acc) + uint32_t(int32_t(a) * int32_t(*w)));
          } else {
            acc = __builtin_fmaf(a, *w, acc);
          }
        }
      store(acc, e, j, r, c);
    }
  }
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
extern "C" {
void octavo_dwconv_u8s8_scalar_1x8x1(const DwconvArgs* g) { OCTAVO_ISA::dwconv<uint8_t, int8_t, int32_t>(*g); }
void octavo_dwconv_s8s8_scalar_1x8x1(const DwconvArgs* g) { OCTAVO_ISA::dwconv<int8_t, int8_t, int32_t>(*g); }
void octavo_dwconv_f32f32_scalar_1x8x1(const DwconvArgs* g) { OCTAVO_ISA::dwconv<float, float, float>(*g); }
}
