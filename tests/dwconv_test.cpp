// Every depthwise kernel of the registry against the formula of octavo/ukernel.h, bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
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

struct Case {
  int kh = 3, kw = 3, stride = 1, dilation = 1;
  int64_t channels = 1, n = 1;
  DType out = DType::u8;
  bool residual = false, extreme = false, plain = false;  // plain: no bias
  int m = 1, stride_h = 1;                                // output rows
  float gain = 1;                                         // of the scales, which are around 0.005
  int pad = 0;                                            // floats: rows and columns on each side that are not there
};

// Weights [channels][kh][kw] to the layout at PackFormat; `bias` loses a_offset times the column sums.
void pack(const PackFormat& f, const void* w, DType type, int64_t channels, int64_t kh, int64_t kw, char* packed,
          std::vector<int32_t>* bias) {
  const int64_t taps = kh * kw;
  const size_t block = panel_bytes(f, dwconv_slots(f, kh, kw));
  std::memset(packed, 0, block * size_t((channels + f.nr - 1) / f.nr));
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t slot = slot_of(f, kh, kw, t / kw, t % kw);
      char* p = packed + size_t(c / f.nr) * block +
                size_t((slot / f.kr * f.nr + column_of(f, int(c % f.nr))) * f.kr + slot % f.kr) * f.elem_bytes;
      if (type == DType::f32) {
        std::memcpy(p, static_cast<const float*>(w) + c * taps + t, 4);
        continue;
      }
      const int8_t v = static_cast<const int8_t*>(w)[c * taps + t];
      const int16_t wide = v;
      f.elem_bytes == 2 ? std::memcpy(p, &wide, 2) : std::memcpy(p, &v, 1);
      if (bias) (*bias)[size_t(c)] -= f.a_offset * v;
    }
}

// Everything for one case; memory is reused from case to case.
struct Bench {
  Bench() : pixels(1 << 22), output(1 << 20), residual(1 << 20), packed(1 << 20) {}
  GuardedBuffer pixels, output, residual, packed;

  template <class T>
  const T* place(const std::vector<T>& v, GuardedBuffer& memory) {
    T* p = reinterpret_cast<T*>(memory.right(v.size() * sizeof(T)));
    std::memcpy(p, v.data(), v.size() * sizeof(T));
    return p;
  }

  void run(const KernelInfo& k, const Case& s) {
    const bool real = k.a == DType::f32, bytes = size_of(s.out) == 1;
    const int64_t taps = int64_t(s.kh) * s.kw, seen = (s.n - 1) * s.stride + int64_t(s.kw - 1) * s.dilation + 1;
    const int64_t pad = real && seen > 2 * s.pad ? s.pad : 0, span = seen - 2 * pad;
    const int64_t in_rows = int64_t(s.m - 1) * s.stride_h + s.kh;
    const size_t element = size_of(k.a), c_element = size_of(s.out);
    Noise noise(uint64_t(taps * 1000 + s.channels * 10 + s.n));

    // Rows of pixels, one after the other with a gap; the last one ends where memory traps.
    const ptrdiff_t pixel = ptrdiff_t(s.channels + 3) * ptrdiff_t(element);
    const size_t used = size_t(in_rows * span - 1) * size_t(pixel) + size_t(s.channels) * element;
    char* a = pixels.right(used);
    if (real) {
      noise.fill(reinterpret_cast<float*>(a), used / 4);
    } else if (s.extreme) {
      std::memset(a, k.a == DType::u8 ? 255 : 128, used);
    } else {
      noise.fill(a, used);
    }
    std::vector<const void*> rows;
    for (int64_t y = 0; y < in_rows; ++y) rows.push_back(y < pad || y >= in_rows - pad ? nullptr : a + y * span * pixel);

    std::vector<float> wf(size_t(s.channels * taps));
    std::vector<int8_t> wq(wf.size());
    noise.fill(wf.data(), wf.size()), noise.fill(wq.data(), wq.size());
    if (s.extreme) std::fill(wq.begin(), wq.end(), int8_t(-128));

    const size_t c = size_t(s.channels);
    std::vector<int32_t> bias(c), folded;
    std::vector<float> scale(c), bias_f32(c);
    for (size_t j = 0; j < c; ++j) {
      bias[j] = s.plain ? 0 : int32_t(noise.integer(-20000, 20000));
      scale[j] = noise.real(1e-4f, 0.01f) * s.gain;
      bias_f32[j] = noise.real(-3, 3);
    }
    folded = bias;
    GuardedBuffer& w = packed;
    const size_t packed_bytes =
        panel_bytes(k.format, dwconv_slots(k.format, s.kh, s.kw)) * size_t((s.channels + k.format.nr - 1) / k.format.nr);
    char* pw = w.right(packed_bytes, 64);
    pack(k.format, real ? static_cast<const void*>(wf.data()) : wq.data(), k.b, s.channels, s.kh, s.kw, pw,
         real ? nullptr : &folded);

    // Output and residual: pixels with a gap of 5 elements, rows with one of 2 pixels.
    const ptrdiff_t c_stride = ptrdiff_t(s.channels + 5) * ptrdiff_t(c_element), c_row = (s.n + 2) * c_stride;
    const size_t c_bytes = size_t(s.m - 1) * size_t(c_row) + size_t(s.n - 1) * size_t(c_stride) + c * c_element;
    char* out = output.right(c_bytes);
    std::memset(out, 0x5a, c_bytes);
    char* res = residual.right(c_bytes);
    bytes ? noise.fill(res, c_bytes) : noise.fill(reinterpret_cast<float*>(res), c_bytes / 4);

    EpilogueArgs e;
    GuardedBuffer bias_place(4 * c), scale_place(4 * c), bias_f32_place(4 * c);
    const bool no_bias = s.plain && k.format.a_offset == 0;
    if (!real && !no_bias) e.bias = place(folded, bias_place);
    if (!real && s.out != DType::s32) e.scale = place(scale, scale_place);
    if (s.out == DType::f32 && !s.plain) e.bias_f32 = place(bias_f32, bias_f32_place);
    e.out = s.out;
    e.zp = s.out == DType::u8 ? 77 : s.out == DType::s8 ? -11 : 0;
    e.lo = s.out == DType::u8 ? -60.4f : s.out == DType::s8 ? -117 : -2;
    e.hi = s.out == DType::u8 ? 178 : s.out == DType::s8 ? 100.6f : 1e30f;
    if (s.residual) {
      e.residual = res;
      e.residual_stride_bytes = c_stride;
      e.residual_scale = 0.83f;
      e.residual_dtype = bytes ? (s.n % 2 ? DType::u8 : DType::s8) : DType::f32;
      e.residual_zp = s.n % 2 ? 120 : -7;
    }
    DwconvArgs g;
    g.rows = rows.data();
    g.pixel_stride_bytes = pixel;
    g.kh = s.kh, g.kw = s.kw, g.stride_h = s.stride_h, g.stride_w = s.stride, g.dilation_w = s.dilation;
    g.m = s.m, g.n = s.n, g.channels = s.channels;
    if (pad > 0) g.pad_left = pad, g.columns = span;
    g.c_row_stride_bytes = g.residual_row_stride_bytes = c_row;
    g.w = pw, g.c = out, g.c_stride_bytes = c_stride, g.epi = &e;
    k.dwconv(&g);

    for (int64_t i = 0; i < s.m * s.n; ++i) {
      const int64_t row = i / s.n, x = i % s.n, at = row * c_row + x * c_stride;
      for (int64_t j = 0; j < s.channels; ++j) {
        uint32_t acc = uint32_t(bias[size_t(j)]);
        float sum = 0;
        for (int y = 0; y < s.kh; ++y)
          for (int z = 0; z < s.kw; ++z) {
            const auto* in = static_cast<const char*>(rows[size_t(row * s.stride_h + y)]);
            const int64_t column = x * s.stride + z * s.dilation - pad;
            if (!in || column < 0 || column >= span) continue;
            const char* p = in + column * pixel + j * ptrdiff_t(element);
            const size_t t = size_t(j * taps + y * s.kw + z);
            if (real) {
              float v;
              std::memcpy(&v, p, 4);
              sum = std::fma(v, wf[t], sum);
            } else {
              acc += uint32_t((k.a == DType::u8 ? int(uint8_t(*p)) : int(int8_t(*p))) * int(wq[t]));
            }
          }
        const char* r = s.residual ? res + at + j * ptrdiff_t(c_element) : nullptr;
        char want[4];
        real ? test::apply_epilogue(e, j, sum, r, want) : test::apply_epilogue(e, j, int32_t(acc), r, want);
        ASSERT_EQ(0, std::memcmp(want, out + at + j * ptrdiff_t(c_element), c_element))
            << k.name << " kh=" << s.kh << " kw=" << s.kw << " stride=" << s.stride_h << "x" << s.stride
            << " dilation=" << s.dilation << " channels=" << s.channels << " m=" << s.m << " n=" << s.n
            << " out=" << name_of(s.out) << " residual=" << s.residual << " extreme=" << s.extreme << " pad=" << pad
            << " row=" << row << " x=" << x << " channel=" << j;
      }
      const ptrdiff_t gap_end = i + 1 == s.m * s.n ? 0 : x + 1 < s.n ? c_stride : 3 * c_stride;
      for (ptrdiff_t b = s.channels * ptrdiff_t(c_element); b < gap_end; ++b)
        ASSERT_EQ(out[at + b], 0x5a) << k.name << " wrote past its channels";
    }
  }
};

std::vector<const KernelInfo*> eligible() {
  std::vector<const KernelInfo*> rows;
  for (const KernelInfo& k : kernels())
    if (k.op == Op::dwconv && covers(detected_isa(), k.needs)) rows.push_back(&k);
  return rows;
}

TEST(Dwconv, KernelsOfThisMachine) {
  for (const KernelInfo& k : kernels())
    if (k.op == Op::dwconv)
      std::printf("%s: %s\n", k.name, covers(detected_isa(), k.needs) ? "tested" : "not tested: this CPU lacks the instructions");
  for (DType a : {DType::u8, DType::s8, DType::f32})
    EXPECT_NE(best_kernel(Op::dwconv, a, a == DType::f32 ? a : DType::s8, Isa::scalar), nullptr);
}

constexpr int64_t kChannels[] = {1, 3, 8, 16, 31, 32, 33, 64, 65, 100, 144};
constexpr int kPixels[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 17};

std::vector<DType> outputs(const KernelInfo& k) {
  if (k.a == DType::f32) return {DType::f32};
  return {DType::u8, DType::s8, DType::s32, DType::f32};
}

TEST(Dwconv, Windows) {
  Bench bench;
  for (const KernelInfo* k : eligible()) {
    size_t turn = 0;
    for (int kh : {1, 2, 3, 5, 7})
      for (int kw : {1, 2, 3, 5, 7})
        for (int stride = 1; stride <= 3; ++stride)
          for (int dilation = 1; dilation <= 2; ++dilation)
            for (int64_t channels : kChannels) {
              const size_t i = turn++;
              if (!test::taken(i)) continue;
              const std::vector<DType> outs = outputs(*k);
              const DType out = outs[i % outs.size()];
              const int n = kPixels[i / outs.size() % std::size(kPixels)];
              const int m = 1 + int(i % k->rows), stride_h = 1 + int(i / 2 % size_t(kh));
              bench.run(*k, {kh, kw, stride, dilation, channels, n, out, i % 3 == 0 && out != DType::s32, false, i % 5 == 0, m,
                             stride_h, 1, int(i / 3 % 4)});
              if (HasFatalFailure()) return;
            }
  }
}

TEST(Dwconv, EveryOutputOfSquareWindows) {
  Bench bench;
  for (const KernelInfo* k : eligible()) {
    int m = 0;  // goes round: 1 to 7, but no more than the kernel takes
    size_t turn = 0;
    for (DType out : outputs(*k))
      for (bool residual : {false, true})
        for (int size : {3, 5, 7})
          for (int stride : {1, 2})
            for (int64_t channels : kChannels)
              for (int n : kPixels) {
                if ((residual && out == DType::s32) || !test::taken(turn++)) continue;
                m = m % std::min<int>(k->rows, 7) + 1;
                bench.run(*k, {size, size, stride, 1, channels, n, out, residual, false, n % 3 == 0, m, stride});
                if (HasFatalFailure()) return;
              }
  }
}

// Windows of more rows and columns than a kernel keeps of them.
TEST(Dwconv, WideWindows) {
  Bench bench;
  for (const KernelInfo* k : eligible())
    for (const auto& [kh, kw, dilation] : {std::array{1, 300, 1}, {1, 90, 3}, {300, 1, 1}, {9, 20, 1}, {2, 3, 40}, {12, 9, 1}})
      for (DType out : {DType::f32, outputs(*k)[0]}) {
        bench.run(*k, {kh, kw, 2, dilation, 37, 5, out, false, false, false, std::min<int>(k->rows, 3), 1});
        if (HasFatalFailure()) return;
      }
}

TEST(Dwconv, Extremes) {
  Bench bench;
  for (const KernelInfo* k : eligible())
    for (DType out : outputs(*k))
      for (int size : {3, 4, 5, 9, 16})
        for (int64_t channels : {16, 100}) {
          bench.run(*k, {size, size, 1, 1, channels, 5, out, false, true, false, std::min<int>(k->rows, 3), 1});
          if (HasFatalFailure()) return;
        }
}

// Kernels may take short ways where sums times scales are small: everything is clamped here, and some of it is infinite or NaN.
TEST(Dwconv, ScalesOfAnySize) {
  Bench bench;
  for (const KernelInfo* k : eligible()) {
    if (k->a == DType::f32) continue;
    for (DType out : outputs(*k))
      for (float gain : {30.0f, 1e6f, 1e36f, std::numeric_limits<float>::infinity()})
        for (int stride : {1, 2})
          for (bool residual : {false, true}) {
            if (out == DType::s32) continue;
            bench.run(*k, {3, 3, stride, 1, 41, 12, out, residual, false, false, std::min<int>(k->rows, 3), stride, gain});
            if (HasFatalFailure()) return;
          }
  }
}

TEST(Dwconv, ResidualMayBeTheOutput) {
  for (const KernelInfo* k : eligible()) {
    if (k->a != DType::u8) continue;
    const int64_t channels = 77, n = 5;
    std::vector<uint8_t> a(size_t(channels * (n + 2) * 3)), r(size_t(channels * n)), out = r;
    std::vector<int8_t> w(size_t(channels * 9));
    Noise noise(5);
    noise.fill(a.data(), a.size()), noise.fill(r.data(), r.size()), noise.fill(w.data(), w.size());
    std::vector<float> scale(size_t(channels), 0.003f);
    const size_t bytes =
        panel_bytes(k->format, dwconv_slots(k->format, 3, 3)) * size_t((channels + k->format.nr - 1) / k->format.nr);
    GuardedBuffer packed(bytes);
    char* pw = packed.right(bytes, 64);
    pack(k->format, w.data(), DType::s8, channels, 3, 3, pw, nullptr);
    const void* rows[] = {a.data(), a.data() + channels * (n + 2), a.data() + 2 * channels * (n + 2)};
    EpilogueArgs e;
    e.scale = scale.data();
    e.out = DType::u8, e.lo = -128, e.hi = 127, e.zp = 128;
    e.residual = r.data(), e.residual_stride_bytes = channels, e.residual_scale = 0.5f, e.residual_zp = 3;
    DwconvArgs g;
    g.rows = rows, g.pixel_stride_bytes = channels, g.kh = g.kw = 3, g.n = n, g.channels = channels, g.w = pw;
    g.c = out.data(), g.c_stride_bytes = channels, g.epi = &e;
    k->dwconv(&g);
    g.c = r.data();
    k->dwconv(&g);
    EXPECT_EQ(out, r) << k->name;
  }
}

}  // namespace
}  // namespace octavo
