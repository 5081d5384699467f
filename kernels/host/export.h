// export.h -- how a kernel in a library is called from outside, by ctypes: HOST_EXPORT gives it a
// function of fixed type. The other side is tinyyolo3/cuda/host_module.py.
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace host {

struct Launch {
  dim3 grid, block;
  size_t shared_bytes;  // dynamic shared memory
  uint64_t seed;  // of the order of threads and blocks and the landing of copies; 0: plain order
};

// Runs `body(context)` once for each thread of each block. Returns 0, or 1 and leaves a message.
int launch(const Launch& launch, void (*body)(void*), void* context);

// A kernel with the addresses of its arguments.
template <class... Arguments>
struct Call {
  void (*kernel)(Arguments...);
  void** arguments;

  // Not instrumented: arguments lie in the caller's memory, of which the checker knows nothing.
  template <size_t... i>
  __attribute__((no_sanitize("thread"))) void apply(std::index_sequence<i...>) {
    kernel(*static_cast<std::remove_reference_t<Arguments>*>(arguments[i])...);
  }
  __attribute__((no_sanitize("thread"))) static void run(void* self) {
    static_cast<Call*>(self)->apply(std::index_sequence_for<Arguments...>{});
  }
};

template <class... Arguments>
int launch_kernel(void (*kernel)(Arguments...), const Launch& how, void** arguments) {
  Call<Arguments...> call{kernel, arguments};
  return launch(how, &Call<Arguments...>::run, &call);
}

// Writes the sizes of a kernel's arguments and returns how many there are.
template <class... Arguments>
int argument_sizes(void (*)(Arguments...), int* sizes) {
  ((*sizes++ = static_cast<int>(sizeof(Arguments))), ...);
  return sizeof...(Arguments);
}

}  // namespace host

#define HOST_API extern "C" __attribute__((visibility("default")))
#define HOST_EXPORT(symbol, ...)                                                  \
  HOST_API int symbol(const host::Launch* how, void** arguments) {                \
    return host::launch_kernel(__VA_ARGS__, *how, arguments);                    \
  }                                                                              \
  HOST_API int symbol##_args(int* sizes) {                                        \
    return host::argument_sizes(__VA_ARGS__, sizes);                             \
  }
