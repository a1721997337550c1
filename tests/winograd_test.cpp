// Every winograd kernel of the registry against a direct convolution, bit for bit: sizes around tiles, vectors and panels, all
// outputs, operands at which the most overflows; every buffer beside pages that trap.
#include <gtest/gtest.h>

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

enum class Operands { random, least, most };  // least: products as far below 0 as they can be

struct Case {
  int h, w;
  int64_t batch, k, n;
  DType out = DType::u8;
  bool residual = false;
  Operands operands = Operands::random;
  int64_t first = 0, tiles = 0;  // of a run; 0: all
};

// G w G^t of one channel with another, as the contract has it: [6][6].
std::vector<int16_t> transformed(const int8_t* w) {
  std::vector<int16_t> u;
  for (int i = 0; i < 6; ++i)
    for (int j = 0; j < 6; ++j) {
      int sum = 0;
      for (int y = 0; y < 3; ++y)
        for (int x = 0; x < 3; ++x) sum += kWinogradG[i][y] * w[3 * y + x] * kWinogradG[j][x];
      EXPECT_EQ(int16_t(sum), sum);
      u.push_back(int16_t(sum));
    }
  return u;
}

class Rig {
 public:
  void check(const KernelInfo& kernel, const Case& s) {
    const PackFormat& f = kernel.format;
    const int64_t across = (s.w + 3) / 4, down = (s.h + 3) / 4, panels = (s.n + f.nr - 1) / f.nr;
    const int64_t tiles = s.tiles > 0 ? s.tiles : across * down, last = s.first + tiles - 1;
    const WinogradSpace space(f, s.batch, s.k, tiles, across);

    const ptrdiff_t pixel = ptrdiff_t(s.k + noise_.integer(0, 1) * 3), row = (4 * across + 2) * pixel + noise_.integer(0, 1) * 5;
    // To the last pixel that the run's last tile sees.
    const size_t tap_bytes = size_t((4 * (last / across) + 5) * row + (4 * (last % across) + 5) * pixel + s.k), a_bytes = size_t(s.batch) * tap_bytes;
    char* a = a_.right(a_bytes);
    std::vector<const void*> taps;
    for (int64_t t = 0; t < s.batch; ++t) taps.push_back(a + size_t(t) * tap_bytes);
    noise_.fill(a, a_bytes);
    const bool random = s.operands == Operands::random, u8 = kernel.a == DType::u8;
    if (!random) std::memset(a, u8 ? (s.operands == Operands::least ? 0 : 255) : -128, a_bytes);
    const int64_t depth = s.batch * s.k;
    std::vector<int8_t> w(size_t(s.n * depth * 9));
    noise_.fill(w.data(), w.size());
    const int8_t extreme = s.operands == Operands::least ? 127 : -128;
    if (!random) std::fill(w.begin(), w.end(), extreme);

    const size_t tap = panel_bytes(f, s.k), place = size_t(s.batch) * tap, panel = kWinogradPlaces * place;
    char* b = b_.right(size_t(panels) * panel, 64);
    std::memset(b, 0, size_t(panels) * panel);
    std::vector<int32_t> bias(size_t(s.n)), folded(size_t(s.n));
    std::vector<float> scale(size_t(s.n)), bias_f32(size_t(s.n));
    for (int64_t j = 0; j < s.n; ++j) {
      bias[size_t(j)] = int32_t(noise_.integer(-20000, 20000));
      scale[size_t(j)] = noise_.real(1e-6f, 2e-4f);
      bias_f32[size_t(j)] = noise_.real(-3, 3);
      int32_t sum = 0;
      for (int64_t q = 0; q < depth; ++q) {
        const int64_t t = q / s.k, p = q % s.k;
        const int8_t* from = &w[size_t((j * depth + q) * 9)];
        for (int i = 0; i < 9; ++i) sum += from[i];
        const std::vector<int16_t> u = transformed(from);
        for (size_t x = 0; x < u.size(); ++x)
          std::memcpy(b + size_t(j / f.nr) * panel + x * place + size_t(t) * tap +
                          size_t((p / f.kr * f.nr + j % f.nr) * f.kr + p % f.kr) * 2,
                      &u[x], 2);
      }
      folded[size_t(j)] = bias[size_t(j)] - f.a_offset * sum;
    }

    EpilogueArgs e;
    e.out = s.out;
    e.bias = keep(folded, bias_);
    if (s.out != DType::s32) e.scale = keep(scale, scale_);
    if (s.out == DType::f32) e.bias_f32 = keep(bias_f32, bias_f32_);
    e.zp = s.out == DType::u8 ? 77 : s.out == DType::s8 ? -11 : 0;
    e.lo = s.out == DType::u8 ? -77.0f : s.out == DType::s8 ? -100.4f : -2;
    e.hi = s.out == DType::u8 ? 178.0f : s.out == DType::s8 ? 138.0f : 1e30f;
    const size_t element = size_of(s.out);
    const ptrdiff_t c_pixel = ptrdiff_t(size_t(s.n + 5) * element), c_row = (s.w + 2) * c_pixel;
    const size_t c_bytes = size_t(s.h - 1) * size_t(c_row) + size_t(s.w - 1) * size_t(c_pixel) + size_t(s.n) * element;
    char *c = c_.right(c_bytes), *r = residual_.right(c_bytes);
    s.out == DType::f32 ? noise_.fill(reinterpret_cast<float*>(r), c_bytes / 4) : noise_.fill(r, c_bytes);
    std::memset(c, 0x5a, c_bytes);
    if (s.residual) {
      e.residual = r, e.residual_stride_bytes = c_pixel, e.residual_scale = 0.83f;
      e.residual_dtype = s.out == DType::f32 ? DType::f32 : s.n % 2 ? DType::u8 : DType::s8;
      e.residual_zp = s.n % 2 ? 120 : -7;
    }

    WinogradArgs g;
    g.a = taps.data(), g.batch = s.batch, g.a_pixel_stride_bytes = pixel, g.a_row_stride_bytes = row;
    g.b = b, g.b_panel_stride = ptrdiff_t(panel);
    g.k = s.k, g.n = s.n, g.h = s.h, g.w = s.w, g.first = s.first, g.tiles = tiles;
    g.c = c, g.c_pixel_stride_bytes = c_pixel, g.c_row_stride_bytes = g.residual_row_stride_bytes = c_row;
    g.workspace = workspace_.right(space.bytes, 64);
    g.epi = &e;
    kernel.winograd(&g);

    std::vector<char> expected(c_bytes, 0x5a);
    for (int y = 0; y < s.h; ++y)
      for (int x = 0; x < s.w; ++x)
        for (int64_t j = 0, tile = y / 4 * across + x / 4; j < s.n && tile >= s.first && tile <= last; ++j) {
          int64_t sum = bias[size_t(j)];
          for (int64_t q = 0; q < depth; ++q)
            for (int i = 0; i < 9; ++i) {
              const char v = static_cast<const char*>(taps[size_t(q / s.k)])[(y + i / 3) * row + (x + i % 3) * pixel + q % s.k];
              sum += (u8 ? int(uint8_t(v)) : int(int8_t(v))) * w[size_t((j * depth + q) * 9 + i)];
            }
          const ptrdiff_t at = y * c_row + x * c_pixel + j * ptrdiff_t(element);
          test::apply_epilogue(e, j, int32_t(sum), s.residual ? r + at : nullptr, expected.data() + at);
        }
    for (size_t i = 0; i < c_bytes; ++i)
      ASSERT_EQ(int(uint8_t(expected[i])), int(uint8_t(c[i])))
          << kernel.name << " h=" << s.h << " w=" << s.w << " first=" << s.first << " tiles=" << tiles << " batch=" << s.batch << " k=" << s.k << " n=" << s.n
          << " out=" << name_of(s.out) << " residual=" << s.residual << " operands=" << int(s.operands) << " byte " << i
          << " of rows of " << c_row;
  }

 private:
  template <class T>
  static const T* keep(const std::vector<T>& v, GuardedBuffer& memory) {
    T* p = reinterpret_cast<T*>(memory.right(v.size() * sizeof(T)));
    std::memcpy(p, v.data(), v.size() * sizeof(T));
    return p;
  }

  Noise noise_{5};
  GuardedBuffer a_{1 << 20}, b_{1 << 24}, c_{1 << 20}, residual_{1 << 20}, workspace_{1 << 23};
  GuardedBuffer bias_{4096}, scale_{4096}, bias_f32_{4096};
};

class Winograd : public testing::TestWithParam<const KernelInfo*> {
 protected:
  void SetUp() override {
    if (!covers(detected_isa(), GetParam()->needs)) GTEST_SKIP() << GetParam()->name << ": this machine lacks the instructions";
  }
  Rig rig;
};

constexpr DType kOutputs[] = {DType::u8, DType::s8, DType::s32, DType::f32};

TEST_P(Winograd, TilesDepthsAndColumns) {
  size_t turn = 0;
  for (const int h : {1, 2, 3, 4, 5, 9, 17})
    for (const int w : {1, 3, 4, 6, 7, 8, 21})
      for (const int64_t k : {1, 2, 3, 8, 15, 16, 17, 31, 33, 64})
        for (const int64_t n : {1, 5, 8, 9, 15, 16, 17, 32, 40, 63}) {
          const size_t i = turn++;
          if (i % 7 != 0 || !test::taken(i / 7)) continue;
          const DType out = kOutputs[i / 7 % std::size(kOutputs)];
          const int64_t batch = k > 17 || i % 4 ? 1 : 1 + int64_t(i / 4 % 9);
          rig.check(*GetParam(), {h, w, batch, k, n, out, i % 3 == 0 && out != DType::s32});
          if (HasFatalFailure()) return;
        }
}

// Every run of tiles of an image leaves the other pixels as they are.
TEST_P(Winograd, Runs) {
  size_t turn = 0;
  for (const int h : {4, 7, 12})
    for (const int w : {3, 8, 13}) {
      const int64_t across = (w + 3) / 4, all = across * ((h + 3) / 4);
      for (int64_t first = 0; first < across; ++first)
        for (int64_t tiles = 1; tiles <= all - first; ++tiles) {
          if (!test::taken(turn++)) continue;
          const DType out = kOutputs[turn % std::size(kOutputs)];
          const bool residual = turn % 3 == 0 && out != DType::s32;
          rig.check(*GetParam(), {h, w, 1, 5, 20, out, residual, Operands::random, first, tiles});
          if (HasFatalFailure()) return;
        }
    }
}

// The largest sums of the deepest products, in places whose own sums overflow many times.
TEST_P(Winograd, Extremes) {
  for (const Operands operands : {Operands::least, Operands::most})
    for (const int64_t k : {int64_t(1), int64_t(100), kWinogradProducts / 9})
      for (const DType out : {DType::s32, DType::u8}) rig.check(*GetParam(), {5, 6, 1, k, 3, out, false, operands});
}

std::vector<const KernelInfo*> rows() {
  std::vector<const KernelInfo*> v;
  for (const KernelInfo& k : kernels())
    if (k.op == Op::winograd) v.push_back(&k);
  return v;
}
INSTANTIATE_TEST_SUITE_P(Registry, Winograd, testing::ValuesIn(rows()),
                         [](const testing::TestParamInfo<const KernelInfo*>& info) { return std::string(info.param->name); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Winograd);  // none but on x86

}  // namespace
}  // namespace octavo
