// runtime.cpp -- runs CUDA kernels on the CPU: one translation unit from all the parts.
//
// A kernel's file, compiled with cuda.h, calls what primitives.h declares; each thread of a block
// is a fiber, and blocks run one after another. In check mode (-DHOST_CHECK) the kernel is compiled
// so that it announces every access to memory. docs/kernels-on-the-cpu.md tells the whole.
//
// It is linked into each kernel's library, with its state, which kernels so reach without a detour.
// Signal handlers are the process's: callers hold a lock, the same for all libraries.
#define HOST_RUNTIME
#include "runtime/fiber.cpp"
#include "runtime/messages.cpp"
#include "runtime/library.cpp"
#include "runtime/memory.cpp"
#include "runtime/handover.cpp"
#include "runtime/scheduler.cpp"
#include "runtime/warp.cpp"
#include "runtime/tensor_cores.cpp"
#include "runtime/warpgroups.cpp"
#include "runtime/async_copy.cpp"
#include "runtime/faults.cpp"
#ifdef HOST_CHECK
#include "runtime/shadow.cpp"
#include "runtime/checker.cpp"
#include "runtime/sanitizers.cpp"
#endif
#include "runtime/launch.cpp"
