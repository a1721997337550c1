#include "octavo/registry.h"

#include "kernels/kernels.h"

namespace octavo {
namespace {

constexpr KernelInfo brgemm(const char* name, Isa needs, DType a, DType b, uint8_t mr, PackFormat format, BrgemmFn run,
                            uint8_t group = 0, uint8_t panels = 1) {
  return {name, Op::brgemm, needs, a, b, mr, format.nr, format.kr, false, format, 0, group, panels, 0, 0, 0, run, nullptr, nullptr};
}
[[maybe_unused]] constexpr KernelInfo grouped(const char* name, Isa needs, DType a, DType b, uint8_t mr, PackFormat format,
                                              BrgemmFn run, uint8_t group) {
  return {name, Op::grouped, needs, a, b, mr, format.nr, format.kr, false, format, 0, group, 1, 0, 0, 0, run, nullptr, nullptr};
}
constexpr KernelInfo dwconv(const char* name, Isa needs, DType a, DType b, uint8_t mr, PackFormat format, DwconvFn run,
                            uint8_t rows = 1) {
  return {name, Op::dwconv, needs, a, b, mr, format.nr, format.kr, false, format, rows, 0, 1, 0, 0, 0, nullptr, run, nullptr};
}
[[maybe_unused]] constexpr KernelInfo winograd(const char* name, Isa needs, DType a, DType b, uint8_t mr, PackFormat format,
                                               WinogradFn run, uint8_t words, uint16_t transform, uint8_t read) {
  return {name, Op::winograd, needs, a, b, mr, format.nr, format.kr, false, format, 0, 0, 1, words, transform, read,
          nullptr, nullptr, run};
}
constexpr KernelInfo test_only(KernelInfo row) {
  row.test_only = true;
  return row;
}

using enum DType;
// In priority order: among the eligible rows of an (op, a, b) the first one wins.
constexpr KernelInfo kKernels[] = {
    // name, needs, a, b, mr, {nr kr bytes a_offset unpack_order by_column}, run, rows (1)
    // or group (0), panels (1); or words, transform, read: measured, but for those of avxvnni (kernels/README.md)
#if defined(__x86_64__)
    brgemm("brgemm_u8s8_avx512vnni_14x32x4", Isa::avx512vnni, u8, s8, 14, {32, 4, 1, 0},
           octavo_brgemm_u8s8_avx512vnni_14x32x4),
    brgemm("brgemm_u8s8_avx512vnni_120x32x4", Isa::avx512vnni, u8, s8, 120, {32, 4, 1, 0},
           octavo_brgemm_u8s8_avx512vnni_120x32x4, 6),
    brgemm("brgemm_u8s8_avxvnni_6x16x4", Isa::avxvnni, u8, s8, 6, {16, 4, 1, 0}, octavo_brgemm_u8s8_avxvnni_6x16x4),
    brgemm("brgemm_u8s8_avx2_28x64x4", Isa::avx2, u8, s8, 28, {64, 4, 1, -128},
           octavo_brgemm_u8s8_avx2_28x64x4, 0, 4),
    brgemm("brgemm_u8s8_avx2_240x64x4", Isa::avx2, u8, s8, 240, {64, 4, 1, -128},
           octavo_brgemm_u8s8_avx2_240x64x4, 6, 4),
    brgemm("brgemm_s8s8_avx512vnni_14x32x4", Isa::avx512vnni, s8, s8, 14, {32, 4, 1, 128},
           octavo_brgemm_s8s8_avx512vnni_14x32x4),
    brgemm("brgemm_s8s8_avx512vnni_120x32x4", Isa::avx512vnni, s8, s8, 120, {32, 4, 1, 128},
           octavo_brgemm_s8s8_avx512vnni_120x32x4, 6),
    brgemm("brgemm_s8s8_avxvnni_5x16x4", Isa::avxvnni, s8, s8, 5, {16, 4, 1, 128}, octavo_brgemm_s8s8_avxvnni_5x16x4),
    brgemm("brgemm_s8s8_avx2_28x64x4", Isa::avx2, s8, s8, 28, {64, 4, 1, 0},
           octavo_brgemm_s8s8_avx2_28x64x4, 0, 4),
    brgemm("brgemm_s8s8_avx2_240x64x4", Isa::avx2, s8, s8, 240, {64, 4, 1, 0},
           octavo_brgemm_s8s8_avx2_240x64x4, 6, 4),
    brgemm("brgemm_f32f32_avx512vnni_14x32x1", Isa::avx512vnni, f32, f32, 14, {32, 1, 4, 0},
           octavo_brgemm_f32f32_avx512vnni_14x32x1),
    brgemm("brgemm_f32f32_avx512vnni_120x32x1", Isa::avx512vnni, f32, f32, 120, {32, 1, 4, 0},
           octavo_brgemm_f32f32_avx512vnni_120x32x1, 6),
    brgemm("brgemm_f32f32_avx2_6x16x1", Isa::avx2, f32, f32, 6, {16, 1, 4, 0}, octavo_brgemm_f32f32_avx2_6x16x1),
    test_only(brgemm("brgemm_u8s8_avx512vnni_6x16x4_ymm", Isa::avx512vnni, u8, s8, 6, {16, 4, 1, 0},
                     octavo_brgemm_u8s8_avx512vnni_6x16x4_ymm)),
    test_only(brgemm("brgemm_s8s8_avx512vnni_5x16x4_ymm", Isa::avx512vnni, s8, s8, 5, {16, 4, 1, 128},
                     octavo_brgemm_s8s8_avx512vnni_5x16x4_ymm)),
    grouped("grouped_u8s8_avx512vnni_126x16x4", Isa::avx512vnni, u8, s8, 126, {16, 4, 1, 0},
            octavo_grouped_u8s8_avx512vnni_126x16x4, 7),
    grouped("grouped_s8s8_avx512vnni_126x16x4", Isa::avx512vnni, s8, s8, 126, {16, 4, 1, 128},
            octavo_grouped_s8s8_avx512vnni_126x16x4, 7),
    grouped("grouped_f32f32_avx512vnni_126x16x1", Isa::avx512vnni, f32, f32, 126, {16, 1, 4, 0},
            octavo_grouped_f32f32_avx512vnni_126x16x1, 7),
    grouped("grouped_u8s8_avx2_240x32x4", Isa::avx2, u8, s8, 240, {32, 4, 1, 0}, octavo_grouped_u8s8_avx2_240x32x4, 4),
    grouped("grouped_s8s8_avx2_240x32x4", Isa::avx2, s8, s8, 240, {32, 4, 1, 128}, octavo_grouped_s8s8_avx2_240x32x4, 4),
    grouped("grouped_f32f32_avx2_240x16x1", Isa::avx2, f32, f32, 240, {16, 1, 4, 0}, octavo_grouped_f32f32_avx2_240x16x1, 8),
    winograd("winograd_u8s8_avx512vnni_12x32x2", Isa::avx512vnni, u8, s8, 12, {32, 2, 2, -128},
             octavo_winograd_u8s8_avx512vnni_12x32x2, 19, 425, 12),
    winograd("winograd_s8s8_avx512vnni_12x32x2", Isa::avx512vnni, s8, s8, 12, {32, 2, 2, 0},
             octavo_winograd_s8s8_avx512vnni_12x32x2, 19, 425, 12),
    winograd("winograd_u8s8_avxvnni_6x16x2", Isa::avxvnni, u8, s8, 6, {16, 2, 2, -128},
             octavo_winograd_u8s8_avxvnni_6x16x2, 22, 600, 10),
    winograd("winograd_s8s8_avxvnni_6x16x2", Isa::avxvnni, s8, s8, 6, {16, 2, 2, 0},
             octavo_winograd_s8s8_avxvnni_6x16x2, 22, 600, 10),
    winograd("winograd_u8s8_avx2_6x16x2", Isa::avx2, u8, s8, 6, {16, 2, 2, -128}, octavo_winograd_u8s8_avx2_6x16x2, 15, 0, 4),
    winograd("winograd_s8s8_avx2_6x16x2", Isa::avx2, s8, s8, 6, {16, 2, 2, 0}, octavo_winograd_s8s8_avx2_6x16x2, 15, 0, 4),
    dwconv("dwconv_u8s8_avx512vnni_4x64x4", Isa::avx512vnni, u8, s8, 4, {64, 4, 1, 0, true, true}, octavo_dwconv_u8s8_avx512vnni_4x64x4, 8),
    dwconv("dwconv_u8s8_avxvnni_2x32x4", Isa::avxvnni, u8, s8, 2, {32, 4, 1, 0, true, true}, octavo_dwconv_u8s8_avxvnni_2x32x4, 8),
    dwconv("dwconv_u8s8_avx2_2x32x2", Isa::avx2, u8, s8, 2, {32, 2, 2, 0, true, true}, octavo_dwconv_u8s8_avx2_2x32x2, 8),
    dwconv("dwconv_s8s8_avx512vnni_4x64x4", Isa::avx512vnni, s8, s8, 4, {64, 4, 1, 128, true, true}, octavo_dwconv_s8s8_avx512vnni_4x64x4, 8),
    dwconv("dwconv_s8s8_avxvnni_2x32x4", Isa::avxvnni, s8, s8, 2, {32, 4, 1, 128, true, true}, octavo_dwconv_s8s8_avxvnni_2x32x4, 8),
    dwconv("dwconv_s8s8_avx2_2x32x2", Isa::avx2, s8, s8, 2, {32, 2, 2, 128, true, true}, octavo_dwconv_s8s8_avx2_2x32x2, 8),
    dwconv("dwconv_f32f32_avx512vnni_7x16x1", Isa::avx512vnni, f32, f32, 7, {16, 1, 4, 0}, octavo_dwconv_f32f32_avx512vnni_7x16x1, 8),
    dwconv("dwconv_f32f32_avx2_7x8x1", Isa::avx2, f32, f32, 7, {8, 1, 4, 0}, octavo_dwconv_f32f32_avx2_7x8x1, 8),
    test_only(dwconv("dwconv_u8s8_avx512vnni_2x32x4", Isa::avx512vnni, u8, s8, 2, {32, 4, 1, 0, true, true},
                     octavo_dwconv_u8s8_avx512vnni_2x32x4, 8)),
    test_only(dwconv("dwconv_s8s8_avx512vnni_2x32x4", Isa::avx512vnni, s8, s8, 2, {32, 4, 1, 128, true, true},
                     octavo_dwconv_s8s8_avx512vnni_2x32x4, 8)),
#elif defined(__aarch64__)
    brgemm("brgemm_u8s8_svei8mm_48x64x8", Isa::svei8mm, u8, s8, 48, {64, 8, 1, 0}, octavo_brgemm_u8s8_svei8mm_48x64x8, 6),
    brgemm("brgemm_u8s8_neoni8mm_48x64x8", Isa::neoni8mm, u8, s8, 48, {64, 8, 1, 0}, octavo_brgemm_u8s8_neoni8mm_48x64x8, 6),
    brgemm("brgemm_u8s8_sve_48x64x4", Isa::sve, u8, s8, 48, {64, 4, 1, -128}, octavo_brgemm_u8s8_sve_48x64x4, 6),
    brgemm("brgemm_u8s8_neondot_48x64x4", Isa::neondot, u8, s8, 48, {64, 4, 1, -128}, octavo_brgemm_u8s8_neondot_48x64x4, 6),
    brgemm("brgemm_u8s8_neon_5x4x16", Isa::neon, u8, s8, 5, {4, 16, 1, -128}, octavo_brgemm_u8s8_neon_5x4x16),
    brgemm("brgemm_s8s8_svei8mm_48x64x8", Isa::svei8mm, s8, s8, 48, {64, 8, 1, 0}, octavo_brgemm_s8s8_svei8mm_48x64x8, 6),
    brgemm("brgemm_s8s8_neoni8mm_48x64x8", Isa::neoni8mm, s8, s8, 48, {64, 8, 1, 0}, octavo_brgemm_s8s8_neoni8mm_48x64x8, 6),
    brgemm("brgemm_s8s8_sve_48x64x4", Isa::sve, s8, s8, 48, {64, 4, 1, 0}, octavo_brgemm_s8s8_sve_48x64x4, 6),
    brgemm("brgemm_s8s8_neondot_48x64x4", Isa::neondot, s8, s8, 48, {64, 4, 1, 0}, octavo_brgemm_s8s8_neondot_48x64x4, 6),
    brgemm("brgemm_s8s8_neon_5x4x16", Isa::neon, s8, s8, 5, {4, 16, 1, 0}, octavo_brgemm_s8s8_neon_5x4x16),
    brgemm("brgemm_f32f32_sve_6x64x1", Isa::sve, f32, f32, 6, {64, 1, 4, 0}, octavo_brgemm_f32f32_sve_6x64x1),
    brgemm("brgemm_f32f32_neon_6x16x1", Isa::neon, f32, f32, 6, {16, 1, 4, 0}, octavo_brgemm_f32f32_neon_6x16x1),
    grouped("grouped_u8s8_svei8mm_240x32x4", Isa::svei8mm, u8, s8, 240, {32, 4, 1, 0}, octavo_grouped_u8s8_svei8mm_240x32x4, 5),
    grouped("grouped_u8s8_neoni8mm_240x32x4", Isa::neoni8mm, u8, s8, 240, {32, 4, 1, 0}, octavo_grouped_u8s8_neoni8mm_240x32x4, 5),
    grouped("grouped_u8s8_neondot_240x32x4", Isa::neondot, u8, s8, 240, {32, 4, 1, -128}, octavo_grouped_u8s8_neondot_240x32x4, 5),
    grouped("grouped_u8s8_neon_240x32x1", Isa::neon, u8, s8, 240, {32, 1, 2, 0}, octavo_grouped_u8s8_neon_240x32x1, 4),
    grouped("grouped_s8s8_svei8mm_240x32x4", Isa::svei8mm, s8, s8, 240, {32, 4, 1, 0}, octavo_grouped_s8s8_svei8mm_240x32x4, 5),
    grouped("grouped_s8s8_neoni8mm_240x32x4", Isa::neoni8mm, s8, s8, 240, {32, 4, 1, 0}, octavo_grouped_s8s8_neoni8mm_240x32x4, 5),
    grouped("grouped_s8s8_neondot_240x32x4", Isa::neondot, s8, s8, 240, {32, 4, 1, 0}, octavo_grouped_s8s8_neondot_240x32x4, 5),
    grouped("grouped_s8s8_neon_240x32x1", Isa::neon, s8, s8, 240, {32, 1, 2, 0}, octavo_grouped_s8s8_neon_240x32x1, 4),
    dwconv("dwconv_u8s8_neoni8mm_2x16x4", Isa::neoni8mm, u8, s8, 2, {16, 4, 1, 0}, octavo_dwconv_u8s8_neoni8mm_2x16x4, 4),
    dwconv("dwconv_u8s8_neondot_2x16x4", Isa::neondot, u8, s8, 2, {16, 4, 1, -128}, octavo_dwconv_u8s8_neondot_2x16x4, 4),
    dwconv("dwconv_u8s8_sve_4x64x1", Isa::sve, u8, s8, 4, {64, 1, 1, 0}, octavo_dwconv_u8s8_sve_4x64x1, 4),
    dwconv("dwconv_u8s8_neon_2x16x1", Isa::neon, u8, s8, 2, {16, 1, 1, -128}, octavo_dwconv_u8s8_neon_2x16x1, 4),
    dwconv("dwconv_s8s8_neondot_2x16x4", Isa::neondot, s8, s8, 2, {16, 4, 1, 0}, octavo_dwconv_s8s8_neondot_2x16x4, 4),
    dwconv("dwconv_s8s8_sve_4x64x1", Isa::sve, s8, s8, 4, {64, 1, 1, 0}, octavo_dwconv_s8s8_sve_4x64x1, 4),
    dwconv("dwconv_s8s8_neon_2x16x1", Isa::neon, s8, s8, 2, {16, 1, 1, 0}, octavo_dwconv_s8s8_neon_2x16x1, 4),
    dwconv("dwconv_f32f32_neon_7x4x1", Isa::neon, f32, f32, 7, {4, 1, 4, 0}, octavo_dwconv_f32f32_neon_7x4x1, 4),
#endif
    brgemm("brgemm_u8s8_scalar_4x4x1", Isa::scalar, u8, s8, 4, {4, 1, 1, 0}, octavo_brgemm_u8s8_scalar_4x4x1),
    brgemm("brgemm_s8s8_scalar_4x4x1", Isa::scalar, s8, s8, 4, {4, 1, 1, 0}, octavo_brgemm_s8s8_scalar_4x4x1),
    brgemm("brgemm_f32f32_scalar_4x4x1", Isa::scalar, f32, f32, 4, {4, 1, 4, 0}, octavo_brgemm_f32f32_scalar_4x4x1),
    test_only(brgemm("brgemm_u8s8_scalar_3x5x3", Isa::scalar, u8, s8, 3, {5, 3, 2, 0},
                     octavo_brgemm_u8s8_scalar_3x5x3)),
    test_only(brgemm("brgemm_s8s8_scalar_2x8x8", Isa::scalar, s8, s8, 2, {8, 8, 1, 128},
                     octavo_brgemm_s8s8_scalar_2x8x8)),
    dwconv("dwconv_u8s8_scalar_1x8x1", Isa::scalar, u8, s8, 1, {8, 1, 1, 0}, octavo_dwconv_u8s8_scalar_1x8x1, 4),
    dwconv("dwconv_s8s8_scalar_1x8x1", Isa::scalar, s8, s8, 1, {8, 1, 1, 0}, octavo_dwconv_s8s8_scalar_1x8x1, 4),
    dwconv("dwconv_f32f32_scalar_1x8x1", Isa::scalar, f32, f32, 1, {8, 1, 4, 0}, octavo_dwconv_f32f32_scalar_1x8x1, 4),
};

}  // namespace

std::span<const KernelInfo> kernels() noexcept { return kKernels; }

const KernelInfo* find_kernel(std::string_view name) noexcept {
  for (const KernelInfo& k : kKernels)
    if (name == k.name) return &k;
  return nullptr;
}

const KernelInfo* best_kernel(Op op, DType a, DType b, Isa isa) noexcept {
  const KernelInfo* beside = op == Op::grouped || op == Op::winograd ? best_kernel(Op::brgemm, a, b, isa) : nullptr;
  for (const KernelInfo& k : kKernels)
    if (k.op == op && k.a == a && k.b == b && !k.test_only && covers(isa, k.needs) && (!beside || k.needs == beside->needs))
      return &k;
  return nullptr;
}

}  // namespace octavo
