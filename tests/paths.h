// Where things are on the machine that built the tests. Only paths.cpp is compiled anew for another folder.
#pragma once

namespace octavo::test {

extern const char* const kSourceDir;  // of the checkout
extern const char* const kSharedDir;  // beside it; may be absent
extern const char* const kCli;        // the `octavo` command
extern const char* const kEmulator;   // which runs it where it was built for another machine; else empty

}  // namespace octavo::test
