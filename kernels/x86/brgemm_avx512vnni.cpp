#include "kernels/x86/dot.inl.h"
#include "kernels/x86/ymm.inl.h"
#include "kernels/x86/zmm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

struct ZmmVnni : Zmm {
  static OCTAVO_INLINE I dpbusd(I acc, I a, I b) { return _mm512_dpbusd_epi32(acc, a, b); }
};
// The AVX-VNNI kernels in EVEX encoding, so that machines without AVX-VNNI can test their code.
struct YmmVnni : Ymm {
  static OCTAVO_INLINE I dpbusd(I acc, I a, I b) { return _mm256_dpbusd_epi32(acc, a, b); }
};

constexpr int kMr = 14;
static_assert(kMr * 2 + 2 + 1 + 1 <= 32, "accumulators, B, A, and the constant 0x80 of s8s8");

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_brgemm_u8s8_avx512vnni_14x32x4(const BrgemmArgs* g) { brgemm<DotU8<ZmmVnni, kMr>>(*g); }
void octavo_brgemm_s8s8_avx512vnni_14x32x4(const BrgemmArgs* g) { brgemm<DotS8<ZmmVnni, kMr>>(*g); }
void octavo_brgemm_f32f32_avx512vnni_14x32x1(const BrgemmArgs* g) { brgemm<Fma<Zmm, kMr>>(*g); }
void octavo_brgemm_u8s8_avx512vnni_6x16x4_ymm(const BrgemmArgs* g) { brgemm<DotU8<YmmVnni, 6>>(*g); }
void octavo_brgemm_s8s8_avx512vnni_6x16x4_ymm(const BrgemmArgs* g) { brgemm<DotS8<YmmVnni, 6>>(*g); }
}
