// brgemm_{u8s8,s8s8,f32f32}_scalar_4x4x1, and test-only layouts: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
// A: u8, s8 or f32 rows, one value at a time
// B: [ceil(k/KR)][NR][KR], s8, s16 or f32; NR=5, KR=3:  k0..2 of column 0 | ... | k0..2 of column 4 | k3..5 of column 0 | ...
// C: s32, f32, u8 or s8, one value at a time
// Registers: the compiler's choice
// Needs nothing; every sum is exact, and wraps modulo 2^32 where a caller ignores the bound on K
// Measured: it is the fallback and the definition, not a competitor
#include <cstring>

#include "octavo/ukernel.h"

namespace octavo::scalar {
namespace {

inline float clamp(float v, float lo, float hi) {
  v = v > lo ? v : lo;
  return v < hi ? v : hi;
}

template <class T>
inline T load(const char* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline int32_t load_q(const void* row, int j, DType t) {
  return t == DType::u8 ? int32_t(static_cast<const uint8_t*>(row)[j]) : int32_t(static_cast<const int8_t*>(row)[j]);
}

// One accumulator to one element of C. `acc` is int32_t or float.
template <class Acc>
inline void store(Acc acc, const EpilogueArgs& e, char* c, const char* r, int j) {
  if (e.out == DType::s32) {
    const int32_t v = int32_t(acc);
    std::memcpy(c + 4 * j, &v, 4);
    return;
  }
  if (e.out == DType::f32) {
    const float bias = e.bias_f32 ? e.bias_f32[j] : 0.0f;
    float v = e.scale ? __builtin_fmaf(float(acc), e.scale[j], bias) : float(acc) + bias;
    if (e.residual) v += load<float>(r + 4 * j);
    v = clamp(v, e.lo, e.hi);
    std::memcpy(c + 4 * j, &v, 4);
    return;
  }
  float v = float(acc) * e.scale[j];
  if (e.residual)
    v = __builtin_fmaf(float(acc), e.scale[j], float(load_q(r, j, e.residual_dtype) - e.residual_zp) * e.residual_scale);
  const int32_t q = int32_t(__builtin_rintf(clamp(v, e.lo, e.hi))) + e.zp;
  c[j] = char(q);
}

template <class A, class B, class Acc, int NR, int KR, int AOffset = 0>
void brgemm(const BrgemmArgs& g) {
  const EpilogueArgs& e = *g.epi;
  const int64_t tap = (g.k + KR - 1) / KR * KR * NR;
  for (int i = 0; i < g.m; ++i) {
    char* c = static_cast<char*>(g.c) + i * g.c_stride_bytes;
    const char* r = e.residual ? static_cast<const char*>(e.residual) + i * e.residual_stride_bytes : nullptr;
    for (int j = 0; j < g.n; ++j) {
      Acc acc = sizeof(A) == 1 && e.bias ? Acc(e.bias[j]) : Acc(0);
      for (int64_t t = 0; t < g.batch; ++t) {
        const ptrdiff_t offset = g.b_offsets ? g.b_offsets[t] : t * tap * ptrdiff_t(sizeof(B));
        const B* b = reinterpret_cast<const B*>(static_cast<const char*>(g.b) + offset) + j * KR;
        const char* row = static_cast<const char*>(g.a[t]) + i * g.a_stride_bytes;
        for (int64_t p = 0; p < g.k; ++p) {
          const A x = load<A>(row + p * int64_t(sizeof(A)));
          const B w = b[p / KR * KR * NR + p % KR];
          if constexpr (sizeof(A) == 1) {
            acc = Acc(uint32_t(acc) + uint32_t((int32_t(x) + AOffset) * int32_t(w)));
          } else {
            acc = __builtin_fmaf(x, w, acc);
          }
        }
      }
      store(acc, e, c, r, j);
    }
  }
}

}  // namespace
}  // namespace octavo::scalar

using namespace octavo;
extern "C" {
void octavo_brgemm_u8s8_scalar_4x4x1(const BrgemmArgs* g) { scalar::brgemm<uint8_t, int8_t, int32_t, 4, 1>(*g); }
void octavo_brgemm_s8s8_scalar_4x4x1(const BrgemmArgs* g) { scalar::brgemm<int8_t, int8_t, int32_t, 4, 1>(*g); }
void octavo_brgemm_f32f32_scalar_4x4x1(const BrgemmArgs* g) { scalar::brgemm<float, float, float, 4, 1>(*g); }
// Layouts that no fast kernel has, so that packing is tested for all it promises: NR no multiple of 4, KR=3, 16-bit
// weights; KR=8, an offset on A.
void octavo_brgemm_u8s8_scalar_3x5x3(const BrgemmArgs* g) { scalar::brgemm<uint8_t, int16_t, int32_t, 5, 3>(*g); }
void octavo_brgemm_s8s8_scalar_2x8x8(const BrgemmArgs* g) { scalar::brgemm<int8_t, int8_t, int32_t, 8, 8, 128>(*g); }
}
