// messages.cpp -- what a launch says when a kernel is wrong. A place in the source is written as
// "{file:line}", the return address of an instruction as "{pc 0x...}": the Python side
// (tinyyolo3/cuda/source_lines.py) puts the line and its text in their stead.
#include "state.h"

namespace host {

static void write_message(const char* format, va_list arguments) {
  if (run.failed) return;
  run.failed = true;
  vsnprintf(run.message, sizeof run.message, format, arguments);
}

void report(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  write_message(format, arguments);
  va_end(arguments);
}

void leave_fiber() {
  Thread& thread = *run.current;
  thread.state = State::ended;
  switch_fiber(thread.fiber, run.scheduler);
  __builtin_unreachable();
}

void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  write_message(format, arguments);
  va_end(arguments);
  leave_fiber();
}

Text thread_text(unsigned block, unsigned thread) {
  const dim3 &grid = run.launch->grid, &size = run.launch->block;
  Text out;
  snprintf(out.text, sizeof out.text, "block (%u,%u,%u) thread (%u,%u,%u)", block % grid.x,
           block / grid.x % grid.y, block / grid.x / grid.y, thread % size.x,
           thread / size.x % size.y, thread / size.x / size.y);
  return out;
}

Text place_text(Place place) {
  Text out;
  snprintf(out.text, sizeof out.text, "{%.170s:%d}", place.file, place.line);
  return out;
}

Text pc_text(uintptr_t pc) {
  Text out;
  snprintf(out.text, sizeof out.text, "{pc 0x%zx}", static_cast<size_t>(pc));
  return out;
}

}  // namespace host

HOST_API const char* host_error() { return host::run.message; }

