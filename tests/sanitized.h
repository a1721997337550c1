// OCTAVO_SANITIZED: 1 under AddressSanitizer and ThreadSanitizer, which take the place of malloc and slow everything down; else 0.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)  // GCC's words
#define OCTAVO_SANITIZED 1
#elif defined(__has_feature)  // Clang's
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define OCTAVO_SANITIZED 1
#endif
#endif
#ifndef OCTAVO_SANITIZED
#define OCTAVO_SANITIZED 0
#endif
