#include "window.h"

#include "ops/window.h"

namespace octavo::net {
namespace {

constexpr int64_t kMaxExtent = int64_t(1) << 24;  // keeps products of a size, a stride and a dilation far from overflow

}  // namespace

Expected<Window> window_of(const Node& node, const Shape& input, const Shape& output, const Shape& kernel) {
  const auto error = [&](const char* what) {
    return Status::error(Code::invalid_argument, "node '%s' (%s): %s; input %s, output %s, kernel %s", node.name.c_str(),
                         node.op_type.c_str(), what, to_string(input).c_str(), to_string(output).c_str(),
                         to_string(kernel).c_str());
  };
  const size_t n = kernel.size();
  if (n != 1 && n != 2)
    return Status::error(Code::unsupported, "node '%s': %s over %zu spatial dimensions; 1 or 2 are supported", node.name.c_str(),
                         node.op_type.c_str(), n);
  if (input.size() != n + 2 || output.size() != n + 2) return error("rank of input or output");
  const std::vector<int64_t> strides = node.get_ints("strides", std::vector<int64_t>(n, 1));
  const std::vector<int64_t> dilations = node.get_ints("dilations", std::vector<int64_t>(n, 1));
  std::vector<int64_t> pads = node.get_ints("pads", std::vector<int64_t>(2 * n, 0));
  const std::string auto_pad = node.get_string("auto_pad", "NOTSET");
  if (strides.size() != n || dilations.size() != n || pads.size() != 2 * n)
    return error("strides, dilations or pads have a wrong size");
  if (auto_pad != "NOTSET") pads.assign(2 * n, 0);

  int64_t before[2] = {0, 0}, after[2] = {0, 0}, in[2] = {1, 1}, k[2] = {1, 1}, stride[2] = {1, 1}, dilation[2] = {1, 1};
  for (size_t i = 0; i < n; ++i) {
    const size_t d = i + 2 - n;  // 1-D is the width
    in[d] = input[i + 2];
    k[d] = kernel[i];
    stride[d] = strides[i];
    dilation[d] = dilations[i];
    for (int64_t v : {in[d], k[d], stride[d], dilation[d], output[i + 2]})
      if (v < 1 || v > kMaxExtent) return error("a size, stride or dilation is out of range");
    if (pads[i] < 0 || pads[n + i] < 0 || pads[i] > kMaxExtent || pads[n + i] > kMaxExtent) return error("a pad is out of range");
    const int64_t extent = dilation[d] * (k[d] - 1) + 1;
    const int64_t total = (output[i + 2] - 1) * stride[d] + extent - in[d];
    if (auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER") {
      const int64_t sum = total > 0 ? total : 0;
      before[d] = auto_pad == "SAME_UPPER" ? sum / 2 : sum - sum / 2;
    } else {
      before[d] = pads[i];
    }
    after[d] = total - before[d];
    // The window may end before the image does (floor of the stride) but then the rest is cut, not padded.
    if (after[d] < 0) after[d] = 0;
    if ((in[d] + before[d] + after[d] - extent) / stride[d] + 1 != output[i + 2]) return error("the window does not fit");
    if (before[d] >= extent && before[d] > pads[i]) return error("the padding is larger than the kernel");
  }
  Window w;
  w.ih = in[0], w.iw = in[1], w.kh = k[0], w.kw = k[1];
  w.stride_h = stride[0], w.stride_w = stride[1], w.dilation_h = dilation[0], w.dilation_w = dilation[1];
  w.pad_top = before[0], w.pad_left = before[1], w.pad_bottom = after[0], w.pad_right = after[1];
  return w;
}

Expected<TransposedWindow> transposed_window_of(const Node& node, const Shape& input, const Shape& output, const Shape& kernel) {
  const auto error = [&](Code code, const char* what) {
    return Status::error(code, "node '%s' (%s): %s; input %s, output %s, kernel %s", node.name.c_str(), node.op_type.c_str(), what,
                         to_string(input).c_str(), to_string(output).c_str(), to_string(kernel).c_str());
  };
  const size_t n = kernel.size();
  if (n != 1 && n != 2) return error(Code::unsupported, "1 or 2 spatial dimensions are supported");
  if (input.size() != n + 2 || output.size() != n + 2) return error(Code::invalid_argument, "rank of input or output");
  ops::Window g;
  g.rank = int(n);
  std::copy(kernel.begin(), kernel.end(), g.kernel);
  std::copy(input.begin() + 2, input.end(), g.narrow);
  if (Status s = ops::resolve_transposed_window(node, g); !s.ok()) return s;
  int64_t before[2] = {0, 0}, after[2] = {0, 0}, extra[2] = {0, 0}, in[2] = {1, 1}, k[2] = {1, 1}, stride[2] = {1, 1},
          dilation[2] = {1, 1};
  for (size_t i = 0; i < n; ++i) {
    const size_t d = i + 2 - n;  // 1-D is the width
    in[d] = g.narrow[i];
    k[d] = g.kernel[i];
    stride[d] = g.stride[i];
    dilation[d] = g.dilation[i];
    for (int64_t v : {in[d], k[d], stride[d], dilation[d], g.wide[i]})
      if (v < 1 || v > kMaxExtent) return error(Code::unsupported, "a size, stride or dilation is out of range");
    if (g.wide[i] != output[i + 2]) return error(Code::invalid_argument, "the window does not fit");
    // What the output has beyond the products' reach is padding of the output, what it lacks padding of the window.
    const int64_t rest = (in[d] - 1) * stride[d] + dilation[d] * (k[d] - 1) + 1 - g.pad_begin[i] - g.wide[i];
    before[d] = g.pad_begin[i];
    after[d] = rest > 0 ? rest : 0;
    extra[d] = rest < 0 ? -rest : 0;
    if (before[d] < 0) return error(Code::unsupported, "an output_shape that adds pixels in front");
  }
  TransposedWindow w;
  w.ih = in[0], w.iw = in[1], w.kh = k[0], w.kw = k[1];
  w.stride_h = stride[0], w.stride_w = stride[1], w.dilation_h = dilation[0], w.dilation_w = dilation[1];
  w.pad_top = before[0], w.pad_left = before[1], w.pad_bottom = after[0], w.pad_right = after[1];
  w.output_pad_h = extra[0], w.output_pad_w = extra[1];
  return w;
}

}  // namespace octavo::net
