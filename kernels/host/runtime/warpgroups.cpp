// warpgroups.cpp -- wgmma. Each thread adds up its own sums, when it waits for them; that all four
// warps of a warpgroup start the same is not checked.
#include "../warpgroups.h"

#include <cstring>

#include "checker.h"
#include "state.h"

namespace host {

constexpr int group_terms = 16, row_bytes = 128;

void warpgroup_multiply(float* sums, int columns, const char* a, const char* b, int chunk,
                        Place caller) {
  Thread& thread = *run.current;
  for (const char* rows : {a, b}) {
    if (reinterpret_cast<uintptr_t>(rows) % (8 * row_bytes)) {
      fail("misaligned: %s multiplies a matrix that does not begin at a multiple of 1024 bytes at "
           "%s", thread_text(thread).text, place_text(caller).text);
    }
  }
  const auto pc = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
  thread.products.push_back({sums, columns, a, b, chunk, thread.closed_products, pc});
}

void warpgroup_commit() { run.current->closed_products++; }

// Reads 16 halves of a row, from chunk `chunk` on.
static void read_row(const char* rows, int row, int chunk, uintptr_t pc, float (&terms)[16]) {
  for (int c = 0; c < 2; c++) {
    const char* from = rows + row * row_bytes + ((chunk + c) ^ row % 8) * 16;
    check_access(from, 16, Access::read, pc);
    for (int t = 0; t < 8; t++) {
      unsigned short bits;
      memcpy(&bits, from + 2 * t, 2);
      terms[8 * c + t] = half_value(bits);
    }
  }
}

// Products are exact; they are added as floats in the order of the terms, as in multiply_warp.
static void multiply_rows(const Thread& thread, const Product& product) {
  const int warp = thread.number / warp_size % 4, lane = thread.lane;
  float rows[2][16], column[16];
  for (int h = 0; h < 2; h++)
    read_row(product.a, 16 * warp + lane / 4 + 8 * h, product.chunk, product.pc, rows[h]);
  for (int j = 0; j < product.columns / 8; j++)
    for (int e = 0; e < 2; e++) {
      read_row(product.b, 8 * j + 2 * (lane % 4) + e, product.chunk, product.pc, column);
      for (int h = 0; h < 2; h++) {
        float& sum = product.sums[4 * j + 2 * h + e];
        for (int t = 0; t < group_terms; t++) sum += rows[h][t] * column[t];
      }
    }
}

void warpgroup_wait(int pending) {
  Thread& thread = *run.current;
  const int done = thread.closed_products - pending;
  size_t kept = 0;
  for (const Product product : thread.products) {
    if (product.group >= done) {
      thread.products[kept++] = product;
      continue;
    }
    thread.call_pc = product.pc;
    multiply_rows(thread, product);
  }
  thread.call_pc = 0;
  thread.products.resize(kept);
}

}  // namespace host
