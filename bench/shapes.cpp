#include "shapes.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>

namespace octavo::bench {
namespace {

// xorshift: contents matter little, but all-zero operands would hide errors.
struct Noise {
  uint64_t state = 0x9e3779b97f4a7c15u;
  uint32_t next() {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return uint32_t(state >> 32);
  }
  void fill(Bytes& bytes, DType t) {
    char* p = bytes.get();
    if (t != DType::f32) {
      for (size_t i = 0; i < bytes.size(); ++i) p[i] = char(next());
      return;
    }
    for (size_t i = 0; i + 4 <= bytes.size(); i += 4) {
      const float f = float(int32_t(next())) * 0x1p-31f;
      std::memcpy(p + i, &f, 4);
    }
  }
};

// Types and residual from the last word of a line, or why not.
std::optional<std::string> parse_types(std::string_view word, Shape& s) {
  std::string_view dst = word;
  if (dst.ends_with("+add")) s.residual = true, dst.remove_suffix(4);
  if (dst.starts_with("s8-")) s.a = DType::s8, dst.remove_prefix(3);
  const DType types[] = {DType::u8, DType::s8, DType::s32, DType::f32};
  const DType* found = std::find_if(types, types + 4, [&](DType t) { return dst == name_of(t); });
  if (found != types + 4) {
    s.out = *found;
  } else if (dst == "fp32" && s.a == DType::u8) {
    s.a = s.out = DType::f32;
  } else {
    return "'" + std::string(word) + "' is none of u8, s8, s32, f32, fp32, with s8- before or +add after it";
  }
  if (s.residual && s.out == DType::s32) return "s32 takes no +add";
  return {};
}

// One line of the file, or why it is none.
std::optional<std::string> parse(const std::string& line, Shape& s) {
  std::istringstream in(line);
  std::string kind, word;
  in >> kind >> s.name;
  if (kind != "gemm" && kind != "conv" && kind != "matmul") return "'" + kind + "' is none of gemm, conv, matmul";
  s.conv = kind == "conv", s.matmul = kind == "matmul";
  std::vector<std::string> words;
  while (in >> word) words.push_back(word);
  if (s.matmul && words.size() > 4) {
    if (words[4] != "kn" && words[4] != "nk") return "'" + words[4] + "' is neither kn nor nk";
    s.b_is_nk = words[4] == "nk";
    words.erase(words.begin() + 4);
  }
  const size_t dims = s.conv ? 14 : s.matmul ? 4 : 3;
  if (words.size() != dims + 1)
    return kind + " takes a name, " + std::to_string(dims) + " dimensions and a type: there are " + std::to_string(words.size()) +
           " words after the name";
  std::vector<int64_t> d;
  for (size_t i = 0; i < dims; ++i) {
    char* end = nullptr;
    const long long v = std::strtoll(words[i].c_str(), &end, 10);
    if (words[i].empty() || *end || v < 0 || v > 1'000'000'000) return "'" + words[i] + "' is no dimension";
    d.push_back(v);
  }
  if (std::optional<std::string> error = parse_types(words.back(), s)) return error;
  if (!s.conv) {
    if (s.matmul) s.batch = d[0], d.erase(d.begin());
    s.m = d[0], s.n = d[1], s.k = d[2];
    if (s.batch < 1 || s.m < 1 || s.n < 1 || s.k < 1) return "B, M, N and K must be at least 1";
    return {};
  }
  s.batch = d[0], s.ic = d[1], s.oc = d[4], s.groups = d[13];
  s.window = {d[2], d[3], d[5], d[6], d[7], d[8], d[11], d[12], d[9], d[10], d[9], d[10]};
  const Window& w = s.window;
  for (int64_t v : {s.batch, s.ic, s.oc, s.groups, w.ih, w.iw, w.kh, w.kw, w.stride_h, w.stride_w, w.dilation_h, w.dilation_w})
    if (v < 1) return "a dimension other than padding is 0";
  if (s.ic % s.groups || s.oc % s.groups) return "G does not divide IC and OC";
  if (w.dilation_h * (w.kh - 1) >= w.ih + 2 * w.pad_top || w.dilation_w * (w.kw - 1) >= w.iw + 2 * w.pad_left)
    return "the kernel is larger than the padded input";
  return {};
}

}  // namespace

std::string Shape::label() const {
  return std::string(conv     ? "conv/"
                     : matmul ? "matmul/"
                              : "gemm/") +
         name + ":" + (a == DType::s8 ? "s8-" : "") + (a == DType::f32 ? "fp32" : name_of(out)) + (residual ? "+add" : "");
}

bool read_shapes(const char* file, std::vector<Shape>& shapes) {
  std::ifstream in(file);
  std::string line;
  if (!in) {
    std::fprintf(stderr, "%s: cannot be opened\n", file);
    return false;
  }
  for (int number = 1; std::getline(in, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    Shape shape;
    if (const std::optional<std::string> error = parse(line, shape)) {
      std::fprintf(stderr, "%s:%d: %s\n", file, number, error->c_str());
      return false;
    }
    shapes.push_back(std::move(shape));
  }
  if (!in.eof() || shapes.empty()) {
    std::fprintf(stderr, "%s: %s\n", file, shapes.empty() ? "no shapes in it" : "cannot be read to its end");
    return false;
  }
  return true;
}

Bytes::Bytes(size_t size) : data_(static_cast<char*>(std::aligned_alloc(64, (size + 63) / 64 * 64))), size_(size) {
  if (size) std::memset(data_.get(), 0, size);
}

Operands::Operands(const Shape& s)
    : a(size_t(s.inputs()) * size_of(s.a)),
      w(size_t(s.weights()) * size_of(s.weight())),
      c(size_t(s.rows() * s.columns()) * size_of(s.out)) {
  Noise noise;
  noise.fill(a, s.a);
  noise.fill(w, s.weight());
  if (s.residual) noise.fill(c, s.out);
  for (int64_t j = 0; j < s.columns(); ++j) {
    w_scale.push_back(0.001f + float(noise.next() % 1000) * 1e-5f);
    bias.push_back(float(int32_t(noise.next() % 2001) - 1000) * 1e-3f);
  }
  numerics.a = {0.02f, s.a == DType::f32 ? 0 : 7};
  numerics.w_scale = w_scale.data();
  numerics.w_scale_count = s.columns();
  numerics.bias_f32 = bias.data();
  numerics.out = s.out;
  numerics.out_q = {0.02f * 0.005f * 100 * std::sqrt(float(s.depth())), s.out == DType::s8 ? -7 : 7};
  numerics.lo = 0;
  numerics.has_residual = s.residual;
  numerics.residual_dtype = s.out;
  numerics.residual_q = {numerics.out_q.scale * 0.5f, 7};
}

}  // namespace octavo::bench
