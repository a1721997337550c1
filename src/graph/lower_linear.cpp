// Conv, Gemm and MatMul with constant weights; pools: steps that run a plan.
#include "octavo/conv.h"
#include "octavo/conv_transpose.h"
#include "octavo/gemm.h"
#include "step.h"

namespace octavo {
namespace {

using net::Linear;
using net::Net;

template <class Plan>
class WindowStep : public Step {
 public:
  WindowStep(Plan plan, int64_t batch) : plan_(std::move(plan)), batch_(batch) { scratch_bytes = plan_.workspace_bytes(); }
  Status run(const Frame& f) const noexcept override {
    ConvArgs args;
    args.batch = batch_;
    args.a = f.at(in[0]);
    args.a_pixel_stride_bytes = in[0].stride;
    args.c = f.at(out[0]);
    args.c_pixel_stride_bytes = out[0].stride;
    if (in.size() > 1) {
      args.residual = f.at(in[1]);
      args.residual_pixel_stride_bytes = in[1].stride;
    }
    if (f.parallel.threads > 1) return plan_.run(args, f.scratch, f.parallel);
    return plan_.run(args, 0, plan_.tiles(batch_), f.scratch);
  }

 private:
  Plan plan_;
  int64_t batch_;
};

class GemmStep : public Step {
 public:
  GemmStep(GemmPlan plan, int64_t m, size_t a_size, size_t c_size, size_t r_size)
      : plan_(std::move(plan)), m_(m), a_size_(a_size), c_size_(c_size), r_size_(r_size) {
    scratch_bytes = plan_.workspace_bytes();
  }
  Status run(const Frame& f) const noexcept override {
    const auto stride = [](const Place& p, int64_t n, size_t size) { return p.stride != 0 ? p.stride : ptrdiff_t(n) * ptrdiff_t(size); };
    GemmArgs args;
    args.m = m_;
    args.a = f.at(in[0]);
    args.a_stride_bytes = stride(in[0], plan_.k(), a_size_);
    args.c = f.at(out[0]);
    args.c_stride_bytes = stride(out[0], plan_.n(), c_size_);
    if (in.size() > 1) {
      args.residual = f.at(in[1]);
      args.residual_stride_bytes = stride(in[1], plan_.n(), r_size_);
    }
    if (f.parallel.threads > 1) return plan_.run(args, f.scratch, f.parallel);
    return plan_.run(args, 0, plan_.tiles(m_), f.scratch);
  }

 private:
  GemmPlan plan_;
  int64_t m_;
  size_t a_size_, c_size_, r_size_;
};

Numerics numerics_of(const Net& net, const net::Op& op) {
  const Linear& linear = *op.linear;
  Numerics n;
  if (!op.in_q.empty()) {
    n.a = op.in_q[0];
    n.w_scale = linear.w_scale.data();
    n.w_scale_count = int64_t(linear.w_scale.size());
  }
  if (!linear.bias.empty()) n.bias_f32 = linear.bias.data();
  if (!linear.bias_s32.empty()) n.bias_s32 = linear.bias_s32.data();
  n.out = net.values[op.out[0]].dtype;
  n.out_q = op.out_q;
  n.function = op.function;
  n.lo = op.lo;
  n.hi = op.hi;
  n.has_residual = op.in.size() > 1;
  if (n.has_residual) {
    n.residual_dtype = net.values[op.in[1]].dtype;
    if (op.in_q.size() > 1) n.residual_q = op.in_q[1];
  }
  return n;
}

template <class Plan, class Desc>
Expected<std::unique_ptr<Step>> window_step(const Desc& desc, int64_t batch, NodeReport& report) {
  Expected<Plan> plan = Plan::create(desc);
  if (!plan) return plan.status();
  report.kernel = plan->kernel().name;
  report.macs = plan->macs() * batch;
  const size_t packed = plan->packed_bytes();
  std::unique_ptr<Step> step = std::make_unique<WindowStep<Plan>>(*std::move(plan), batch);
  step->work = report.macs;
  step->weight_bytes = packed;
  return step;
}

// The descriptor of a convolution but its window.
template <class Desc>
Desc conv_desc(const Net& net, const net::Op& op, Isa isa) {
  const Linear& linear = *op.linear;
  Desc desc;
  desc.ic = linear.ic;
  desc.oc = linear.oc;
  desc.groups = linear.groups;
  desc.a = net.values[op.in[0]].dtype;
  desc.w = linear.weight.data();
  desc.numerics = numerics_of(net, op);
  desc.isa = isa;
  desc.use_isa = true;
  return desc;
}

Expected<std::unique_ptr<Step>> lower_conv(const Net& net, const net::Op& op, Isa isa, NodeReport& report) {
  const Linear& linear = *op.linear;
  const int64_t batch = net.values[op.in[0]].shape[0];
  if (linear.spread) {
    ConvTransposeDesc desc = conv_desc<ConvTransposeDesc>(net, op, isa);
    desc.window = *linear.spread;
    return window_step<ConvTransposePlan>(desc, batch, report);
  }
  ConvDesc desc = conv_desc<ConvDesc>(net, op, isa);
  desc.window = linear.window;
  if (net.compact) desc.choice.winograd = false;
  if (linear.groups > 1 && linear.groups == linear.ic) {
    Expected<std::unique_ptr<Step>> step = window_step<DepthwisePlan>(desc, batch, report);
    if (step || step.status().code() != Code::unsupported) return step;
  }
  return window_step<ConvPlan>(desc, batch, report);
}

Expected<GemmPlan> gemm_plan(const Net& net, const net::Op& op, Isa isa) {
  const Linear& linear = *op.linear;
  GemmDesc desc;
  desc.n = linear.oc;
  desc.k = linear.ic;
  desc.a = net.values[op.in[0]].dtype;
  desc.b = linear.weight.data();
  desc.b_row_stride = linear.transposed ? 1 : linear.oc;
  desc.b_col_stride = linear.transposed ? linear.ic : 1;
  desc.numerics = numerics_of(net, op);
  desc.isa = isa;
  desc.use_isa = true;
  return GemmPlan::create(desc);
}

Expected<std::unique_ptr<Step>> lower_gemm(const Net& net, const net::Op& op, Isa isa, NodeReport& report) {
  const Linear& linear = *op.linear;
  const int64_t m = product(net.values[op.in[0]].shape) / linear.ic;
  Expected<GemmPlan> plan = gemm_plan(net, op, isa);
  if (!plan) return plan.status();
  report.kernel = plan->kernel().name;
  report.macs = m * linear.oc * linear.ic;
  const size_t packed = plan->packed_bytes();
  const auto size = [&](int v) { return size_of(net.values[v].dtype); };
  std::unique_ptr<Step> step =
      std::make_unique<GemmStep>(*std::move(plan), m, size(op.in[0]), size(op.out[0]), op.in.size() > 1 ? size(op.in[1]) : 0);
  step->work = report.macs;
  step->weight_bytes = packed;
  return step;
}

// Products of the same rows: the tiles of all are one range, so that threads are woken once.
class LinearsStep : public Step {
 public:
  LinearsStep(std::vector<GemmPlan> plans, std::vector<size_t> c_sizes, int64_t m, size_t a_size)
      : plans_(std::move(plans)), c_sizes_(std::move(c_sizes)), m_(m), a_size_(a_size) {
    ends_.push_back(0);
    for (const GemmPlan& plan : plans_) {
      ends_.push_back(ends_.back() + plan.tiles(m));
      scratch_bytes = std::max(scratch_bytes, plan.workspace_bytes());
    }
  }
  Status run(const Frame& f) const noexcept override {
    split(f, ends_.back(), f.parallel.threads > 1 ? std::max<int64_t>(1, ends_.back() / (4 * f.parallel.threads)) : ends_.back(),
          [&](int64_t begin, int64_t end) {
            for (size_t p = 0; p < plans_.size(); ++p) run_part(f, p, std::max(begin, ends_[p]), std::min(end, ends_[p + 1]));
          });
    return {};
  }

 private:
  void run_part(const Frame& f, size_t p, int64_t begin, int64_t end) const noexcept {
    if (begin >= end) return;
    const GemmPlan& plan = plans_[p];
    GemmArgs args;
    args.m = m_;
    args.a = f.at(in[0]);
    args.a_stride_bytes = ptrdiff_t(size_t(plan.k()) * a_size_);
    args.c = f.at(out[p]);
    args.c_stride_bytes = ptrdiff_t(size_t(plan.n()) * c_sizes_[p]);
    // What run() checks was checked when the plans were made; a GemmPlan needs no workspace.
    (void)plan.run(args, begin - ends_[p], end - ends_[p], nullptr);
  }

  std::vector<GemmPlan> plans_;
  std::vector<size_t> c_sizes_;
  std::vector<int64_t> ends_;  // of the plans' tiles
  int64_t m_;
  size_t a_size_;
};

}  // namespace

Expected<std::unique_ptr<Step>> lower_linears(const Net& net, const net::Op& op, Isa isa, NodeReport& report) {
  const int64_t m = product(net.values[op.in[0]].shape) / op.parts[0].linear->ic;
  std::vector<GemmPlan> plans;
  std::vector<size_t> c_sizes;
  size_t packed = 0;
  for (const net::Op& part : op.parts) {
    Expected<GemmPlan> plan = gemm_plan(net, part, isa);
    if (!plan) return plan.status();
    if (plan->workspace_bytes() > 0) return Status::error(Code::internal, "a GemmPlan asks for a workspace");
    report.kernel = plan->kernel().name;
    report.macs += m * plan->n() * plan->k();
    packed += plan->packed_bytes();
    c_sizes.push_back(size_of(net.values[part.out[0]].dtype));
    plans.push_back(*std::move(plan));
  }
  std::unique_ptr<Step> step =
      std::make_unique<LinearsStep>(std::move(plans), std::move(c_sizes), m, size_of(net.values[op.in[0]].dtype));
  step->work = report.macs;
  step->weight_bytes = packed;
  return step;
}

Expected<std::unique_ptr<Step>> lower_linear(const Net& net, const net::Op& op, Isa isa, NodeReport& report) {
  if (op.in_q.empty() && op.linear->weight.dtype() == DType::s8) return lower_weights(net, op, isa, report);
  Expected<std::unique_ptr<Step>> step = op.linear->conv ? lower_conv(net, op, isa, report) : lower_gemm(net, op, isa, report);
  if (step && op.in.size() > 1 && net.values[op.in[1]].dtype == net.values[op.out[0]].dtype) (*step)->in_place = 1;
  return step;
}

Expected<std::unique_ptr<Step>> lower_pool(const Net& net, const net::Op& op, Isa isa) {
  const net::Value& x = net.values[op.in[0]];
  PoolDesc desc;
  desc.kind = op.pool->kind;
  desc.window = op.pool->window;
  desc.channels = x.shape.back();
  desc.dtype = x.dtype;
  desc.count_include_pad = op.pool->count_include_pad;
  if (!op.in_q.empty()) {
    desc.in_q = op.in_q[0];
    desc.out_q = op.out_q;
  }
  desc.isa = isa;
  desc.use_isa = true;
  Expected<PoolPlan> plan = PoolPlan::create(desc);
  if (!plan) return plan.status();
  std::unique_ptr<Step> step = std::make_unique<WindowStep<PoolPlan>>(*std::move(plan), x.shape[0]);
  step->work = product(net.values[op.out[0]].shape) * desc.window.kh * desc.window.kw;
  return step;
}

}  // namespace octavo
