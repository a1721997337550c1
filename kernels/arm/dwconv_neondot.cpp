// dwconv_{u8s8,s8s8}_neondot_2x16x4      acc[r][x][c] = bias[c] + sum of taps; see octavo/ukernel.h
// A: u8 (flipped to s8) or s8 pixels, channels contiguous
// B: blocks of 16 channels, [taps/4][16][4] s8:  t0..t3 of c0 | t0..t3 of c1 | ...
// C: any type
// Registers (3x3 stride 1, two rows of two pixels): 16 accumulators, 8 pairs of taps, 4 interleaved; the constants are loaded
// Needs SDOT. Exact: it adds four products of s8 and s8 to int32
// Measured: no machine at hand. llvm-mca 19, 3x3, u8 to u8, cycles for 16 outputs, GCC 12 (Clang 19): neoverse-n1 23.0 (23.1) at
// stride 1, 34.2 (32.7) at stride 2; neoverse-v1 11.2 (11.1), 16.6 (16.8): 91 % of what all their vector instructions take
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "octavo/ukernel.h"

namespace octavo::OCTAVO_ISA {
namespace {

#include "kernels/arm/dwconv_dot.inl.h"

struct S8 {
  static constexpr bool kFlip = false;
  static int32x4_t dot(int32x4_t acc, uint8x16_t a, int8x16_t w) { return vdotq_s32(acc, vreinterpretq_s8_u8(a), w); }
};
struct U8 : S8 {
  static constexpr bool kFlip = true;
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_dwconv_u8s8_neondot_2x16x4(const DwconvArgs* g) { Dot<U8>::run(*g); }
void octavo_dwconv_s8s8_neondot_2x16x4(const DwconvArgs* g) { Dot<S8>::run(*g); }
}
