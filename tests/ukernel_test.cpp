// Every brgemm and grouped row of the registry that this machine can run, against a reference written from the contract alone
// (octavo/ukernel.h): all m, tails of n and k, taps, output types, residuals, ties, extremes; and every buffer ends or
// begins at a page that traps.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "epilogue_formula.h"
#include "octavo/isa.h"
#include "octavo/registry.h"
#include "test_util.h"

namespace octavo {
namespace {

using test::GuardedBuffer;
using test::Noise;

enum class Operands { random, extreme_low, extreme_high };
enum class Residual { none, same, other };  // other: s8 under u8 output and the reverse

struct Epi {
  DType out;
  bool bias;
  Residual residual;
  int zp;
  float lo, hi;  // of the output type, zp not yet subtracted
};

// What a case is made of; printed when it fails.
struct Case {
  int m, n;
  int64_t k, batch;
  bool right;  // buffers end at the upper trap; else they begin at the lower one
  Operands operands;
  Epi epi;
  int group_n = 0;     // of a grouped kernel
  bool dense = false;  // nothing between the rows of C and of the residual
  // The groups of n columns, each with k values of a row of A; and the group of a column.
  int groups() const { return group_n ? (n + group_n - 1) / group_n : 1; }
  int group_of(int column) const { return group_n ? column / group_n : 0; }
  std::string text(const KernelInfo& kernel) const {
    char s[256];
    std::snprintf(s, sizeof s, "%s m=%d n=%d group_n=%d k=%lld batch=%lld right=%d operands=%d out=%s bias=%d residual=%d zp=%d [%g, %g]",
                  kernel.name, m, n, group_n, static_cast<long long>(k), static_cast<long long>(batch), right, int(operands),
                  name_of(epi.out), epi.bias, int(epi.residual), epi.zp, double(epi.lo), double(epi.hi));
    return s;
  }
};

template <class T>
T load(const char* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
void store(char* p, T v) {
  std::memcpy(p, &v, sizeof v);
}

int32_t load_q(const char* p, DType t) { return t == DType::u8 ? int32_t(load<uint8_t>(p)) : int32_t(load<int8_t>(p)); }

class Rig {
 public:
  explicit Rig(const KernelInfo& kernel) : kernel_(kernel) {}

  // Runs one case and compares all bytes of C, those between the rows too.
  void check(const Case& c) {
    const bool is_float = kernel_.a == DType::f32;
    const PackFormat& f = kernel_.format;
    const size_t a_size = size_of(kernel_.a), c_size = size_of(c.epi.out);

    // A: [batch] blocks of rows; one arena, so that the last row of the last tap touches the trap.
    const int64_t row = c.k * c.groups();
    // Rows some elements apart, or of odd k back to back and overlapping, as those of a convolution do.
    const int64_t apart = c.k % 2 == 0 ? noise_.integer(0, 9) : noise_.integer(0, 1) ? 0 : -noise_.integer(0, row - 1);
    const ptrdiff_t a_stride = ptrdiff_t((row + apart) * int64_t(a_size));
    const size_t tap = size_t((c.m - 1) * a_stride) + size_t(row) * a_size;
    char* a = place(a_, tap * size_t(c.batch), 1, c.right);
    std::vector<const void*> taps;
    for (int64_t t = 0; t < c.batch; ++t) {
      taps.push_back(a + t * int64_t(tap));
    }
    fill_a(a, tap * size_t(c.batch), c.operands);

    // B in plain [batch][k][n], then packed as PackFormat says.
    const size_t panel = panel_bytes(f, c.k), panels = size_t((c.n + f.nr - 1) / f.nr);
    const size_t panel_stride = panel * size_t(c.batch) + size_t(noise_.integer(0, 1)) * 64;
    const size_t b_bytes = panel_stride * (panels - 1) + panel * size_t(c.batch);
    char* b = place(b_, b_bytes, 64, c.right);
    std::memset(b, 0, b_bytes);
    // The panels of the taps: back to back, or anywhere.
    std::vector<ptrdiff_t> b_offsets;
    for (int64_t t = 0; t < c.batch; ++t) b_offsets.push_back(t * int64_t(panel));
    const bool anywhere = noise_.integer(0, 1);
    for (size_t t = b_offsets.size(); anywhere && t > 1; --t)
      std::swap(b_offsets[t - 1], b_offsets[size_t(noise_.integer(0, int64_t(t) - 1))]);
    std::vector<float> bf(is_float ? size_t(c.batch * c.k * c.n) : 0);
    std::vector<int8_t> bi(is_float ? 0 : size_t(c.batch * c.k * c.n));
    noise_.fill(bf.data(), bf.size());
    for (int8_t& v : bi) {
      v = c.operands == Operands::random        ? int8_t(noise_.next() >> 40)
          : c.operands == Operands::extreme_low ? int8_t(-128)
                                                : int8_t(127);
    }
    for (int64_t t = 0; t < c.batch; ++t)
      for (int64_t p = 0; p < c.k; ++p)
        for (int j = 0; j < c.n; ++j) {
          const size_t from = size_t((t * c.k + p) * c.n + j);
          const size_t at = size_t((p / f.kr * f.nr + j % f.nr) * f.kr + p % f.kr);
          char* to = b + size_t(j / f.nr) * panel_stride + b_offsets[size_t(t)] + at * f.elem_bytes;
          if (is_float) {
            store(to, bf[from]);
          } else if (f.elem_bytes == 2) {
            store(to, int16_t(bi[from]));
          } else {
            store(to, bi[from]);
          }
        }

    // Accumulators, without the kernel's bias and offset. The kernel's own bias takes a_offset * colsum(B) back out.
    std::vector<int32_t> bias(static_cast<size_t>(c.n));
    std::vector<int32_t> offset(static_cast<size_t>(c.n));
    for (int32_t& v : bias) v = c.epi.bias ? int32_t(noise_.integer(-5000, 5000)) : 0;
    std::vector<int64_t> acc(size_t(c.m * c.n));
    std::vector<float> accf(size_t(c.m * c.n));
    for (int64_t t = 0; t < c.batch; ++t)
      for (int j = 0; j < c.n; ++j)
        for (int64_t p = 0; p < c.k; ++p) {
          const size_t from = size_t((t * c.k + p) * c.n + j);
          if (!is_float) offset[size_t(j)] += f.a_offset * bi[from];
          for (int i = 0; i < c.m; ++i) {
            const char* v = static_cast<const char*>(taps[size_t(t)]) + i * a_stride + (c.group_of(j) * c.k + p) * int64_t(a_size);
            const size_t to = size_t(i * c.n + j);
            if (is_float) {
              accf[to] = std::fma(load<float>(v), bf[from], accf[to]);
            } else {
              acc[to] += int64_t(load_q(v, kernel_.a)) * bi[from];
            }
          }
        }

    // The epilogue's arrays, each against the trap.
    EpilogueArgs e;
    e.out = c.epi.out;
    const bool q8 = e.out == DType::u8 || e.out == DType::s8;
    const bool needs_kernel_bias = !is_float && (c.epi.bias || f.a_offset);
    char* bias_at = place(bias_, size_t(c.n) * 4, 1, c.right);
    char* scale_at = place(scale_, size_t(c.n) * 4, 1, c.right);
    char* bias_f_at = place(bias_f_, size_t(c.n) * 4, 1, c.right);
    int64_t largest = 1;
    for (int i = 0; i < c.m; ++i)
      for (int j = 0; j < c.n; ++j) largest = std::max(largest, std::abs(acc[size_t(i * c.n + j)] + bias[size_t(j)]));
    std::vector<float> scale(size_t(c.n), 1.0f), bias_f(size_t(c.n), 0.0f);
    for (int j = 0; j < c.n; ++j) {
      // Powers of two around the range of the output: products are exact, and many of them are ties.
      scale[size_t(j)] =
          j % 3 == 0 ? std::ldexp(1.0f, -std::ilogb(float(largest)) + 7 + j % 2) : noise_.real(0.2f, 300.0f) / float(largest);
      bias_f[size_t(j)] = c.epi.bias ? noise_.real(-20, 20) : 0.0f;
      store(bias_at + 4 * j, bias[size_t(j)] - offset[size_t(j)]);
      store(scale_at + 4 * j, scale[size_t(j)]);
      store(bias_f_at + 4 * j, bias_f[size_t(j)]);
    }
    if (needs_kernel_bias) e.bias = reinterpret_cast<const int32_t*>(bias_at);
    if (!is_float && e.out != DType::s32) e.scale = reinterpret_cast<const float*>(scale_at);
    if (e.out == DType::f32 && c.epi.bias) e.bias_f32 = reinterpret_cast<const float*>(bias_f_at);
    e.zp = q8 ? c.epi.zp : 0;
    if (q8 && noise_.integer(0, 3)) {  // what a plan knows; the result may not depend on it
      e.largest_acc = float(largest) * 1.0001f;
      e.largest_out = 0;
      for (int j = 0; j < c.n; ++j) e.largest_out = std::max(e.largest_out, e.largest_acc * scale[size_t(j)]);
    }
    e.lo = c.epi.lo - float(e.zp);
    e.hi = c.epi.hi - float(e.zp);

    char* r = nullptr;
    if (c.epi.residual != Residual::none) {
      e.residual_dtype = e.out;
      if (c.epi.residual == Residual::other) e.residual_dtype = e.out == DType::u8 ? DType::s8 : DType::u8;
      const size_t r_size = size_of(e.residual_dtype);
      e.residual_stride_bytes = ptrdiff_t(size_t(c.n) * r_size) + (c.dense ? 0 : noise_.integer(0, 3));
      const size_t bytes = size_t((c.m - 1) * e.residual_stride_bytes) + size_t(c.n) * r_size;
      r = place(residual_, bytes, 1, c.right);
      for (size_t i = 0; i < bytes; ++i) r[i] = char(noise_.next() >> 33);
      if (e.out == DType::f32)
        for (int i = 0; i < c.m; ++i)
          for (int j = 0; j < c.n; ++j) store(r + i * e.residual_stride_bytes + 4 * j, noise_.real(-50, 50));
      e.residual = r;
      e.residual_zp = int32_t(noise_.integer(0, 100));
      e.residual_scale = noise_.real(0.1f, 2.0f);
    }

    const ptrdiff_t c_stride = ptrdiff_t(size_t(c.n) * c_size) + (c.dense ? 0 : noise_.integer(0, 5));
    const size_t c_bytes = size_t((c.m - 1) * c_stride) + size_t(c.n) * c_size;
    char* out = place(c_, c_bytes, 1, c.right);
    std::memset(out, 0x5a, c_bytes);
    std::vector<char> expected(c_bytes, 0x5a);
    for (int i = 0; i < c.m; ++i)
      for (int j = 0; j < c.n; ++j) {
        char* to = expected.data() + i * c_stride + j * ptrdiff_t(c_size);
        const char* res = r ? r + i * e.residual_stride_bytes + j * ptrdiff_t(size_of(e.residual_dtype)) : nullptr;
        const size_t at = size_t(i * c.n + j);
        is_float ? test::apply_epilogue(e, j, accf[at], res, to)
                 : test::apply_epilogue(e, j, int32_t(acc[at] + bias[size_t(j)]), res, to);
      }

    BrgemmArgs g;
    g.a = taps.data();
    g.a_stride_bytes = a_stride;
    g.b = b;
    if (anywhere) g.b_offsets = b_offsets.data();
    g.b_panel_stride = ptrdiff_t(panel_stride);
    g.group_n = c.group_n;
    g.batch = c.batch;
    g.k = c.k;
    g.m = c.m;
    g.n = c.n;
    g.c = out;
    g.c_stride_bytes = c_stride;
    g.far_c = noise_.integer(0, 1);
    g.epi = &e;
    kernel_.brgemm(&g);
    for (size_t i = 0; i < c_bytes; ++i)
      ASSERT_EQ(int(uint8_t(expected[i])), int(uint8_t(out[i])))
          << c.text(kernel_) << " row " << i / size_t(c_stride) << " byte " << i % size_t(c_stride);
  }

 private:
  static char* place(GuardedBuffer& buffer, size_t bytes, size_t align, bool right) {
    return right ? buffer.right(bytes, align) : buffer.left(bytes);
  }
  void fill_a(char* a, size_t bytes, Operands operands) {
    if (kernel_.a == DType::f32) {
      for (size_t i = 0; i + 4 <= bytes; i += 4) store(a + i, noise_.real(-1, 1));
      return;
    }
    for (size_t i = 0; i < bytes; ++i) {
      const char extreme = kernel_.a == DType::u8 ? char(255) : operands == Operands::extreme_low ? char(-128) : char(127);
      a[i] = operands == Operands::random ? char(noise_.next() >> 33) : extreme;
    }
  }

  const KernelInfo& kernel_;
  Noise noise_{1};
  GuardedBuffer a_{1 << 21}, b_{1 << 20}, c_{1 << 19}, residual_{1 << 19}, bias_{4096}, scale_{4096}, bias_f_{4096};
};

std::vector<Epi> epilogues(const KernelInfo& k) {
  constexpr float kInf = INFINITY;
  const Epi f32[] = {{DType::f32, true, Residual::none, 0, -kInf, kInf},
                     {DType::f32, false, Residual::same, 0, 0, 6},
                     {DType::f32, false, Residual::none, 0, -3.25f, kInf}};
  std::vector<Epi> all(std::begin(f32), std::end(f32));
  if (k.a == DType::f32) return all;
  const Epi q[] = {{DType::s32, true, Residual::none, 0, 0, 0},        {DType::s32, false, Residual::none, 0, 0, 0},
                   {DType::u8, true, Residual::none, 7, 0, 255},       {DType::u8, false, Residual::none, 0, 0, 255},
                   {DType::u8, true, Residual::same, 128, 128, 255},   {DType::u8, true, Residual::other, 255, 3, 250},
                   {DType::s8, true, Residual::none, -128, -128, 127}, {DType::s8, true, Residual::none, 5, 5, 90},
                   {DType::s8, false, Residual::same, -3, -128, 127},  {DType::s8, true, Residual::other, 127, -128, 127}};
  all.insert(all.end(), std::begin(q), std::end(q));
  return all;
}

std::vector<int> column_counts(int nr) {
  std::set<int> n = {1, 2, 3, nr / 4, nr / 4 + 1, nr / 2 - 1, nr / 2, nr / 2 + 1, nr / 2 + 3, nr - 3, nr - 1, nr};
  std::vector<int> v;
  for (int x : n)
    if (x >= 1 && x <= nr) v.push_back(x);
  return v;
}

// All of them, or what a kernel in groups tells apart: the rows left over behind some groups.
std::vector<int> row_counts(const KernelInfo& k) {
  std::vector<int> v;
  for (int m = 1; m <= k.mr; ++m)
    if (k.group == 0 || m <= 5 * k.group || m + 2 > k.mr) v.push_back(m);
  return v;
}

std::set<std::string>& kernels_that_ran() {
  static std::set<std::string> names;
  return names;
}

class Ukernel : public testing::TestWithParam<const KernelInfo*> {
 protected:
  void SetUp() override {
    if (!covers(detected_isa(), GetParam()->needs)) GTEST_SKIP() << GetParam()->name << ": this machine lacks the instructions";
  }
};

TEST_P(Ukernel, AllTilesTailsAndOutputs) {
  const KernelInfo& k = *GetParam();
  const std::vector<Epi> epi = epilogues(k);
  Rig rig(k);
  size_t turn = 0;
  for (int m : row_counts(k))
    for (int n : column_counts(k.nr))
      for (int64_t depth : {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 31, 32, 33, 64, 100})
        for (int64_t batch : {1, 3, 9}) {
          if (batch == 9 && depth > 33) continue;
          const size_t i = turn++;
          if (!test::taken(i)) continue;
          rig.check({m, n, depth, batch, i % 3 != 0, Operands::random, epi[i % epi.size()]});
          kernels_that_ran().insert(k.name);
          if (HasFatalFailure()) return;
        }
}

// Columns of several panels, of kernels that take them in one call; sums long enough for several strips of K.
TEST_P(Ukernel, SeveralPanels) {
  const KernelInfo& k = *GetParam();
  if (k.panels < 2) return;
  const std::vector<Epi> epi = epilogues(k);
  Rig rig(k);
  size_t turn = 0;
  for (int m : {1, 2, std::min<int>(k.mr, 31)})
    for (int n : {k.nr + 1, k.nr + k.nr / 2 + 3, 2 * k.nr, (k.panels - 1) * k.nr + 7, k.panels * k.nr})
      for (int64_t depth : {3, 33, 64, 800}) {
        const size_t i = turn++;
        if (!test::taken(i)) continue;
        rig.check({m, n, depth, depth < 100 ? 1 + int64_t(i % 3) : 1, i % 3 != 0, Operands::random, epi[i % epi.size()]});
        if (HasFatalFailure()) return;
      }
}

// One column, the values of which lie back to back: kernels may take rows as if they were columns.
TEST_P(Ukernel, OneColumn) {
  const KernelInfo& k = *GetParam();
  Rig rig(k);
  size_t turn = 0;
  for (const Epi& epi : epilogues(k))
    for (int m : {1, 3, 7, 8, 9, 24, 31, 32, 33, 47, 103, 240})
      for (int64_t depth : {15, 16, 17, 31, 32, 50, 515, 4096, 4097}) {
        const size_t i = turn++;
        if (m > k.mr || !test::taken(i)) continue;
        const Operands operands = i % 5 ? Operands::random : i % 2 ? Operands::extreme_low : Operands::extreme_high;
        rig.check({m, 1, depth, depth < 100 ? 1 + int64_t(i % 3) : 1, i % 3 != 0, operands, epi, 0, true});
        if (HasFatalFailure()) return;
      }
}

// Every epilogue on every m with a full and a ragged n.
TEST_P(Ukernel, AllEpilogues) {
  const KernelInfo& k = *GetParam();
  Rig rig(k);
  size_t turn = 0;
  for (const Epi& epi : epilogues(k))
    for (int m : row_counts(k))
      for (int n : column_counts(k.nr))
        for (bool right : {false, true}) {
          if (!test::taken(turn++)) continue;
          rig.check({m, n, 11, 2, right, Operands::random, epi});
          if (HasFatalFailure()) return;
        }
}

#ifdef __aarch64__
// On a thread that takes subnormal numbers for 0, as some programs have it.
TEST_P(Ukernel, FlushToZero) {
  const KernelInfo& k = *GetParam();
  Rig rig(k);
  uint64_t fpcr;
  asm volatile("mrs %0, fpcr" : "=r"(fpcr));
  asm volatile("msr fpcr, %0" : : "r"(fpcr | uint64_t(1) << 24));
  for (const Epi& epi : epilogues(k)) {
    rig.check({k.mr, k.nr, 64, 1, true, Operands::random, epi});
    if (HasFatalFailure()) break;
  }
  asm volatile("msr fpcr, %0" : : "r"(fpcr));
}
#endif

// The largest sums, and sums longer than what a kernel may take in one go, with all columns and with one fewer.
TEST_P(Ukernel, Extremes) {
  const KernelInfo& k = *GetParam();
  Rig rig(k);
  const std::vector<DType> outs = k.a == DType::f32 ? std::vector{DType::f32} : std::vector{DType::s32, DType::u8, DType::s8};
  for (Operands operands : {Operands::extreme_low, Operands::extreme_high})
    for (int64_t depth : {1, 2, 3, 4, 64, 515, 1030})
      for (int m : {1, int(k.mr)})
        for (DType out : outs) {
          const int n = m == 1 && k.nr > 1 ? k.nr - 1 : k.nr;
          rig.check({m, n, depth, 3, true, operands, {out, true, Residual::none, 0, 0, 127}});
          if (HasFatalFailure()) return;
        }
}

// A result that lies exactly between two integers goes to the even one, before the zero point is added; and what is far
// out of range, infinite, or not a number obeys the clamp.
TEST_P(Ukernel, TiesAndOverflow) {
  const KernelInfo& k = *GetParam();
  if (k.a == DType::f32) return;
  const std::vector<char> zeros(4096, 0);
  alignas(64) char panel[4096] = {};
  ASSERT_LE(panel_bytes(k.format, 1), sizeof panel);
  const void* tap = zeros.data();
  for (const bool is_signed : {false, true})
    for (const int zp : {0, 1, 17})
      for (const float scale : {0.5f, -0.5f, 1e30f, -1e30f, INFINITY, NAN}) {
        std::vector<int32_t> bias(k.nr);
        for (int j = 0; j < k.nr; ++j) bias[size_t(j)] = j == 5 ? INT32_MAX : j == 6 ? INT32_MIN : j * 3 - 20;
        const std::vector<float> scales(k.nr, scale);
        EpilogueArgs e;
        e.bias = bias.data();  // A + a_offset meets a panel of zeros: the accumulator is the bias
        e.scale = scales.data();
        e.out = is_signed ? DType::s8 : DType::u8;
        e.lo = float((is_signed ? -128 : 0) - zp);
        e.hi = float((is_signed ? 127 : 255) - zp) - 0.5f;  // a bound that itself is a tie
        e.zp = zp;
        std::vector<char> out(k.nr);
        BrgemmArgs g;
        g.a = &tap;
        g.b = panel;
        g.k = 1;
        g.m = 1;
        g.n = k.nr;
        g.c = out.data();
        g.epi = &e;
        k.brgemm(&g);
        for (int j = 0; j < k.nr; ++j) {
          char expected[4];
          test::apply_epilogue(e, j, bias[size_t(j)], nullptr, expected);
          ASSERT_EQ(int(expected[0]), int(out[size_t(j)]))
              << k.name << " bias " << bias[size_t(j)] << " scale " << scale << " zp " << zp;
        }
      }
}

// Grouped kernels: every width of a group, as many values of A as it has columns or fewer.
class Grouped : public Ukernel {};
TEST_P(Grouped, AllWidthsTailsAndOutputs) {
  const KernelInfo& k = *GetParam();
  const std::vector<Epi> epi = epilogues(k);
  Rig rig(k);
  size_t turn = 0;
  for (int m : row_counts(k))
    for (int group_n = 2; group_n <= k.nr; group_n *= 2)
      for (int64_t word = 4 / int64_t(size_of(k.a)), depth = word; depth <= group_n; depth += word)
        for (int n = group_n; n <= k.nr; n += group_n) {
          const size_t i = turn++;
          if (!test::taken(i)) continue;
          const Operands operands = i % 5 ? Operands::random : i % 2 ? Operands::extreme_low : Operands::extreme_high;
          rig.check({m, n, depth, i % 2 ? 1 : 9, i % 4 != 0, operands, epi[i % epi.size()], group_n});
          kernels_that_ran().insert(k.name);
          if (HasFatalFailure()) return;
        }
}

// The residual may be C itself: y += x.
TEST_P(Ukernel, ResidualInPlace) {
  const KernelInfo& k = *GetParam();
  Noise noise(3);
  const bool is_float = k.a == DType::f32;
  const DType type = is_float ? DType::f32 : DType::u8;
  const size_t bytes = size_t(k.mr) * k.nr * size_of(type);
  std::vector<char> a(size_t(k.mr) * 8 * size_of(k.a), 1);
  GuardedBuffer panel(panel_bytes(k.format, 8));
  std::vector<float> scales(k.nr, 0.01f);
  std::vector<char> x(bytes), separate(bytes);
  if (is_float) {
    for (size_t i = 0; i < bytes; i += 4) store(&x[i], noise.real(-9, 9));
  } else {
    noise.fill(x.data(), bytes);
  }
  const void* tap = a.data();
  EpilogueArgs e;
  e.out = e.residual_dtype = type;
  e.scale = is_float ? nullptr : scales.data();
  e.residual_stride_bytes = ptrdiff_t(k.nr * size_of(type));
  e.residual_scale = 0.75f;
  e.residual_zp = 3;
  e.lo = 0;
  e.hi = 255;
  BrgemmArgs g;
  g.a = &tap;
  g.a_stride_bytes = ptrdiff_t(8 * size_of(k.a));
  g.b = panel.left(panel_bytes(k.format, 8));
  g.k = 8;
  g.m = k.mr;
  g.n = k.nr;
  g.c_stride_bytes = e.residual_stride_bytes;
  g.epi = &e;
  e.residual = x.data();
  g.c = separate.data();
  k.brgemm(&g);
  g.c = x.data();
  k.brgemm(&g);
  EXPECT_EQ(separate, x);
}

std::vector<const KernelInfo*> rows(Op op) {
  std::vector<const KernelInfo*> v;
  for (const KernelInfo& k : kernels())
    if (k.op == op) v.push_back(&k);
  return v;
}

// After everything: no row that this machine can run was left out.
class EveryEligibleRowRan : public testing::Environment {
  void TearDown() override {
    if (GTEST_FLAG_GET(filter) != "*") return;
    for (const Op op : {Op::brgemm, Op::grouped})
      for (const KernelInfo* k : rows(op)) {
        const bool eligible = covers(detected_isa(), k->needs);
        EXPECT_EQ(kernels_that_ran().count(k->name), size_t(eligible)) << k->name;
        if (!eligible) std::printf("not run, this machine lacks the instructions: %s\n", k->name);
      }
  }
};
const testing::Environment* const kEveryEligibleRowRan = testing::AddGlobalTestEnvironment(new EveryEligibleRowRan);

std::string name_of_row(const testing::TestParamInfo<const KernelInfo*>& info) { return info.param->name; }
INSTANTIATE_TEST_SUITE_P(Registry, Ukernel, testing::ValuesIn(rows(Op::brgemm)), name_of_row);
INSTANTIATE_TEST_SUITE_P(Registry, Grouped, testing::ValuesIn(rows(Op::grouped)), name_of_row);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Grouped);  // none in portable code

}  // namespace
}  // namespace octavo
