// The one list of kernels: names that say what the rows say, order, uniqueness; and the words that choose an ISA.
#include "octavo/registry.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <regex>
#include <set>
#include <string>

#include "octavo/isa.h"

namespace octavo {
namespace {

const IsaName* isa_of(const std::string& word) {
  for (const IsaName& n : isa_names())
    if (word == n.name) return &n;
  return nullptr;
}

TEST(Registry, NamesSayWhatTheRowsSay) {
  const std::regex grammar("(brgemm|dwconv|grouped|winograd)_(u8|s8|f32)(s8|f32)_([a-z0-9]+)_(\\d+)x(\\d+)x(\\d+)(_[a-z0-9]+)?");
  for (const KernelInfo& k : kernels()) {
    SCOPED_TRACE(k.name);
    std::cmatch m;
    ASSERT_TRUE(std::regex_match(k.name, m, grammar));
    EXPECT_EQ(m[1], name_of(k.op));
    EXPECT_EQ(m[2], name_of(k.a));
    EXPECT_EQ(m[3], name_of(k.b));
    const IsaName* isa = isa_of(m[4]);
    ASSERT_NE(isa, nullptr);
    EXPECT_EQ(uint32_t(isa->bit), uint32_t(k.needs));
    EXPECT_EQ(std::stoi(m[5]), k.mr);
    EXPECT_EQ(std::stoi(m[6]), k.nr);
    EXPECT_EQ(std::stoi(m[7]), k.kr);
    EXPECT_TRUE(!m[8].matched || k.test_only) << "a variant that dispatch may choose needs a name of its own";
  }
}

TEST(Registry, RowsAreWhole) {
  std::set<std::string> names;
  for (const KernelInfo& k : kernels()) {
    SCOPED_TRACE(k.name);
    EXPECT_TRUE(names.insert(k.name).second) << "twice";
    EXPECT_EQ(k.op == Op::brgemm || k.op == Op::grouped, k.brgemm != nullptr);
    EXPECT_EQ(k.op == Op::dwconv, k.dwconv != nullptr);
    EXPECT_EQ(k.op == Op::winograd, k.winograd != nullptr);
    EXPECT_EQ(k.a == DType::f32, k.b == DType::f32);
    EXPECT_GE(k.mr, 1);
    EXPECT_EQ(k.op == Op::dwconv, k.rows >= 1);
    EXPECT_TRUE(k.group == 0 || (k.op != Op::dwconv && k.mr % k.group == 0));
    EXPECT_EQ(k.format.nr, k.nr);
    EXPECT_EQ(k.format.kr, k.kr);
    EXPECT_TRUE(k.a == DType::f32 ? k.format.elem_bytes == 4 : k.format.elem_bytes == 1 || k.format.elem_bytes == 2);
    EXPECT_TRUE(k.format.a_offset == 0 || (k.a == DType::s8 && k.format.a_offset == 128) ||
                (k.a == DType::u8 && k.format.a_offset == -128));
    EXPECT_EQ(find_kernel(k.name), &k);
  }
  EXPECT_EQ(find_kernel("brgemm_u8s8_abacus_1x1x1"), nullptr);
  EXPECT_EQ(find_kernel(""), nullptr);
}

TEST(Registry, FirstEligibleRowWins) {
  for (const Op op : {Op::brgemm})
    for (const DType a : {DType::u8, DType::s8, DType::f32}) {
      const DType b = a == DType::f32 ? DType::f32 : DType::s8;
      for (const IsaName& isa : isa_names()) {
        SCOPED_TRACE(std::string(isa.name) + " " + name_of(a));
        const KernelInfo* best = best_kernel(op, a, b, isa.implies);
        ASSERT_NE(best, nullptr) << "the scalar rows serve everybody";
        EXPECT_FALSE(best->test_only);
        EXPECT_TRUE(covers(isa.implies, best->needs));
        for (const KernelInfo* k = kernels().data(); k != best; ++k)
          EXPECT_FALSE(k->op == op && k->a == a && k->b == b && !k->test_only && covers(isa.implies, k->needs)) << k->name;
      }
    }
  EXPECT_EQ(best_kernel(Op::brgemm, DType::u8, DType::f32, detected_isa()), nullptr);
}

#if defined(__x86_64__)
TEST(Registry, IntendedKernelForEachIsa) {
  struct Row {
    Isa isa;
    const char *u8, *s8, *f32;
  };
  const Row rows[] = {
      {Isa::scalar, "brgemm_u8s8_scalar_4x4x1", "brgemm_s8s8_scalar_4x4x1", "brgemm_f32f32_scalar_4x4x1"},
      {Isa::avx2, "brgemm_u8s8_avx2_28x64x4", "brgemm_s8s8_avx2_28x64x4", "brgemm_f32f32_avx2_6x16x1"},
      {Isa::avx2 | Isa::avxvnni, "brgemm_u8s8_avxvnni_6x16x4", "brgemm_s8s8_avxvnni_5x16x4", "brgemm_f32f32_avx2_6x16x1"},
      {Isa::avx2 | Isa::avx512vnni, "brgemm_u8s8_avx512vnni_14x32x4", "brgemm_s8s8_avx512vnni_14x32x4",
       "brgemm_f32f32_avx512vnni_14x32x1"},
      {Isa::avx2 | Isa::avxvnni | Isa::avx512vnni, "brgemm_u8s8_avx512vnni_14x32x4", "brgemm_s8s8_avx512vnni_14x32x4",
       "brgemm_f32f32_avx512vnni_14x32x1"},
  };
  for (const Row& r : rows) {
    EXPECT_STREQ(best_kernel(Op::brgemm, DType::u8, DType::s8, r.isa)->name, r.u8);
    EXPECT_STREQ(best_kernel(Op::brgemm, DType::s8, DType::s8, r.isa)->name, r.s8);
    EXPECT_STREQ(best_kernel(Op::brgemm, DType::f32, DType::f32, r.isa)->name, r.f32);
  }
}
#endif

TEST(IsaWords, ParseOrNameTheKnownOnes) {
  for (const IsaName& n : isa_names()) {
    const Expected<Isa> isa = parse_isa(n.name);
    ASSERT_TRUE(isa) << n.name;
    EXPECT_EQ(uint32_t(*isa), uint32_t(n.implies));
    EXPECT_TRUE(covers(*isa, n.bit));
  }
  for (const char* wrong : {"", "avx", "AVX2", "avx2 ", "avx512", "avx2,avxvnni"}) {
    const Expected<Isa> isa = parse_isa(wrong);
    ASSERT_FALSE(isa) << wrong;
    EXPECT_EQ(isa.status().code(), Code::invalid_argument);
    for (const IsaName& n : isa_names()) EXPECT_NE(std::string(isa.status().text()).find(n.name), std::string::npos) << n.name;
  }
}

// The environment is read once per process, so each case is a process: death tests whose exit code says what came out. Nothing
// else in this binary reads it, so that a fork is enough (and an emulator need not be started again).
void exit_with_active_isa(const char* word) {
  setenv("OCTAVO_ISA", word, 1);
  const Expected<Isa> isa = active_isa();
  std::fprintf(stderr, "%s", isa ? "fine" : isa.status().text());
  if (!isa) std::exit(20 + int(isa.status().code()));
  // A core may have SMMLA and no use for it.
  std::exit(covers(*isa | Isa::neoni8mm | Isa::svei8mm, detected_isa()) ? 10 : 11);
}

TEST(IsaWords, EnvironmentForcesAPathOrFails) {
  const int all = 10, fewer = 11, scalar_only = detected_isa() == Isa::scalar ? all : fewer;
  EXPECT_EXIT(exit_with_active_isa(""), testing::ExitedWithCode(all), "fine");
  EXPECT_EXIT(exit_with_active_isa("scalar"), testing::ExitedWithCode(scalar_only), "fine");
  EXPECT_EXIT(exit_with_active_isa("avx9"), testing::ExitedWithCode(20 + int(Code::invalid_argument)),
              "unknown instruction set 'avx9'");
  for (const IsaName& n : isa_names())
    if (!covers(detected_isa(), n.implies)) {
      EXPECT_EXIT(exit_with_active_isa(n.name), testing::ExitedWithCode(20 + int(Code::unsupported)), n.name);
      break;
    }
}

}  // namespace
}  // namespace octavo
