// Any bytes may be a calibration state, and any the state of an observer inside of one: loading ends with a Status, and what was
// loaded gives parameters or a Status.
// Run: fuzz_state CORPUS -max_total_time=60 -rss_limit_mb=2048
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "octavo/quantize.h"

namespace {

octavo::Prepared model() {
  octavo::Graph g;
  g.inputs = {{"x", octavo::DType::f32, {{1, ""}, {4, ""}}, true}};
  g.add_initializer("w", octavo::Tensor::from(octavo::DType::f32, {4, 2}, std::vector<float>{1, -1, 2, 0.5f, 3, -2, 0, 1}));
  g.add_node("MatMul", "fc", {"x", "w"});
  g.outputs = {{"fc", octavo::DType::f32, {}, false}};
  return *octavo::prepare(g, *octavo::Recipe::preset("x86_static"));
}

}  // namespace

// The first byte chooses: a whole file, or the state of one kind of observer (which the file's checksum would hide).
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const uint8_t kind = data[0] % 7;
  if (kind == 6) {
    octavo::Prepared prepared = model();
    if (octavo::add_calibration(prepared, bytes).ok()) (void)octavo::convert(prepared);
    return 0;
  }
  octavo::TensorConfig config;
  config.observer = octavo::ObserverKind(kind);
  const auto loaded = octavo::Observer::create(config.observer), total = octavo::Observer::create(config.observer);
  if (!loaded->load(bytes).ok()) return 0;
  const octavo::Expected<octavo::QParams> q = loaded->qparams(config);
  const float more[] = {-1, 0, 3};
  total->observe(more, 3, 5);
  if (!total->merge(*loaded).ok()) std::abort();
  (void)total->qparams(config);
  if (q && !(q->scale > 0)) std::abort();
  std::string again;
  loaded->save(again);
  std::string_view rest = again;
  const auto twin = octavo::Observer::create(config.observer);
  if (!twin->load(rest).ok() || !rest.empty()) std::abort();
  return 0;
}
