#include "zero_points.h"

#include <algorithm>
#include <array>

namespace octavo::net {
namespace {

// The parts in turn along an axis.
Tensor interleaved(const std::vector<Tensor>& parts, int64_t axis) {
  Shape shape = parts[0].shape();
  size_t inner = 1;
  for (size_t d = size_t(axis) + 1; d < shape.size(); ++d) inner *= size_t(shape[d]);
  shape[size_t(axis)] *= int64_t(parts.size());
  std::vector<int8_t> all(size_t(parts[0].count()) * parts.size());
  for (size_t p = 0; p < parts.size(); ++p)
    for (size_t i = 0; i < size_t(parts[0].count()); ++i)
      all[(i / inner * parts.size() + p) * inner + i % inner] = parts[p].as<int8_t>()[i];
  return Tensor::from(DType::s8, std::move(shape), all);
}

// x with each index of an axis `times` times: one operator for all who ask.
int repeated(Net& net, int x, int64_t axis, int64_t times, int64_t order) {
  Shape shape = net.values[x].shape;
  shape[size_t(axis)] *= times;
  for (const int user : net.values[x].users)
    if (net.ops[user].kind == Kind::repeat && net.values[net.ops[user].out[0]].shape == shape) return net.ops[user].out[0];
  Op op;
  op.kind = Kind::repeat;
  op.node.op_type = "Repeat";
  op.node.name = net.values[x].name + "/Repeat";
  op.groups = times;
  op.order = order;
  op.in = {x};
  op.out = {net.add_value(op.node.name, net.values[x].dtype, std::move(shape))};
  net.add_op(std::move(op));
  return net.ops.back().out[0];
}

}  // namespace

std::vector<Tensor> less_zero_points(const Tensor& w, const std::vector<int64_t>& zero, int64_t axis) {
  const bool none = std::all_of(zero.begin(), zero.end(), [](int64_t z) { return z == 0; });
  if (w.dtype() == DType::s8 && none) return {w};
  int64_t inner = 1;
  for (size_t d = size_t(axis) + 1; d < w.shape().size(); ++d) inner *= w.shape()[d];
  std::vector<int64_t> rest = integers(w);
  for (size_t i = 0; i < rest.size() && !none; ++i) rest[i] -= zero[zero.size() == 1 ? 0 : i / size_t(inner) % zero.size()];
  std::vector<Tensor> parts;
  do {
    std::vector<int8_t> part(rest.size());
    for (size_t i = 0; i < rest.size(); ++i) {
      part[i] = int8_t(std::clamp<int64_t>(rest[i], -128, 127));
      rest[i] -= part[i];
    }
    parts.push_back(Tensor::from(DType::s8, w.shape(), part));
  } while (std::any_of(rest.begin(), rest.end(), [](int64_t r) { return r != 0; }));
  return parts;
}

int take_parts(Net& net, int x, const std::vector<Tensor>& parts, int64_t order, Linear& linear) {
  const int64_t times = int64_t(parts.size());
  if (times == 1) {
    linear.weight = parts[0];
    return x;
  }
  Window& w = linear.window;
  const bool flat = net.values[x].shape.size() == 3;  // one spatial dimension: the window's columns
  if (linear.conv && !linear.spread && linear.groups > 1 && (flat ? w.dilation_w : w.dilation_h) == 1) {
    for (int64_t* size : flat ? std::array{&w.iw, &w.kw, &w.stride_w, &w.pad_left, &w.pad_right}
                              : std::array{&w.ih, &w.kh, &w.stride_h, &w.pad_top, &w.pad_bottom})
      *size *= times;
    linear.weight = interleaved(parts, 2);
    return repeated(net, x, 2, times, order);
  }
  linear.ic *= times;
  linear.weight = interleaved(parts, linear.spread ? 0 : linear.conv || linear.transposed ? 1 : 0);
  return repeated(net, x, linear.conv ? 1 : int64_t(net.values[x].shape.size()) - 1, times, order);
}

ByteWeights with_zero_points(const Tensor& w, const std::vector<int64_t>& zero, int64_t axis) {
  if (std::vector<Tensor> parts = less_zero_points(w, zero, axis); parts.size() == 1) return {parts[0], {}};
  const int shift = w.dtype() == DType::u8 ? 128 : 0;
  std::vector<int8_t> shifted;
  for (const int64_t v : integers(w)) shifted.push_back(int8_t(v - shift));
  ByteWeights r{Tensor::from(DType::s8, w.shape(), shifted), {}};
  for (const int64_t z : zero) r.zero.push_back(int32_t(z) - shift);
  return r;
}

}  // namespace octavo::net
