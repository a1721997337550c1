#include "src/caches.h"

#include <algorithm>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <cstdio>
#include <cstring>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace octavo::detail {
namespace {

#if defined(__x86_64__)
// Leaf 4 (Intel) and leaf 0x8000001d (AMD) list the caches in the same form.
void read(Caches& c) {
  for (unsigned leaf : {0x4u, 0x8000001du}) {
    for (unsigned i = 0; i < 8; ++i) {
      unsigned a, b, sets, flags;
      if (!__get_cpuid_count(leaf, i, &a, &b, &sets, &flags) || (a & 31) == 0) break;
      const unsigned type = a & 31, level = a >> 5 & 7, ways = b >> 22, partitions = b >> 12 & 1023, line = b & 4095;
      const int64_t bytes = (int64_t(ways) + 1) * (int64_t(partitions) + 1) * (int64_t(line) + 1) * (int64_t(sets) + 1);
      if (type == 2) continue;  // instructions
      if (level == 1) c.l1 = bytes;
      if (level == 2) c.l2 = bytes;
    }
  }
}
#elif defined(__aarch64__) && defined(__linux__)
void read(Caches& c) {
  for (int i = 0; i < 8; ++i) {
    const auto text = [i](const char* field, char (&value)[32]) {
      char path[96];
      std::snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", i, field);
      std::FILE* f = std::fopen(path, "r");
      if (!f) return false;
      const bool read = std::fgets(value, sizeof value, f) != nullptr;
      std::fclose(f);
      return read;
    };
    char type[32], level[32], size[32];
    long kilobytes;
    if (!text("type", type) || !text("level", level) || !text("size", size)) return;
    if (std::strncmp(type, "Instruction", 11) == 0 || std::sscanf(size, "%ldK", &kilobytes) != 1) continue;
    if (level[0] == '1') c.l1 = kilobytes << 10;
    if (level[0] == '2') c.l2 = kilobytes << 10;
  }
}
#elif defined(__aarch64__) && defined(__APPLE__)
void read(Caches& c) {
  size_t size = sizeof(int64_t);
  sysctlbyname("hw.perflevel0.l1dcachesize", &c.l1, &size, nullptr, 0);
  size = sizeof(int64_t);
  sysctlbyname("hw.perflevel0.l2cachesize", &c.l2, &size, nullptr, 0);
}
#else
void read(Caches&) {}
#endif

// Virtual machines tell all kinds of tales; and an L2 that cores share is no core's own.
Caches believable() {
  Caches c;
  read(c);
  c.l1 = std::clamp<int64_t>(c.l1, 16 << 10, 192 << 10);
  c.l2 = std::clamp<int64_t>(c.l2, 256 << 10, 2 << 20);
  return c;
}

}  // namespace

const Caches& caches() noexcept {
  static const Caches c = believable();
  return c;
}

}  // namespace octavo::detail
