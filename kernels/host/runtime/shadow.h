// shadow.h -- the shadow of memory in check mode: for each 4 bytes, who wrote and who read them
// last, and which of the bytes nobody has written yet.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "checker.h"

namespace host {

// An access of one thread to one word.
struct Record {
  uint32_t epoch;  // of its block (Block::epoch); 0: no access
  uint32_t pc;     // from the library's base
  uint16_t thread;
  uint16_t warp_epoch;
  uint8_t bytes;   // of the word, a bit each
  Access access;
};

// With two readers from different warps where there are any, or else from different threads,
// whoever writes next is unordered with one of them if it is unordered with any. Blocks run one
// after another, hence the third: a reader in a block before.
struct Cell {
  Record writer, readers[2], earlier_block_reader;
};
static_assert(sizeof(Cell) == 64, "a cell fills a line of the cache");

// Zeroed pages, which take memory only where they are touched.
class Pages {
 public:
  explicit Pages(size_t bytes);
  ~Pages();
  Pages(Pages&& other) noexcept : start_(other.start_), bytes_(other.bytes_) {
    other.start_ = nullptr;
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  template <class T>
  T* as() const {
    return static_cast<T*>(start_);
  }

 private:
  void* start_;
  size_t bytes_;
};

// A stretch of memory that a kernel may touch.
class Region {
 public:
  Region(const void* start, size_t bytes, bool shared, const char* name);

  uintptr_t start() const { return start_; }
  uintptr_t end() const { return start_ + bytes_; }
  bool shared() const { return shared_; }
  const char* name() const { return name_.c_str(); }
  bool holds(uintptr_t address) const { return address - start_ < bytes_; }
  Cell& cell(uintptr_t word) const { return cells_.as<Cell>()[word - start_ / 4]; }
  // The bytes of a word that nobody has written, a bit each.
  uint8_t& unwritten(uintptr_t word) const { return unwritten_.as<uint8_t>()[word - start_ / 4]; }
  void forget_contents() const;  // from now on, nobody has written anything
  size_t count_unwritten(size_t* first) const;

 private:
  uintptr_t start_;
  size_t bytes_;
  bool shared_;
  std::string name_;
  size_t words_;
  Pages cells_, unwritten_;
};

}  // namespace host
