// Packing, seen by kernels that do nothing but keep what they are given: every layout against the formula in PackFormat.
#include <algorithm>
#include <string>
#include <vector>

#include "conv_test_util.h"

namespace octavo {
namespace {
using namespace test;

struct Seen {
  std::string weights;
  std::vector<int32_t> bias;
  PackFormat format;
};
Seen seen;

void keep_brgemm(const BrgemmArgs* g) {
  seen.weights.append(static_cast<const char*>(g->b), size_t(g->batch) * panel_bytes(seen.format, g->k));
  if (g->epi->bias) seen.bias.insert(seen.bias.end(), g->epi->bias, g->epi->bias + g->n);
}
void keep_dwconv(const DwconvArgs* g) {
  const size_t blocks = size_t((g->channels + seen.format.nr - 1) / seen.format.nr);
  seen.weights.assign(static_cast<const char*>(g->w), blocks * panel_bytes(seen.format, dwconv_slots(seen.format, g->kh, g->kw)));
  if (g->epi->bias) seen.bias.assign(g->epi->bias, g->epi->bias + g->channels);
}

KernelInfo keeper(Op op, DType a, PackFormat f) {
  seen = {{}, {}, f};
  KernelInfo k{};
  k.name = op == Op::brgemm ? "brgemm_keep" : "dwconv_keep";
  k.op = op, k.a = a, k.b = a == DType::f32 ? DType::f32 : DType::s8, k.mr = 200, k.nr = f.nr, k.kr = f.kr, k.format = f;
  if (op == Op::brgemm) k.brgemm = keep_brgemm;
  if (op == Op::dwconv) k.dwconv = keep_dwconv, k.rows = 1;
  return k;
}

// Element (k, column) of the panel or block at `base`, as a double whatever its type.
double packed_at(size_t base, int64_t k, int column) {
  const PackFormat& f = seen.format;
  const size_t at = base + size_t((k / f.kr * f.nr + column) * f.kr + k % f.kr) * f.elem_bytes;
  if (f.elem_bytes == 4) return reference::load<float>(seen.weights.data() + at, 0);
  if (f.elem_bytes == 2) return reference::load<int16_t>(seen.weights.data() + at, 0);
  return reference::load<int8_t>(seen.weights.data() + at, 0);
}

const PackFormat kFormats[] = {{4, 1, 1, 0},    {5, 3, 2, 0},        {8, 8, 1, 128},     {16, 2, 2, 0},
                               {16, 4, 1, 128}, {32, 4, 1, 0},       {64, 4, 1, 0},      {7, 16, 1, 0},
                               {255, 1, 2, 0},  {64, 4, 1, 0, true}, {16, 2, 2, 0, true},
                               {64, 4, 1, 0, true, true}, {32, 2, 2, 0, true, true}};

std::vector<int8_t> weights(Noise& noise, size_t n) {
  std::vector<int8_t> w(n);
  noise.fill(w.data(), n);
  return w;
}

TEST(Pack, Gemm) {
  Noise noise(9);
  for (const PackFormat& f : kFormats) {
    for (const bool transposed : {false, true}) {
      for (const int64_t k : {1, 3, 4, 17, 64, 1100}) {
        const int64_t n = noise.integer(1, 150);
        const std::vector<int8_t> w = weights(noise, size_t(n * k));
        const std::vector<int32_t> bias(size_t(n), 1000);
        const KernelInfo kernel = keeper(Op::brgemm, DType::u8, f);
        GemmDesc d;
        d.n = n, d.k = k, d.b = w.data(), d.kernel = &kernel, d.b_row_stride = transposed ? 1 : n,
        d.b_col_stride = transposed ? k : 1;
        d.numerics.out = DType::s32, d.numerics.a.zero_point = 7, d.numerics.bias_s32 = bias.data();
        const GemmPlan plan = *GemmPlan::create(d);
        const std::vector<uint8_t> a(size_t(k), 0);
        std::vector<int32_t> c(size_t(n), 0);
        ASSERT_TRUE(plan.run({1, a.data(), k, c.data(), n * 4, nullptr, 0}, nullptr, single_thread()).ok());
        const size_t panel = panel_bytes(f, k);
        ASSERT_EQ(seen.weights.size(), panel * size_t((n + f.nr - 1) / f.nr));
        ASSERT_EQ(seen.bias.size(), size_t(n));
        for (int64_t j = 0; j < (n + f.nr - 1) / f.nr * f.nr; ++j) {
          int32_t sum = 0;
          for (int64_t p = 0; p < (k + f.kr - 1) / f.kr * f.kr; ++p) {
            const int32_t expected = j < n && p < k ? w[size_t(p * d.b_row_stride + j * d.b_col_stride)] : 0;
            sum += expected;
            ASSERT_EQ(packed_at(size_t(j / f.nr) * panel, p, int(j % f.nr)), expected)
                << "nr " << int(f.nr) << " kr " << int(f.kr);
          }
          if (j < n) {
            EXPECT_EQ(seen.bias[size_t(j)], 1000 - (7 + f.a_offset) * sum);
          }
        }
      }
    }
  }
}

TEST(Pack, GemmFloat) {
  Noise noise(10);
  const PackFormat f{16, 1, 4, 0};
  const KernelInfo kernel = keeper(Op::brgemm, DType::f32, f);
  std::vector<float> w(19 * 21), c(21);
  noise.fill(w.data(), w.size());
  GemmDesc d;
  d.n = 21, d.k = 19, d.a = DType::f32, d.b = w.data(), d.kernel = &kernel, d.b_row_stride = 21, d.b_col_stride = 1;
  const GemmPlan plan = *GemmPlan::create(d);
  ASSERT_TRUE(plan.run({1, w.data(), 76, c.data(), 84, nullptr, 0}, nullptr, single_thread()).ok());
  for (int64_t j = 0; j < 32; ++j)
    for (int64_t p = 0; p < 19; ++p)
      ASSERT_EQ(packed_at(size_t(j / 16) * panel_bytes(f, 19), p, int(j % 16)), j < 21 ? double(w[size_t(p * 21 + j)]) : 0.0);
  EXPECT_TRUE(seen.bias.empty());
}

TEST(Pack, ConvFusesKernelRows) {
  // Padded, so that k is rounded up to kr: a tap is a kernel row; the order within it is kx, then channel.
  struct {
    int ic, oc, kh, kw;
  } const shapes[] = {{3, 5, 3, 3}, {24, 70, 3, 3}, {16, 33, 1, 2}, {8, 40, 5, 5}, {48, 64, 1, 3}};
  Noise noise(11);
  for (const auto& [ic, oc, kh, kw] : shapes) {
    for (const PackFormat& f : kFormats) {
      const int k = kw * ic;
      const KernelInfo kernel = keeper(Op::brgemm, DType::u8, f);
      const std::vector<int8_t> w = weights(noise, size_t(oc * ic * kh * kw));
      ConvDesc d;
      d.window = {kh, kw, kh, kw, 1, 1, 1, 1, 0, 1, 0, 0}, d.ic = ic, d.oc = oc, d.w = w.data(), d.kernel = &kernel,
      d.numerics.out = DType::s32, d.numerics.a.zero_point = 7;
      const ConvPlan plan = *ConvPlan::create(d);
      const std::vector<uint8_t> a(size_t(ic * kh * kw));
      std::vector<int32_t> c(size_t(oc * 2));
      GuardedBuffer workspace(plan.workspace_bytes() + 64);
      ConvArgs v;
      v.batch = 1, v.a = a.data(), v.c = c.data();
      ASSERT_TRUE(plan.run(v, workspace.right(plan.workspace_bytes(), 64), single_thread()).ok());
      const size_t tap = panel_bytes(f, k);
      ASSERT_EQ(seen.weights.size(), size_t(kh) * tap * size_t((oc + f.nr - 1) / f.nr));
      for (int j = 0; j < (oc + f.nr - 1) / f.nr * f.nr; ++j) {
        int32_t sum = 0;
        for (int ky = 0; ky < kh; ++ky)
          for (int p = 0; p < (k + f.kr - 1) / f.kr * f.kr; ++p) {
            const int expected = j < oc && p < k ? w[size_t(((j * ic + p % ic) * kh + ky) * kw + p / ic)] : 0;
            sum += expected;
            ASSERT_EQ(packed_at(size_t(j / f.nr * kh + ky) * tap, p, j % f.nr), expected)
                << "nr " << int(f.nr) << " kr " << int(f.kr) << " ic " << ic << " column " << j << " row " << ky << " " << p;
          }
        if (j < oc) {
          EXPECT_EQ(seen.bias[size_t(j)], -(7 + f.a_offset) * sum);
        }
      }
    }
  }
}

TEST(Pack, Depthwise) {
  Noise noise(12);
  for (const PackFormat& f : kFormats) {
    for (const int64_t channels : {1, 15, 64, 150}) {
      const KernelInfo kernel = keeper(Op::dwconv, DType::s8, f);
      const std::vector<int8_t> w = weights(noise, size_t(channels * 9));
      ConvDesc d;
      d.window = window(3, 3, 1, 0), d.ic = d.oc = d.groups = channels, d.a = DType::s8, d.w = w.data(), d.kernel = &kernel;
      d.numerics.out = DType::s32, d.numerics.a.zero_point = -5;
      const DepthwisePlan plan = *DepthwisePlan::create(d);
      const std::vector<int8_t> a(size_t(channels * 9), 0);
      std::vector<int32_t> c(size_t(channels), 0);
      alignas(64) char workspace[256];
      ASSERT_LE(plan.workspace_bytes(), sizeof workspace);
      ConvArgs v;
      v.batch = 1, v.a = a.data(), v.c = c.data();
      ASSERT_TRUE(plan.run(v, workspace, single_thread()).ok());
      const int64_t slots = dwconv_slots(f, 3, 3);
      const size_t block_bytes = panel_bytes(f, slots);
      double total = 0, expected_total = 0;
      for (int64_t ch = 0; ch < channels; ++ch) {
        int32_t sum = 0;
        for (int t = 0; t < 9; ++t) {
          const int32_t expected = w[size_t(ch * 9 + t)];
          sum += expected;
          const int64_t slot = f.by_column ? t % 3 * ((3 + f.kr - 1) / f.kr * f.kr) + t / 3 : t;
          ASSERT_EQ(packed_at(size_t(ch / f.nr) * block_bytes, slot, column_of(f, int(ch % f.nr))), expected);
        }
        expected_total += std::abs(double(sum));
        EXPECT_EQ(seen.bias[size_t(ch)], -(f.a_offset - 5) * sum);
      }
      // Whatever is not a weight is zero: no sum of a padded column.
      for (size_t block = 0; block < seen.weights.size() / block_bytes; ++block)
        for (int column = 0; column < f.nr; ++column) {
          double sum = 0;
          for (int64_t t = 0; t < slots; ++t) sum += packed_at(block * block_bytes, t, column);
          total += std::abs(sum);
        }
      EXPECT_EQ(total, expected_total);
    }
  }
}

}  // namespace
}  // namespace octavo
