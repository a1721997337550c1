// brgemm_{u8s8,s8s8}_svei8mm_48x64x8: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
// A: copied in pairs of rows, six rows at a time; serves 64 columns
// B: [ceil(k/8)][64][8] s8:  k0..7 of column 0 | k0..7 of column 1 | ... | k0..7 of column 63 | k8..15 of column 0 | ...
//    The same for every vector length: a register takes as many columns of a step as fit
// C: s32, f32, u8, s8, in blocks of 6 rows and as many columns as a register has bytes (or a half, or a quarter), predicated
// Registers, of 32: 3 x 8 accumulators of 2x2 sums in each 128 bits, 3 of A, 2 of B
// Needs SVE with I8MM, any vector length. SMMLA and USMMLA sum eight products into s32 without saturation: exact; A is not
// flipped
// Modelled: llvm-mca 19 (tests/arm_speed.py), % of two (N2, V1 of 256 bits) or four (V2) SMMLA a cycle, GCC 12: inner loop n2 99,
//   v1 99, v2 98; a call of 6 to 18 rows with 8-bit output, the copy of A and the epilogue in it, k=64 n2 56, v1 57, v2 55;
//   k=256 n2 83, v1 84, v2 83. The bound at k=64: as for neoni8mm, and 18 more operations to clamp and narrow 6x16 sums: 58; at
//   k=256: 84
#include "kernels/arm/mmla.inl.h"
#include "kernels/arm/sve.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

struct SveBlock : Sve {
  using B = svint8_t;
  template <int v>
  static OCTAVO_INLINE B load_b(const char* p) {
    return svld1_vnum_s8(svptrue_b8(), reinterpret_cast<const int8_t*>(p), v);
  }
};
struct Smmla : SveBlock {
  using A = svint8_t;
  static OCTAVO_INLINE A load_a(const char* p) { return svld1rq_s8(svptrue_b8(), reinterpret_cast<const int8_t*>(p)); }
  static OCTAVO_INLINE I mmla(I acc, A a, B b) { return svmmla_s32(acc, a, b); }
};
struct Usmmla : SveBlock {
  using A = svuint8_t;
  static OCTAVO_INLINE A load_a(const char* p) { return svld1rq_u8(svptrue_b8(), reinterpret_cast<const uint8_t*>(p)); }
  static OCTAVO_INLINE I mmla(I acc, A a, B b) { return svusmmla_s32(acc, a, b); }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_brgemm_u8s8_svei8mm_48x64x8(const BrgemmArgs* g) { block_brgemm<Mmla<Usmmla>>(*g); }
void octavo_brgemm_s8s8_svei8mm_48x64x8(const BrgemmArgs* g) { block_brgemm<Mmla<Smmla>>(*g); }
}
