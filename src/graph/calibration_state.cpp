// Calibration states: what the observers of a Prepared have seen, as the bytes of a file.
#include <algorithm>
#include <new>

#include "branches.h"
#include "bytes.h"

namespace octavo {
namespace {

constexpr std::string_view kMagic = "OCTCALIB";
constexpr uint32_t kVersion = 1;

void put_text(std::string& out, std::string_view text) {
  put(out, uint32_t(text.size()));
  out.append(text);
}

bool take_text(std::string_view& in, std::string_view& text) {
  uint32_t size = 0;
  if (!take(in, size) || size > in.size()) return false;
  text = in.substr(0, size);
  in.remove_prefix(size);
  return true;
}

// Of all that decides what the observers see: nodes, constants, and which values are observed how.
void add_fingerprint(Fnv& fnv, const Graph& graph, const QuantPlan& plan) {
  for (const ValueInfo& input : graph.inputs) fnv.add(input.name);
  for (const Node& node : graph.nodes) {
    fnv.add(node.op_type);
    for (const std::string& input : node.inputs) fnv.add(input);
    for (const std::string& output : node.outputs) fnv.add(output);
  }
  std::vector<const std::pair<const std::string, Tensor>*> constants;
  for (const auto& constant : graph.initializers) constants.push_back(&constant);
  std::sort(constants.begin(), constants.end(), [](const auto* a, const auto* b) { return a->first < b->first; });
  for (const auto* constant : constants) {
    fnv.add(constant->first);
    fnv.add(constant->second.data(), constant->second.bytes());
  }
  for (const QuantizedValue& v : plan.values) {
    fnv.add(v.name);
    fnv.add(name_of(v.config.observer));
  }
}

using Parts = std::vector<std::pair<std::string, Preparation*>>;

uint64_t fingerprint(const Parts& parts) {
  Fnv fnv;
  for (const auto& [prefix, p] : parts) add_fingerprint(fnv, p->graph, p->plan);
  return fnv.value();
}

size_t count_observers(const Parts& parts) {
  size_t count = 0;
  for (const auto& [prefix, p] : parts) count += p->observers.size();
  return count;
}

Status bad(const char* what) noexcept { return Status::error(Code::invalid_argument, "calibration state: %s", what); }

}  // namespace

Status SampleRanges::check(uint64_t first, uint64_t count) const noexcept {
  if (first + count < first) return Status::error(Code::overflow, "the numbers of the samples do not fit 64 bits");
  if (count == 0) return {};
  for (const auto& [begin, end] : ranges_)
    if (first < end && begin < first + count)
      return Status::error(Code::invalid_argument, "sample %llu was observed already",
                           static_cast<unsigned long long>(std::max(begin, first)));
  return {};
}

void SampleRanges::add(uint64_t first, uint64_t count) {
  if (count == 0) return;
  const auto [it, added] = ranges_.emplace(first, first + count);
  if (const auto next = std::next(it); next != ranges_.end() && next->first == it->second) {
    it->second = next->second;
    ranges_.erase(next);
  }
  if (it == ranges_.begin()) return;
  if (const auto before = std::prev(it); before->second == it->first) {
    before->second = it->second;
    ranges_.erase(it);
  }
}

Expected<std::string> save_calibration(const Prepared& prepared) try {
  Prepared::Impl& impl = *prepared.impl_;
  const Parts parts = all_parts(impl.root);
  std::string out(kMagic);
  put(out, kVersion);
  put(out, fingerprint(parts));
  put(out, uint32_t(impl.samples.ranges().size()));
  for (const auto& [first, end] : impl.samples.ranges()) {
    put(out, first);
    put(out, end - first);
  }
  put(out, uint32_t(count_observers(parts)));
  for (const auto& [prefix, p] : parts)
    for (const auto& [name, observer] : p->observers) {
      put_text(out, prefix + name);
      std::string state;
      observer->save(state);
      put_text(out, state);
    }
  Fnv fnv;
  fnv.add(out.data(), out.size());
  put(out, fnv.value());
  return out;
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "calibration state: out of memory");
}

Status add_calibration(Prepared& prepared, std::string_view state) try {
  Prepared::Impl& impl = *prepared.impl_;
  std::string_view in = state;
  if (!in.starts_with(kMagic)) return bad("not such a file");
  in.remove_prefix(kMagic.size());
  uint32_t version = 0, ranges = 0, values = 0;
  uint64_t model = 0, sum = 0;
  if (!take(in, version)) return bad("cut short");
  if (version != kVersion)
    return Status::error(Code::unsupported, "calibration state: version %u; this is version %u", version, kVersion);
  if (in.size() < sizeof sum) return bad("cut short");
  std::string_view tail = in.substr(in.size() - sizeof sum);
  in.remove_suffix(sizeof sum);
  take(tail, sum);
  Fnv fnv;
  fnv.add(state.data(), state.size() - sizeof sum);
  if (fnv.value() != sum) return bad("damaged: the checksum does not fit");
  if (!take(in, model)) return bad("cut short");
  const Parts parts = all_parts(impl.root);
  if (model != fingerprint(parts)) return bad("of another model or recipe");

  SampleRanges samples = impl.samples;
  if (!take(in, ranges)) return bad("cut short");
  for (uint32_t i = 0; i < ranges; ++i) {
    uint64_t first = 0, count = 0;
    if (!take(in, first) || !take(in, count)) return bad("cut short");
    if (Status s = samples.check(first, count); !s.ok()) return s;
    samples.add(first, count);
  }
  // All are read before any is merged, so that an error leaves nothing behind.
  std::vector<std::pair<Observer*, std::unique_ptr<Observer>>> read;
  if (!take(in, values) || values != count_observers(parts)) return bad("the number of values differs");
  for (const auto& [prefix, p] : parts) {
    std::map<std::string, ObserverKind> kinds;
    for (const QuantizedValue& v : p->plan.values) kinds[v.name] = v.config.observer;
    for (const auto& [value, observer] : p->observers) {
      const std::string expected = prefix + value;
      std::string_view name, bytes;
      if (!take_text(in, name) || !take_text(in, bytes)) return bad("cut short");
      if (name != expected) return bad("values are missing or not in order");
      read.emplace_back(observer.get(), Observer::create(kinds.at(value)));
      if (Status s = read.back().second->load(bytes); !s.ok())
        return Status::error(s.code(), "calibration state: value '%.150s': %s", expected.c_str(), s.text());
      if (!bytes.empty()) return bad("bytes behind the state of an observer");
    }
  }
  if (!in.empty()) return bad("bytes behind the last value");
  for (const auto& [observer, more] : read)
    if (Status s = observer->merge(*more); !s.ok()) return s;
  impl.samples = std::move(samples);
  impl.annotations = annotations_of(impl.root, impl.samples.end() > 0);
  return {};
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "calibration state: out of memory");
}

}  // namespace octavo
