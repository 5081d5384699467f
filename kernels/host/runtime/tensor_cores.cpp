// tensor_cores.cpp -- ldmatrix and mma.sync. The last lane of a warp to come moves and multiplies
// for all; fragments are laid out as tensor_cores.cuh says.
#include "../tensor_cores.h"

#include <cstring>

#include "checker.h"
#include "state.h"

namespace host {

struct MatrixLoad {
  const char* row;
  unsigned* registers;
};

void load_matrices(unsigned* registers, const void* row, Place caller) {
  Thread& thread = *run.current;
  thread.call_pc = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
  if (reinterpret_cast<uintptr_t>(row) % 16) {
    fail("misaligned: %s loads a matrix's row from an address that is no multiple of 16 at %s",
         thread_text(thread).text, place_text(caller).text);
  }
  check_access(row, 16, Access::read, thread.call_pc);
  MatrixLoad load = {static_cast<const char*>(row), registers};
  thread.fragments = &load;
  collective("ldmatrix", ~0u, caller, [](Thread* lanes, unsigned) {
    for (unsigned lane = 0; lane < warp_size; lane++) {
      const auto* to = static_cast<const MatrixLoad*>(lanes[lane].fragments);
      for (unsigned matrix = 0; matrix < 4; matrix++) {
        const Thread& giver = lanes[8 * matrix + lane / 4];
        const auto* from = static_cast<const MatrixLoad*>(giver.fragments);
        memcpy(to->registers + matrix, from->row + lane % 4 * 4, 4);
      }
    }
  });
  thread.call_pc = 0;
}

struct Multiplication {
  float* sums;
  const unsigned *a, *b;
};

// The factor number `index`, 0 or 1, of a register.
static float factor(unsigned bits, int index, Products kind) {
  if (kind == Products::tf32) return bits_as<float>(bits & ~0x1fffu);
  return half_value(bits >> 16 * index & 0xffff);
}

// Multiplies what a warp has in its fragments: 16 rows, `terms` = 16 halves or 8 floats, 8 columns.
// Products are exact; they are added as floats in the order of the terms, where tensor cores align
// several and cut off (tolerances.py, tensor_cores).
static void multiply_warp(Thread* lanes, Products kind) {
  const int width = kind == Products::halves ? 2 : 1, terms = 8 * width;
  float a[16][16], b[16][8], sums[16][8];
  const auto of = [&](int lane) { return static_cast<Multiplication*>(lanes[lane].fragments); };
  for (int lane = 0; lane < static_cast<int>(warp_size); lane++) {
    const int g = lane / 4, q = lane % 4;
    for (int e = 0; e < 4; e++) sums[g + e / 2 * 8][2 * q + e % 2] = of(lane)->sums[e];
    for (int i = 0; i < width; i++) {
      const int term = width * q + i;
      for (int r = 0; r < 4; r++)
        a[g + r % 2 * 8][term + r / 2 * 4 * width] = factor(of(lane)->a[r], i, kind);
      for (int r = 0; r < 2; r++) b[term + r * 4 * width][g] = factor(of(lane)->b[r], i, kind);
    }
  }
  for (int row = 0; row < 16; row++)
    for (int term = 0; term < terms; term++)
      for (int column = 0; column < 8; column++)
        sums[row][column] += a[row][term] * b[term][column];
  for (int lane = 0; lane < static_cast<int>(warp_size); lane++) {
    const int g = lane / 4, q = lane % 4;
    for (int e = 0; e < 4; e++) of(lane)->sums[e] = sums[g + e / 2 * 8][2 * q + e % 2];
  }
}

void multiply_fragments(float* sums, const unsigned* a, const unsigned* b, Products kind,
                        Place caller) {
  Multiplication multiplication = {sums, a, b};
  run.current->fragments = &multiplication;
  collective("mma", ~0u, caller, [=](Thread* lanes, unsigned) { multiply_warp(lanes, kind); });
}

}  // namespace host
