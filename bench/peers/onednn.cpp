#include "onednn.h"

#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

namespace octavo::bench {

using dnnl::memory;
using Tag = memory::format_tag;
using Type = memory::data_type;

namespace {

Type type_of(DType t) {
  switch (t) {
    case DType::u8:
      return Type::u8;
    case DType::s8:
      return Type::s8;
    case DType::s32:
      return Type::s32;
    default:
      return Type::f32;
  }
}

dnnl::engine& engine() {
  static dnnl::engine e(dnnl::engine::kind::cpu, 0);
  return e;
}

memory filled(const memory::desc& desc, const void* data) {
  memory m(desc, engine());
  std::memcpy(m.get_data_handle(), data, desc.get_size());
  return m;
}

}  // namespace

struct OneDnnCase::Primitive {
  dnnl::stream stream{engine()};
  dnnl::primitive run;
  std::unordered_map<int, memory> args;
  std::string implementation;

  // Scales, zero points and post-ops. channel_mask: the weights' dimensions that a scale belongs to.
  dnnl::primitive_attr attributes(const Shape& s, const Numerics& n, int channel_mask) {
    dnnl::primitive_attr attr;
    const bool quantized = s.a != DType::f32 && s.out != DType::s32;
    const auto scale = [&](int arg, int mask, const float* values, int64_t count) {
      attr.set_scales_mask(arg, mask);
      args[DNNL_ARG_ATTR_SCALES | arg] = filled({{count}, Type::f32, Tag::a}, values);
    };
    const auto zero_point = [&](int arg, int32_t value) {
      attr.set_zero_points_mask(arg, 0);
      args[DNNL_ARG_ATTR_ZERO_POINTS | arg] = filled({{1}, Type::s32, Tag::a}, &value);
    };
    if (s.a != DType::f32) zero_point(DNNL_ARG_SRC, n.a.zero_point);
    if (quantized) {
      scale(DNNL_ARG_SRC, 0, &n.a.scale, 1);
      scale(DNNL_ARG_WEIGHTS, channel_mask, n.w_scale, n.w_scale_count);
    }
    if (s.out == DType::u8 || s.out == DType::s8) {
      scale(DNNL_ARG_DST, 0, &n.out_q.scale, 1);
      zero_point(DNNL_ARG_DST, n.out_q.zero_point);
    }
    dnnl::post_ops post;
    if (s.residual && s.out == DType::f32) post.append_sum(1.0f);
    if (s.residual && s.out != DType::f32) post.append_sum(n.residual_q.scale, n.residual_q.zero_point);
    if (s.out != DType::s32) post.append_eltwise(dnnl::algorithm::eltwise_relu, 0, 0);
    attr.set_post_ops(post);
    return attr;
  }

  template <class Desc>
  void prepare(const Desc& desc, const memory::desc& plain_weights, const Operands& o, void* c) {
    implementation = desc.impl_info_str();
    run = dnnl::primitive(desc);
    memory packed(desc.weights_desc(), engine()), plain(plain_weights, engine(), o.w.get());
    dnnl::reorder(plain, packed).execute(stream, plain, packed);
    stream.wait();
    args[DNNL_ARG_WEIGHTS] = packed;
    args[DNNL_ARG_SRC] = memory(desc.src_desc(), engine(), o.a.get());
    args[DNNL_ARG_DST] = memory(desc.dst_desc(), engine(), c);
  }

  // Raw accumulators take a bias in their own units.
  Type set_bias(const Shape& s, const Operands& o, const memory::dims& dims) {
    const memory::desc desc(dims, s.out == DType::s32 ? Type::s32 : Type::f32,
                            dims.size() == 1   ? Tag::a
                            : dims.size() == 2 ? Tag::ab
                                               : Tag::abc);
    std::vector<int32_t> units;
    for (size_t j = 0; j < o.bias.size() && s.out == DType::s32; ++j)
      units.push_back(int32_t(quantize_bias(o.bias[j], o.numerics.a.scale, o.w_scale[j])));
    args[DNNL_ARG_BIAS] = filled(desc, units.empty() ? static_cast<const void*>(o.bias.data()) : units.data());
    return desc.get_data_type();
  }

  void make_gemm(const Shape& s, const Operands& o, void* c) {
    const memory::dims weights{s.k, s.n}, bias{1, s.n};
    const dnnl::matmul::primitive_desc desc(engine(), {{s.m, s.k}, type_of(s.a), Tag::ab},
                                            {weights, type_of(s.weight()), Tag::any}, {bias, set_bias(s, o, bias), Tag::ab},
                                            {{s.m, s.n}, type_of(s.out), Tag::ab}, attributes(s, o.numerics, 1 << 1));
    prepare(desc, {weights, type_of(s.weight()), Tag::ab}, o, c);
  }

  // Both operands are used as they are.
  void make_matmul(const Shape& s, const Operands& o, void* c) {
    const memory::dims bias{1, 1, s.n};
    const dnnl::matmul::primitive_desc desc(engine(), {{s.batch, s.m, s.k}, type_of(s.a), Tag::abc},
                                            {{s.batch, s.k, s.n}, type_of(s.weight()), s.b_is_nk ? Tag::acb : Tag::abc},
                                            {bias, set_bias(s, o, bias), Tag::abc},
                                            {{s.batch, s.m, s.n}, type_of(s.out), Tag::abc}, attributes(s, o.numerics, 1 << 2));
    prepare(desc, desc.weights_desc(), o, c);
  }

  void make_conv(const Shape& s, const Operands& o, void* c) {
    const Window& w = s.window;
    const bool grouped = s.groups > 1;
    const memory::dims weights =
        grouped ? memory::dims{s.groups, s.oc / s.groups, s.ic / s.groups, w.kh, w.kw} : memory::dims{s.oc, s.ic, w.kh, w.kw};
    const dnnl::convolution_forward::primitive_desc desc(
        engine(), dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct,
        {{s.batch, s.ic, w.ih, w.iw}, type_of(s.a), Tag::nhwc}, {weights, type_of(s.weight()), Tag::any},
        {{s.oc}, set_bias(s, o, {s.oc}), Tag::a}, {{s.batch, s.oc, w.oh(), w.ow()}, type_of(s.out), Tag::nhwc},
        {w.stride_h, w.stride_w}, {w.dilation_h - 1, w.dilation_w - 1}, {w.pad_top, w.pad_left}, {w.pad_bottom, w.pad_right},
        attributes(s, o.numerics, grouped ? 3 : 1));
    prepare(desc, {weights, type_of(s.weight()), grouped ? Tag::goihw : Tag::oihw}, o, c);
  }
};

OneDnnCase::OneDnnCase(const Shape& s, const Operands& operands)
    : c(operands.c.size()), primitive_(std::make_unique<Primitive>()) {
  if (s.residual) std::memcpy(c.get(), operands.c.get(), c.size());
  try {
    s.conv     ? primitive_->make_conv(s, operands, c.get())
    : s.matmul ? primitive_->make_matmul(s, operands, c.get())
               : primitive_->make_gemm(s, operands, c.get());
  } catch (const dnnl::error& e) {
    error_ = e.what();
  }
}
OneDnnCase::~OneDnnCase() = default;

void OneDnnCase::run() {
  primitive_->run.execute(primitive_->stream, primitive_->args);
  primitive_->stream.wait();
}

std::string OneDnnCase::describe() const { return primitive_->implementation; }

std::string onednn_version() {
  const dnnl_version_t* v = dnnl_version();
  return "oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
}

}  // namespace octavo::bench
