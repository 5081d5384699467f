// shadow.cpp -- see shadow.h.
#include "shadow.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace host {

Pages::Pages(size_t bytes) : bytes_(std::max<size_t>(bytes, 1)) {
  start_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start_ == MAP_FAILED) abort();
}

Pages::~Pages() {
  if (start_) munmap(start_, bytes_);
}

Region::Region(const void* start, size_t bytes, bool shared, const char* name)
    : start_(reinterpret_cast<uintptr_t>(start)),
      bytes_(bytes),
      shared_(shared),
      name_(name),
      words_((start_ + bytes + 3) / 4 - start_ / 4),
      cells_(words_ * sizeof(Cell)),
      unwritten_(words_) {}

void Region::forget_contents() const { memset(unwritten_.as<uint8_t>(), 0xF, words_); }

size_t Region::count_unwritten(size_t* first) const {
  size_t count = 0;
  for (size_t i = 0; i < bytes_; i++) {
    const uintptr_t address = start_ + i;
    if (!(unwritten(address / 4) >> address % 4 & 1)) continue;
    if (!count++) *first = i;
  }
  return count;
}

}  // namespace host
