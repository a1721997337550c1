// An engine that owns its threads and its memory, and leaves the arithmetic to Octavo: a convolution, then a fully connected
// layer, both in int8, each compared with the reference that Octavo ships.
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "octavo/conv.h"
#include "octavo/gemm.h"
#include "octavo/reference.h"
#include "workers.h"

namespace {

// All that the engine's layers compute in: one block, handed out from the front. Plans never allocate when they run.
class Arena {
 public:
  template <class T>
  T* take(size_t count) {
    const size_t at = used_;
    used_ += (count * sizeof(T) + 63) / 64 * 64;
    if (used_ > sizeof memory_) return nullptr;
    return reinterpret_cast<T*>(memory_ + at);
  }
  size_t used() const { return used_; }

 private:
  alignas(64) unsigned char memory_[1 << 20];
  size_t used_ = 0;
};
Arena arena;

// Stands in for a trained model.
struct Noise {
  uint32_t state = 1;
  int8_t next() { return int8_t((state = state * 1664525u + 1013904223u) >> 24); }
};

int fail(const char* what, const octavo::Status& s) {
  std::fprintf(stderr, "%s: %s\n", what, s.text());
  return 1;
}

bool same(const char* what, const std::vector<uint8_t>& expected, const uint8_t* got) {
  const bool equal = std::memcmp(expected.data(), got, expected.size()) == 0;
  std::printf("  %zu bytes of output %s the reference\n", expected.size(), equal ? "equal" : "DIFFER from");
  if (!equal) std::fprintf(stderr, "%s differs from the reference\n", what);
  return equal;
}

}  // namespace

int main() {
  constexpr int kThreads = 2;
  constexpr int64_t kSize = 16, kIn = 8, kChannels = 32, kClasses = 10, kPixels = kSize * kSize;
  Workers workers(kThreads);
  Noise noise;

  // A 3x3 convolution with padding, ReLU, per-channel weight scales; u8 in, u8 out.
  std::vector<int8_t> conv_weights(kChannels * kIn * 9);
  for (int8_t& w : conv_weights) w = noise.next();
  std::array<float, kChannels> conv_scales, conv_bias;
  for (int i = 0; i < kChannels; ++i) {
    conv_scales[i] = 0.002f + 0.0001f * float(i);
    conv_bias[i] = 0.01f * float(i - 16);
  }
  octavo::ConvDesc conv;
  conv.window.ih = conv.window.iw = kSize;
  conv.window.kh = conv.window.kw = 3;
  conv.window.pad_top = conv.window.pad_left = conv.window.pad_bottom = conv.window.pad_right = 1;
  conv.ic = kIn;
  conv.oc = kChannels;
  conv.w = conv_weights.data();
  conv.numerics.a = {0.02f, 128};
  conv.numerics.w_scale = conv_scales.data();
  conv.numerics.w_scale_count = kChannels;
  conv.numerics.bias_f32 = conv_bias.data();
  conv.numerics.lo = 0;
  conv.numerics.out = octavo::DType::u8;
  conv.numerics.out_q = {0.1f, 0};
  const octavo::Expected<octavo::ConvPlan> conv_plan = octavo::ConvPlan::create(conv);
  if (!conv_plan) return fail("convolution", conv_plan.status());

  // A fully connected layer on its output, to f32 logits.
  constexpr int64_t kFeatures = kPixels * kChannels;
  std::vector<int8_t> fc_weights(kFeatures * kClasses);
  for (int8_t& w : fc_weights) w = noise.next();
  const float fc_scale = 0.001f;
  octavo::GemmDesc fc;
  fc.n = kClasses;
  fc.k = kFeatures;
  fc.b = fc_weights.data();
  fc.b_row_stride = kClasses;  // [k][n], row-major
  fc.b_col_stride = 1;
  fc.numerics.a = conv.numerics.out_q;
  fc.numerics.w_scale = &fc_scale;
  fc.numerics.w_scale_count = 1;
  fc.numerics.out = octavo::DType::f32;
  const octavo::Expected<octavo::GemmPlan> fc_plan = octavo::GemmPlan::create(fc);
  if (!fc_plan) return fail("fully connected layer", fc_plan.status());

  // The engine's memory: activations, and a workspace for each thread.
  uint8_t* image = arena.take<uint8_t>(kPixels * kIn);
  uint8_t* features = arena.take<uint8_t>(kFeatures);
  float* logits = arena.take<float>(kClasses);
  unsigned char* workspace = arena.take<unsigned char>(kThreads * conv_plan->workspace_bytes());
  if (!workspace) {
    std::fprintf(stderr, "the arena is too small\n");
    return 1;
  }
  for (int64_t i = 0; i < kPixels * kIn; ++i) image[i] = uint8_t(noise.next());

  octavo::ConvArgs conv_args;
  conv_args.batch = 1;
  conv_args.a = image;
  conv_args.c = features;
  const octavo::GemmArgs fc_args{1, features, kFeatures, logits, kClasses * 4, nullptr, 0};
  if (const octavo::Status s = conv_plan->run(conv_args, workspace, workers.parallel()); !s.ok()) return fail("convolution", s);
  if (const octavo::Status s = fc_plan->run(fc_args, nullptr, workers.parallel()); !s.ok())
    return fail("fully connected layer", s);

  std::printf("convolution 3x3, %dx%dx%d -> %d channels, on %d threads of the engine\n  %s\n", int(kSize), int(kSize), int(kIn),
              int(kChannels), kThreads, conv_plan->describe().c_str());
  std::vector<uint8_t> expected(kFeatures);
  octavo::ConvArgs conv_reference = conv_args;
  conv_reference.c = expected.data();
  octavo::reference::conv(conv, conv_reference);
  bool right = same("convolution", expected, features);

  std::printf("fully connected, %d -> %d\n  %s\n", int(kFeatures), int(kClasses), fc_plan->describe().c_str());
  expected.resize(kClasses * sizeof(float));
  octavo::GemmArgs fc_reference = fc_args;
  fc_reference.c = expected.data();
  octavo::reference::gemm(fc, fc_reference);
  right = same("fully connected layer", expected, reinterpret_cast<const uint8_t*>(logits)) && right;

  int best = 0;
  for (int i = 1; i < kClasses; ++i) best = logits[i] > logits[best] ? i : best;
  std::printf("the largest logit is %d; %zu bytes of the engine's own memory, none allocated by the plans while they ran\n", best,
              arena.used());
  return right ? 0 : 1;
}
