#include "kernels/x86/dot.inl.h"
#include "kernels/x86/ymm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

struct YmmVnni : Ymm {
  static OCTAVO_INLINE I dpbusd(I acc, I a, I b) { return _mm256_dpbusd_avx_epi32(acc, a, b); }
};

constexpr int kMr = 6;
static_assert(kMr * 2 + 2 + 1 + 1 <= 16, "accumulators, B, A, and the constant 0x80 of s8s8");

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_brgemm_u8s8_avxvnni_6x16x4(const BrgemmArgs* g) { brgemm<DotU8<YmmVnni, kMr>>(*g); }
void octavo_brgemm_s8s8_avxvnni_6x16x4(const BrgemmArgs* g) { brgemm<DotS8<YmmVnni, kMr>>(*g); }
}
