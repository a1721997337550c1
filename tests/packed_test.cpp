// Packed weights shared between plans, and as bytes in a caller's buffer.
#include "octavo/packed.h"

#include <sys/mman.h>

#include <optional>

#include "conv_test_util.h"

namespace octavo {
namespace {
using namespace test;

// Bytes between pages that trap, which nobody can write.
class ReadOnly {
 public:
  explicit ReadOnly(const PackedWeights& w) : memory_(w.bytes() + 64), bytes_(w.bytes()) {
    data_ = memory_.right(bytes_, 64);
    std::memcpy(data_, w.data(), bytes_);
    protect(PROT_READ);
  }
  ~ReadOnly() { protect(PROT_READ | PROT_WRITE); }
  const char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void protect(int how) { ASSERT_EQ(mprotect(memory_.left(memory_.capacity()), memory_.capacity(), how), 0); }
  GuardedBuffer memory_;
  char* data_;
  size_t bytes_;
};

struct GemmCase {
  static constexpr int64_t m = 9, n = 70, k = 45;
  RandomNumerics numerics;
  Operand a, b, c;
  GemmDesc desc;
  GemmArgs args;
  GemmCase(Noise& noise, DType type, DType out)
      : numerics(noise, type, out, n, k, false),
        a(noise, m, k * int64_t(size_of(type)), k * int64_t(size_of(type)), type),
        b(noise, 1, n * k * (type == DType::f32 ? 4 : 1), 0, type == DType::f32 ? DType::f32 : DType::s8),
        c(noise, m, n * int64_t(size_of(out)), n * int64_t(size_of(out)), DType::u8) {
    desc.n = n, desc.k = k, desc.a = type, desc.b = b.data, desc.b_row_stride = n, desc.b_col_stride = 1;
    desc.numerics = numerics.value;
    args = {m, a.data, k * int64_t(size_of(type)), c.data, n * int64_t(size_of(out)), nullptr, 0};
  }
  // The plan of `with` on the weights `packed`, which are those of this case.
  void expect(GemmDesc with, const PackedWeights& packed, const std::string& what) {
    with.b = nullptr;
    with.packed = &packed;
    const Expected<GemmPlan> plan = GemmPlan::create(with);
    if (!expect_plan(plan, what)) return;
    EXPECT_EQ(plan->packed().data(), packed.data()) << what;  // held once
    with.b = b.data;
    reference::gemm(with, args);
    const std::string expected = c.str();
    std::memset(c.data, 0x55, c.bytes);
    ASSERT_TRUE(plan->run(args, nullptr, single_thread()).ok());
    EXPECT_EQ(c.str(), expected) << what;
  }
};

TEST(Packed, GemmPlansShareWeights) {
  Noise noise(31);
  for (DType type : {DType::u8, DType::s8, DType::f32})
    for (const KernelInfo* kernel : runnable_kernels(Op::brgemm, type))
      for (DType out : {DType::f32, DType::u8, DType::s32}) {
        if (type == DType::f32 && out != DType::f32) continue;
        const std::string what = std::string(kernel ? kernel->name : "best") + " " + name_of(out);
        GemmCase first(noise, type, out);
        first.desc.kernel = kernel;
        std::optional<PackedWeights> packed = GemmPlan::create(first.desc)->packed();  // the plan is gone, its weights are not
        GemmDesc other = first.desc;
        const RandomNumerics numerics(noise, type, out, first.n, first.k, false);
        other.numerics = numerics.value;
        first.expect(other, *packed, what + " shared");
        const ReadOnly bytes(*packed);
        packed.reset();
        const Expected<PackedWeights> view = PackedWeights::view(bytes.data(), bytes.bytes());
        ASSERT_TRUE(expect_plan(view, what));
        EXPECT_EQ(view->data(), bytes.data());
        first.expect(other, *view, what + " from bytes");
      }
}

TEST(Packed, ActivationsMayDifferWhereTheLayoutDoesNot) {
  Noise noise(32);
  GemmCase of_u8(noise, DType::u8, DType::u8);
  const GemmPlan plan = *GemmPlan::create(of_u8.desc);
  const KernelInfo* of_s8 = best_kernel(Op::brgemm, DType::s8, DType::s8, *active_isa());
  if (of_s8->nr != plan.kernel().nr || of_s8->kr != plan.kernel().kr) GTEST_SKIP() << "the layouts differ here";
  GemmDesc other = of_u8.desc;
  other.a = DType::s8;
  other.numerics.a.zero_point = -3;
  of_u8.expect(other, plan.packed(), "u8 weights for s8");
}

TEST(Packed, ConvPlansShareWeights) {
  const Shape shapes[] = {{window(9, 3, 1, 1), 16, 40, 1, 1}, {window(9, 1, 1, 0), 24, 40, 1, 1},
                          {window(9, 3, 1, 1), 5, 40, 1, 1},  {window(9, 3, 1, 1), 24, 24, 6, 1},
                          {window(9, 3, 1, 1), 45, 45, 9, 1}, {window(9, 3, 1, 1), 66, 130, 2, 1}};
  Noise noise(33);
  for (const Shape& s : shapes)
    for (DType type : {DType::u8, DType::f32})
      for (const KernelInfo* kernel : runnable_kernels(Op::brgemm, type)) {
        const int64_t k = s.ic / s.groups * s.window.kh * s.window.kw, size = int64_t(size_of(type));
        const std::string what = std::string(kernel ? kernel->name : "best") + " " + describe(s);
        const RandomNumerics one(noise, type, DType::f32, s.oc, k, false), two(noise, type, DType::f32, s.oc, k, false);
        Operand w(noise, 1, s.oc * k * size, 0, type == DType::f32 ? DType::f32 : DType::s8);
        ConvDesc d;
        d.window = s.window, d.ic = s.ic, d.oc = s.oc, d.groups = s.groups, d.a = type, d.w = w.data, d.numerics = one.value,
        d.kernel = kernel;
        const ReadOnly bytes(ConvPlan::create(d)->packed());
        const Expected<PackedWeights> view = PackedWeights::view(bytes.data(), bytes.bytes());
        ASSERT_TRUE(expect_plan(view, what));
        // Another image, other numerics.
        d.window.ih = 12, d.numerics = two.value;
        Operand a(noise, d.window.ih * d.window.iw, s.ic * size, s.ic * size, type),
            c(noise, d.window.oh() * d.window.ow(), s.oc * 4, s.oc * 4, DType::u8);
        ConvArgs v;
        v.batch = 1, v.a = a.data, v.c = c.data;
        reference::conv(d, v);
        const std::string expected = c.str();
        std::memset(c.data, 0x55, c.bytes);
        d.w = nullptr, d.packed = &*view;
        const Expected<ConvPlan> plan = ConvPlan::create(d);
        ASSERT_TRUE(expect_plan(plan, what));
        EXPECT_EQ(plan->packed().data(), bytes.data());
        GuardedBuffer workspace(plan->workspace_bytes() + 64);
        ASSERT_TRUE(plan->run(v, workspace.right(plan->workspace_bytes(), 64), single_thread()).ok());
        EXPECT_EQ(c.str(), expected) << what;
      }
}

class PackedErrors : public ::testing::Test {
 protected:
  PackedErrors()
      : noise_(34),
        gemm_(noise_, DType::u8, DType::s32),
        packed_(GemmPlan::create(gemm_.desc)->packed()),
        copy_(packed_.bytes() + 128) {
    data_ = copy_.left(packed_.bytes());
    std::memcpy(data_, packed_.data(), packed_.bytes());
  }
  Status view(size_t bytes) { return PackedWeights::view(data_, bytes).status(); }
  void expect(GemmDesc d, const char* argument) {
    d.b = nullptr, d.packed = &packed_;
    expect_error(GemmPlan::create(d).status(), Code::invalid_argument, argument);
  }
  Noise noise_;
  GemmCase gemm_;
  PackedWeights packed_;
  GuardedBuffer copy_;
  char* data_;
};

TEST_F(PackedErrors, Buffer) {
  const size_t all = packed_.bytes();
  EXPECT_TRUE(view(all).ok());
  EXPECT_EQ(PackedWeights::view(data_, all + 100)->bytes(), all);  // a longer file is none
  expect_error(PackedWeights::view(nullptr, all).status(), Code::invalid_argument, "data is null");
  expect_error(PackedWeights::view(data_ + 8, all - 8).status(), Code::invalid_argument, "aligned");
  for (size_t bytes = 0; bytes < all; bytes += bytes < 256 ? 1 : 61)
    expect_error(view(bytes), Code::invalid_argument, "bytes is");
  expect_error(view(all - 1), Code::invalid_argument, "bytes is");
  // Any changed bit of the header is noticed.
  for (size_t bit = 0; bit < 144 * 8; ++bit) {
    data_[bit / 8] = char(data_[bit / 8] ^ (1 << bit % 8));
    EXPECT_FALSE(view(all).ok()) << "bit " << bit;
    data_[bit / 8] = char(data_[bit / 8] ^ (1 << bit % 8));
  }
  data_[8] = 2;
  expect_error(view(all), Code::unsupported, "version 2");
}

TEST_F(PackedErrors, NotOfThisPlan) {
  GemmDesc d = gemm_.desc;
  d.n = 71, d.numerics = {}, d.numerics.out = DType::s32;
  expect(d, "columns is 70");
  d = gemm_.desc, d.k = 46;
  expect(d, "depth is 45");
  d = gemm_.desc, d.a = DType::f32, d.numerics = {};
  expect(d, "is_float is 0");
  d = gemm_.desc, d.kernel = find_kernel("brgemm_u8s8_scalar_4x4x1");
  expect(d, "brgemm_u8s8_scalar_4x4x1, needs 4");
  if (covers(detected_isa(), Isa::avx512vnni)) {
    d.kernel = nullptr, d.use_isa = true, d.isa = Isa::avx2;
    expect(d, "nr is 32");
  }
  d = gemm_.desc, d.packed = &packed_;
  expect_error(GemmPlan::create(d).status(), Code::invalid_argument, "b and packed are both set");
  const PackedWeights none;
  d.b = nullptr, d.packed = &none;
  expect_error(GemmPlan::create(d).status(), Code::invalid_argument, "packed holds no weights");

  ConvDesc conv;
  conv.window = window(9, 1, 1, 0), conv.ic = gemm_.k, conv.oc = gemm_.n, conv.packed = &packed_, conv.numerics.out = DType::s32;
  expect_error(ConvPlan::create(conv).status(), Code::invalid_argument, "convolution is 0");
  conv.ic = conv.oc = conv.groups = 40;
  expect_error(DepthwisePlan::create(conv).status(), Code::unsupported, "packed is set");
}

// A header of the right checksum that lies about sizes.
TEST_F(PackedErrors, HostileHeader) {
  const auto sign = [&] {
    uint64_t sum = 0xcbf29ce484222325u;
    for (int i = 0; i < 136; ++i) sum = (sum ^ uint8_t(data_[i])) * 0x100000001b3u;
    std::memcpy(data_ + 136, &sum, sizeof sum);
  };
  sign();
  ASSERT_TRUE(view(packed_.bytes()).ok());
  GemmDesc d = gemm_.desc;
  d.b = nullptr;
  const auto expect_refused = [&] {
    sign();
    const Expected<PackedWeights> w = PackedWeights::view(data_, packed_.bytes());
    if (!w) return;
    d.packed = &*w;
    EXPECT_EQ(int(GemmPlan::create(d).status().code()), int(Code::invalid_argument));
  };
  for (int field = 0; field < 15; ++field)  // the shape, then the number of bytes
    for (const int64_t lie : {int64_t(-1), int64_t(1) << 40, INT64_MAX, int64_t(77)}) {
      char kept[8];
      std::memcpy(kept, data_ + 16 + field * 8, 8);
      std::memcpy(data_ + 16 + field * 8, &lie, 8);
      expect_refused();
      std::memcpy(data_ + 16 + field * 8, kept, 8);
    }
}

}  // namespace
}  // namespace octavo
