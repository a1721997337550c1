#include "ops/window.h"

#include <limits>

namespace octavo::ops {
namespace {

// Far above any real model, far below where the arithmetic below could overflow.
constexpr int64_t kMaxExtent = int64_t(1) << 30;

Status read_attributes(const Node& node, Window& w) {
  const struct {
    const char* name;
    int64_t* to;
    int64_t fallback, min;
  } lists[] = {{"strides", w.stride, 1, 1}, {"dilations", w.dilation, 1, 1}};
  for (int d = 0; d < w.rank; ++d)
    if (w.kernel[d] < 1 || w.kernel[d] > kMaxExtent) return fail(node, Code::invalid_argument, "bad kernel size");
  for (const auto& list : lists) {
    const auto* given = attribute<std::vector<int64_t>>(node, list.name);
    if (given && int(given->size()) != w.rank)
      return fail(node, Code::invalid_argument, "%zu %s for %d spatial dimensions", given->size(), list.name, w.rank);
    for (int d = 0; d < w.rank; ++d) {
      list.to[d] = given ? (*given)[size_t(d)] : list.fallback;
      if (list.to[d] < list.min || list.to[d] > kMaxExtent) return fail(node, Code::invalid_argument, "bad %s", list.name);
    }
  }
  const auto* pads = attribute<std::vector<int64_t>>(node, "pads");
  if (pads && int(pads->size()) != 2 * w.rank)
    return fail(node, Code::invalid_argument, "%zu pads for %d spatial dimensions", pads->size(), w.rank);
  for (int d = 0; d < w.rank; ++d) {
    w.pad_begin[d] = pads ? (*pads)[size_t(d)] : 0;
    w.pad_end[d] = pads ? (*pads)[size_t(d + w.rank)] : 0;
    if (w.pad_begin[d] < 0 || w.pad_end[d] < 0 || w.pad_begin[d] > kMaxExtent || w.pad_end[d] > kMaxExtent)
      return fail(node, Code::invalid_argument, "bad pads");
  }
  return {};
}

}  // namespace

Status resolve_window(const Node& node, bool ceil_mode, Window& w) {
  if (Status s = read_attributes(node, w); !s.ok()) return s;
  const std::string_view auto_pad = string_attribute(node, "auto_pad", "NOTSET");
  for (int d = 0; d < w.rank; ++d) {
    if (w.wide[d] > kMaxExtent) return fail(node, Code::unsupported, "a dimension of %lld", static_cast<long long>(w.wide[d]));
    const int64_t extent = (w.kernel[d] - 1) * w.dilation[d] + 1;
    if (auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER") {
      w.narrow[d] = (w.wide[d] + w.stride[d] - 1) / w.stride[d];
      const int64_t pad = std::max<int64_t>(0, (w.narrow[d] - 1) * w.stride[d] + extent - w.wide[d]);
      w.pad_begin[d] = auto_pad == "SAME_UPPER" ? pad / 2 : pad - pad / 2;
      w.pad_end[d] = pad - w.pad_begin[d];
      continue;
    }
    if (auto_pad == "VALID") w.pad_begin[d] = w.pad_end[d] = 0;
    else if (auto_pad != "NOTSET") return fail(node, Code::unsupported, "unknown auto_pad");
    const int64_t room = w.wide[d] + w.pad_begin[d] + w.pad_end[d] - extent;
    if (room < 0) return fail(node, Code::invalid_argument, "the window of %lld is larger than the padded input of %lld",
                              static_cast<long long>(extent), static_cast<long long>(room + extent));
    w.narrow[d] = (room + (ceil_mode ? w.stride[d] - 1 : 0)) / w.stride[d] + 1;
    // A window that would start in the padding at the end is dropped.
    if (ceil_mode && (w.narrow[d] - 1) * w.stride[d] >= w.wide[d] + w.pad_begin[d]) --w.narrow[d];
  }
  return {};
}

Status resolve_transposed_window(const Node& node, Window& w) {
  if (Status s = read_attributes(node, w); !s.ok()) return s;
  const std::string_view auto_pad = string_attribute(node, "auto_pad", "NOTSET");
  const auto* extra = attribute<std::vector<int64_t>>(node, "output_padding");
  const auto* wanted = attribute<std::vector<int64_t>>(node, "output_shape");
  if ((extra && int(extra->size()) != w.rank) || (wanted && int(wanted->size()) != w.rank))
    return fail(node, Code::invalid_argument, "output_padding and output_shape need one value for each spatial dimension");
  const bool same = auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER";
  if (!same && auto_pad != "NOTSET" && auto_pad != "VALID") return fail(node, Code::unsupported, "unknown auto_pad");
  for (int d = 0; d < w.rank; ++d) {
    const int64_t padding = extra ? (*extra)[size_t(d)] : 0;
    if (w.narrow[d] > kMaxExtent || padding < 0 || padding > kMaxExtent)
      return fail(node, Code::invalid_argument, "bad output_padding or dimension");
    const int64_t full = w.stride[d] * (w.narrow[d] - 1) + padding + (w.kernel[d] - 1) * w.dilation[d] + 1;
    if (wanted || same) {
      w.wide[d] = wanted ? (*wanted)[size_t(d)] : w.narrow[d] * w.stride[d];
      if (w.wide[d] < 0 || w.wide[d] > kMaxExtent) return fail(node, Code::invalid_argument, "bad output_shape");
      const int64_t pad = std::max<int64_t>(0, full - w.wide[d]);
      w.pad_begin[d] = auto_pad == "SAME_UPPER" ? pad / 2 : pad - pad / 2;
      w.pad_end[d] = pad - w.pad_begin[d];
    } else {
      if (auto_pad == "VALID") w.pad_begin[d] = w.pad_end[d] = 0;
      w.wide[d] = full - w.pad_begin[d] - w.pad_end[d];
    }
    if (w.wide[d] < 0) return fail(node, Code::invalid_argument, "the pads are larger than the output");
  }
  return {};
}

}  // namespace octavo::ops
