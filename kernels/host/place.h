// place.h -- where in a kernel's source a primitive is called.
#pragma once

// Everything between a kernel and the run time is inlined, so that return addresses lie in kernels.
#define HOST_INLINE inline __attribute__((always_inline))

namespace host {

struct Place {
  const char* file;
  int line;
};

}  // namespace host

// The last parameter of a primitive. As a default argument it is worked out where the primitive is
// called, like std::source_location::current() of C++20.
#define HOST_CALLER \
  host::Place caller = { __builtin_FILE(), __builtin_LINE() }
