// faults.h -- see faults.cpp.
#pragma once
#include <signal.h>

#include <cstddef>

namespace host {

// Signals that a kernel raises become errors of its launch while this exists.
class FaultGuard {
 public:
  FaultGuard();
  ~FaultGuard();
  FaultGuard(const FaultGuard&) = delete;
  FaultGuard& operator=(const FaultGuard&) = delete;

 private:
  static constexpr size_t signal_stack_bytes = 64 << 10;
  stack_t earlier_stack_;
};

}  // namespace host
