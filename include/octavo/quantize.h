// prepare -> calibrate -> convert, the words of PyTorch's PT2E flow.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/graph.h"
#include "octavo/recipe.h"
#include "octavo/session.h"

namespace octavo {

// Sees the values of one tensor and proposes QParams. Mergeable: observing parts in any order and merging them equals
// observing the whole, bit for bit. NaN and infinities are ignored; it is an error if nothing else was seen.
//   min_max         the range of the values
//   moving_average  in the order of the sample numbers: lo += averaging * (lo of the sample - lo), hi likewise, from the first one's
//   histogram       the range [lo, hi] that minimizes the squared quantization error, each end by itself
//   mse             the same with both ends shrunk by one factor
//   percentile      from the (100 - percentile)-th to the percentile-th percentile
//   kl              ends shrunk by one factor: least Kullback-Leibler divergence of the quantized distribution from the clipped one
// The last four keep one and the same histogram: qparams() takes any of their kinds, and min_max, whichever was created.
class Observer {
 public:
  virtual ~Observer() = default;
  // sample: its number among all samples, in all parts; only moving_average depends on it.
  virtual void observe(const float* data, size_t count, uint64_t sample = 0) = 0;
  virtual Status merge(const Observer& other) = 0;
  virtual Expected<QParams> qparams(const TensorConfig& config) const = 0;  // error if nothing was observed
  // The state as bytes (little-endian), appended; and back. load() takes its bytes off the front of `in`, whatever they are: an
  // error says what no observer writes.
  virtual void save(std::string& out) const = 0;
  virtual Status load(std::string_view& in) = 0;
  static std::unique_ptr<Observer> create(ObserverKind kind);
};

// For a node of the normalized graph, whether it is computed in int8, or why not.
struct Annotation {
  std::string node, op_type;
  bool quantized = false;
  std::string reason;   // where not quantized
};

// A float graph, normalized (constants and batch norm folded, opset at least 13) and annotated. The values observed are
// those to be quantized, except where a value's elements are those of another one, with which it shares its parameters.
class Prepared {
 public:
  Prepared(Prepared&&) noexcept;
  Prepared& operator=(Prepared&&) noexcept;
  ~Prepared();
  const Graph& graph() const noexcept;
  const std::vector<Annotation>& annotations() const noexcept;
  std::vector<std::string> observed_values() const;

 private:
  struct Impl;
  explicit Prepared(std::unique_ptr<Impl>) noexcept;
  std::unique_ptr<Impl> impl_;
  friend Expected<Prepared> prepare(const Graph&, const Recipe&);
  friend Status calibrate(Prepared&, const std::vector<std::map<std::string, Tensor>>&, int,
                          const std::function<void(size_t, size_t)>&, int64_t);
  friend Expected<std::string> save_calibration(const Prepared&);
  friend Status add_calibration(Prepared&, std::string_view);
  friend Expected<Graph> convert(const Prepared&);
  friend Expected<Graph> prepare_qat(const Prepared&);
};

// Errors: a graph that is already quantized; a config that no kernel honours; an operator of an old opset that cannot be
// rewritten for opset 13. They name the node.
Expected<Prepared> prepare(const Graph& graph, const Recipe& recipe);

// Runs the samples (each: one tensor per graph input) through the float graph on `threads` threads and shows every
// observed value to its observer. The result does not depend on the number of threads, nor (but for moving averages) on the order
// of the samples. May be called again with more samples. progress(done, total) after each sample, one call at a time, on any of
// the threads. first: the number of samples[0] among all samples; -1: behind those seen already.
// Errors name the sample; nothing counts as observed then.
Status calibrate(Prepared& prepared, const std::vector<std::map<std::string, Tensor>>& samples, int threads = 1,
                 const std::function<void(size_t, size_t)>& progress = {}, int64_t first = -1);

// What was observed, as the bytes of a state file; and its addition to what another Prepared of the same graph and recipe has
// observed: parts of the samples, observed anywhere and added in any order, give the bits of one run over all of them.
// Version 1, little-endian: "OCTCALIB", u32 version, u64 FNV-1a of graph and configs, the ranges of sample numbers, the observers by
// value name, u64 FNV-1a of all that. Errors of add_calibration: bytes that are no such file, another model or recipe, samples
// that were observed already. After an error nothing is added.
Expected<std::string> save_calibration(const Prepared& prepared);
Status add_calibration(Prepared& prepared, std::string_view state);

// A standard ONNX QDQ model: s8 weights and s32 biases as initializers behind DequantizeLinear, QuantizeLinear-
// DequantizeLinear pairs around the activations; graph inputs and outputs stay float. A value `v` becomes `v_quantized` with
// `v_scale` and `v_zero_point`. The scale of a bias is that of the input times that of the weights; where a bias would not fit
// int32 so, its channel's weight scale is enlarged. Errors name a value that calibration never saw.
Expected<Graph> convert(const Prepared& prepared);

// The same model in the form to train: the float weights stay initializers, behind QuantizeLinear and DequantizeLinear of their own;
// biases stay float. Compiled with CompileOptions::simulate it is the fake-quant forward pass; without, the INT8 model, whose
// outputs are the same within one step. Dynamic ranges have no such form: their nodes are as convert() makes them.
Expected<Graph> prepare_qat(const Prepared& prepared);

}  // namespace octavo
