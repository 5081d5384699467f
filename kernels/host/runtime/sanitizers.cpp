// sanitizers.cpp -- what code built with -fsanitize=thread and with parts of -fsanitize=undefined
// calls. The compiler announces each access to memory, and operations that C++ leaves undefined.
// The sanitizers' own run times, which would judge by other rules, are not linked.
#include "checker.h"
#include "state.h"

#define CALLER reinterpret_cast<uintptr_t>(__builtin_return_address(0))

namespace host {

// An access for which the machine wants the address to be a multiple of its size.
inline void check_aligned(const void* address, size_t bytes, Access access, uintptr_t pc) {
  if (reinterpret_cast<uintptr_t>(address) % bytes) {
    fail("misaligned: %s touches %zu bytes at an address that is no multiple of them, at %s",
         thread_text(*run.current).text, bytes, pc_text(pc).text);
  }
  check_access(address, bytes, access, pc);
}

}  // namespace host

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

#define ACCESSES(prefix, check, bytes)                        \
  void __tsan_##prefix##read##bytes(void* address) {          \
    host::check(address, bytes, host::Access::read, CALLER);  \
  }                                                           \
  void __tsan_##prefix##write##bytes(void* address) {         \
    host::check(address, bytes, host::Access::write, CALLER); \
  }
ACCESSES(, check_aligned, 1)
ACCESSES(, check_aligned, 2)
ACCESSES(, check_aligned, 4)
ACCESSES(, check_aligned, 8)
ACCESSES(, check_aligned, 16)
// What compilers make of narrower accesses side by side.
ACCESSES(unaligned_, check_access, 2)
ACCESSES(unaligned_, check_access, 4)
ACCESSES(unaligned_, check_access, 8)
ACCESSES(unaligned_, check_access, 16)

void __tsan_read_range(void* address, size_t bytes) {
  host::check_access(address, bytes, host::Access::read, CALLER);
}
void __tsan_write_range(void* address, size_t bytes) {
  host::check_access(address, bytes, host::Access::write, CALLER);
}

// clang's, in place of the C library's.
void* __tsan_memcpy(void* to, const void* from, size_t bytes) {
  host::check_access(from, bytes, host::Access::read, CALLER);
  host::check_access(to, bytes, host::Access::write, CALLER);
  return memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, size_t bytes) {
  host::check_access(from, bytes, host::Access::read, CALLER);
  host::check_access(to, bytes, host::Access::write, CALLER);
  return memmove(to, from, bytes);
}
void* __tsan_memset(void* to, int value, size_t bytes) {
  host::check_access(to, bytes, host::Access::write, CALLER);
  return memset(to, value, bytes);
}

}  // extern "C"

namespace host {

// The layouts of compiler-rt's ubsan_handlers.h, as far as they are the same for all kinds.
struct SourceLocation {
  const char* file;
  uint32_t line, column;
};

struct TypeName {
  uint16_t kind, information;
  char name[1];  // in quotes
};

struct Undefined {
  SourceLocation location;
  const TypeName* type;
};

[[noreturn]] static void fail_undefined(const Undefined& what, const char* kind) {
  const Place place = {what.location.file, static_cast<int>(what.location.line)};
  fail("%s: %s, type %.80s, at %s", kind, thread_text(*run.current).text, what.type->name,
       place_text(place).text);
}

}  // namespace host

#define HANDLER(name, kind)                                                            \
  extern "C" void __ubsan_handle_##name##_abort(const host::Undefined* what) {         \
    host::fail_undefined(*what, kind);                                                 \
  }
HANDLER(type_mismatch_v1, "misaligned")
HANDLER(shift_out_of_bounds, "shift too far")
HANDLER(add_overflow, "integer overflow")
HANDLER(sub_overflow, "integer overflow")
HANDLER(mul_overflow, "integer overflow")
HANDLER(negate_overflow, "integer overflow")
HANDLER(divrem_overflow, "integer division by zero or overflow")
HANDLER(float_cast_overflow, "number too large for an integer")

extern "C" void __ubsan_handle_out_of_bounds_abort(const host::Undefined* what, size_t index) {
  const host::Place place = {what->location.file, static_cast<int>(what->location.line)};
  host::fail("out of bounds: %s takes element %lld of %.80s at %s",
             host::thread_text(*host::run.current).text, static_cast<long long>(index),
             what->type->name, host::place_text(place).text);
}
