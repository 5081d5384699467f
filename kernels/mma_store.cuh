// mma_store.cuh -- how a tile of sums on tensor cores becomes pixels of a map.
#pragma once
#include "convolution.cuh"
#include "eights.cuh"
#include "mma_sums.cuh"

// Stores eight filters of a pixel, as many of them as there are, where addresses allow no vectors.
template <class Element, class Output>
DEVICE_INLINE void store_some(Output* to, const float (&values)[8], const Element* added,
                              int filters) {
#pragma unroll
  for (int e = 0; e < 8; e++)
    if (e < filters) store_one(to + e, added ? values[e] + load_one(added + e) : values[e]);
}

// In the place of an activation: the shape has it, for a kernel of several layers.
constexpr int ACTIVATION_OF_SHAPE = -1;

// Stores a tile's sums, eight filters at a time where addresses allow. pixel_of(row) is the output
// pixel of a tile's row, negative if there is none. The residual is added to the sums as floats:
// what is stored is rounded once. Its loads wait for memory together, as many as registers allow.
template <int ACTIVATION, class Tile, class Element, class Output, class PixelOf>
DEVICE_INLINE void store(const ConvolutionShape& p, const Tile& tile, PixelOf pixel_of, int f0,
                         const float* biases, const Element* residual, Output* __restrict__ y) {
  constexpr int rows = 2 * Tile::TM, at_once = sizeof(Element) == 2 ? rows : rows / 2;
  const bool aligned =
      in_eights(y, p.y_pitch) && (!residual || in_eights(residual, p.residual_pitch));
  int pixels[rows];
#pragma unroll
  for (int i = 0; i < rows; i++) pixels[i] = pixel_of(tile.row + 8 * i);
#pragma unroll
  for (int g = 0; g < Tile::groups; g++) {
    const int column = tile.column + 32 * g, filters = p.filters - f0 - column;
    const bool vectors = aligned && filters >= 8;
    auto filters_of = [&](int pixel, int pitch) {
      return static_cast<long long>(pixel) * pitch + f0 + column;
    };
    Eight<Element> added[at_once];
#pragma unroll
    for (int i = 0; i < rows; i++) {
      if (i % at_once == 0 && residual && vectors) {
#pragma unroll
        for (int a = 0; a < at_once; a++)
          if (pixels[i + a] >= 0)
            added[a] = load_eight(residual + filters_of(pixels[i + a], p.residual_pitch));
      }
      if (pixels[i] < 0) continue;
      float v[8];
#pragma unroll
      for (int e = 0; e < 8; e++)
        v[e] = tile.sums[i / 2][4 * g + e / 2][i % 2 * 2 + e % 2] + biases[column + e];
      activate_all<Element>(v, ACTIVATION == ACTIVATION_OF_SHAPE ? p.activation : ACTIVATION);
      if (vectors) {
        if (residual) add_eight(v, added[i % at_once]);
        store_eight(y + filters_of(pixels[i], p.y_pitch), v);
      } else {
        store_some(y + filters_of(pixels[i], p.y_pitch), v,
                   residual ? residual + filters_of(pixels[i], p.residual_pitch) : nullptr,
                   filters);
      }
    }
  }
}
