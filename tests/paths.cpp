#include "paths.h"

namespace octavo::test {

const char* const kSourceDir = OCTAVO_SOURCE_DIR;
const char* const kSharedDir = OCTAVO_SOURCE_DIR "/../shared";
const char* const kCli = OCTAVO_CLI;
const char* const kEmulator = OCTAVO_EMULATOR;

}  // namespace octavo::test
