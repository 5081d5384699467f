// library.cpp -- the shared library that the kernel and this run time lie in: where it is loaded,
// and where its static shared memory is: all that it has of thread-local variables (cuda.h).
#include <link.h>

#include "state.h"

// glibc's and musl's: the address of a thread-local variable in this thread, which gets its copies
// of a library's variables when it first asks.
extern "C" void* __tls_get_addr(size_t* module_and_offset);

namespace host {

struct Search {
  uintptr_t address;
  Library library;
};

static int look_at_library(dl_phdr_info* info, size_t, void* context) {
  auto& [address, library] = *static_cast<Search*>(context);
  const ElfW(Phdr)* thread_locals = nullptr;
  uintptr_t end = 0;
  bool here = false;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const auto& segment = info->dlpi_phdr[i];
    const uintptr_t start = info->dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_TLS) thread_locals = &segment;
    if (segment.p_type != PT_LOAD) continue;
    if (start + segment.p_memsz > end) end = start + segment.p_memsz;
    here |= address - start < segment.p_memsz;
  }
  if (!here) return 0;
  library.base = info->dlpi_addr;
  library.end = end;
  if (thread_locals) {
    size_t first[] = {info->dlpi_tls_modid, 0};
    library.static_shared = static_cast<char*>(__tls_get_addr(first));
    library.static_shared_bytes = thread_locals->p_memsz;
  }
  return 1;
}

// Returns the library, with the thread-local variables of the calling thread.
static Library find_library() {
  Search search{reinterpret_cast<uintptr_t>(&look_at_library), {}};
  dl_iterate_phdr(look_at_library, &search);
  return search.library;
}

}  // namespace host

// What addresses in the library's debug information count from.
HOST_API size_t host_library_base() { return host::find_library().base; }
