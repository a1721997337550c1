// Any bytes may be an ONNX model: importing, inferring, folding and compiling them ends with a graph, a program or a Status, and
// takes no more memory than a small multiple of the limits.
// Run: fuzz_onnx CORPUS -max_total_time=60 -rss_limit_mb=2048
#include <cstddef>
#include <cstdint>
#include <span>

#include "octavo/onnx.h"
#include "octavo/session.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  octavo::OnnxLimits limits;
  limits.max_tensor_bytes = size_t(1) << 24;
  octavo::Expected<octavo::Graph> graph = octavo::parse_onnx(std::as_bytes(std::span(data, size)), limits);
  if (!graph) return 0;
  (void)octavo::serialize_onnx(*graph);
  (void)octavo::shape_inputs(*graph);
  (void)octavo::infer_shapes(*graph, {});
  (void)octavo::fold_constants(*graph, {}, size_t(1) << 20);
  (void)octavo::fold_batch_norm(*graph);
  (void)octavo::sort_topologically(*graph);
  (void)octavo::Program::compile(*graph);
  return 0;
}
