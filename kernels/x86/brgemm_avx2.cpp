// brgemm_{u8s8,s8s8}_avx2_6x16x2, brgemm_f32f32_avx2_6x16x1: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
// A: int8: copied in blocks of 6 x 256 to s16, pairs broadcast from the copy; f32: rows as they are
// B: [ceil(k/2)][16][2] s16:  k0..1 of column 0 | k0..1 of column 1 | ... | k0..1 of column 15 | k2..3 of column 0 | ...
//    f32: [k][16]:  k0 of columns 0..15 | k1 of columns 0..15 | ...
// C: s32, f32, u8, s8; columns beyond n by masked and by piecewise moves
// Registers, of 16: 6 x 2 accumulators, 2 of B, 1 of A, and the product of vpmaddwd
// Needs AVX2, FMA. vpmaddwd sums two s16*s16 into s32; -128..255 times -128..127 twice is far from its range: exact
// Measured: Zen 4, 2026-11-20, % of vpmaddwd + vpaddd (f32: of FMA), GCC 12 / Clang 19; the int8 loop is bound by decoding:
//   u8s8 k=64 s32 82 / 78, u8 78 / 77; k=256 s32 89 / 86, u8 87 / 84; k=1024 s32 89 / 86; s8s8 the same +-2
//   f32 k=64 97 / 96, k=256 98 / 98, k=1024 98 / 98
#include "kernels/x86/dot.inl.h"
#include "kernels/x86/ymm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kMr = 6;
static_assert(kMr * 2 + 2 + 1 + 1 <= 16, "accumulators, B, A, and a product");

// A block of A rows copied to 16 bits, zero-extended or sign-extended. Once widened, a pair of values is a plain
// broadcast load: the inner loop has no shuffles, and any tail of K is a zero in the copy.
template <int M, bool Signed>
class WideRows {
 public:
  static constexpr int64_t k_block = 256;
  struct Scratch {
    alignas(32) int16_t rows[M][k_block];
  };
  OCTAVO_INLINE WideRows(const char* a, ptrdiff_t stride, int64_t k, Scratch& scratch) {
    for (int i = 0; i < M; ++i, a += stride) {
      int64_t p = 0;
      for (; p + 16 <= k; p += 16) put(&scratch.rows[i][p], _mm_loadu_si128(reinterpret_cast<const __m128i*>(a + p)));
      if (p < k) put(&scratch.rows[i][p], load_bytes(a + p, int(k - p)));
    }
    p_ = reinterpret_cast<const char*>(scratch.rows);
    asm("" : "+r"(p_) : : "memory");  // not the stack pointer: no offset from it would fit in a byte
  }
  OCTAVO_INLINE const char* operator[](int i) const { return p_ + i * ptrdiff_t(sizeof(Scratch::rows[0])); }
  OCTAVO_INLINE void advance(ptrdiff_t bytes) {
    p_ += bytes;
    asm("" : "+r"(p_));
  }

 private:
  static OCTAVO_INLINE void put(int16_t* p, __m128i x) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(p), Signed ? _mm256_cvtepi8_epi16(x) : _mm256_cvtepu8_epi16(x));
  }
  const char* p_;
};

// vpmaddwd: two s16 times two s16 into each s32 lane. 255 * 128 * 2 fits easily: nothing saturates.
template <bool Signed>
struct DotWide : Ymm {
  using Acc = I;
  using B = I;
  template <int M>
  using Rows = WideRows<M, Signed>;
  static constexpr int mr = kMr, nv = 2, kr = 2, a_bytes = 1, a_step = kr * 2;
  static constexpr int64_t k_block = WideRows<1, Signed>::k_block;
  static constexpr bool has_tail = false;
  static constexpr int splits(int vectors) { return vectors <= 4 ? 2 : 1; }
  static constexpr int64_t steps(int64_t k) { return (k + 1) / 2; }

  static OCTAVO_INLINE Acc zero() { return splat(0); }
  static OCTAVO_INLINE B a(const char* p) { return splat_at(p); }
  static OCTAVO_INLINE Acc dot(Acc acc, B a, B b) {
    acc = add(acc, _mm256_madd_epi16(a, b));
    keep(acc);  // GCC would add the products of several steps first, and run out of registers
    return acc;
  }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_brgemm_u8s8_avx2_6x16x2(const BrgemmArgs* g) { brgemm<DotWide<false>>(*g); }
void octavo_brgemm_s8s8_avx2_6x16x2(const BrgemmArgs* g) { brgemm<DotWide<true>>(*g); }
void octavo_brgemm_f32f32_avx2_6x16x1(const BrgemmArgs* g) { brgemm<Fma<Ymm, kMr>>(*g); }
}
