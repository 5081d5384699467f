// boxes.cuh -- the structs that pictures, heads and boxes are handed over in.
//
// Their twins in Python: FRAME (tinyyolo3/image/resize_cuda.py), SELECTION (boxes/call_cuda.py),
// HeadStruct and ROW (boxes/decode_cuda.py).
#pragma once
#include "device.cuh"

// A picture of the batch: its first byte among all pictures' bytes, its size, and where it lies in
// the network's input. All zeros where the batch has no picture.
struct Frame {
  long long offset;
  int image_width, image_height, new_width, new_height, left, top;
};

// What a call asks for.
struct Selection {
  double beta;         // exponent of DIoU
  double logit_bound;  // the logistic of a logit below it cannot pass the threshold
  float threshold, iou_threshold, largest_side;
  int multi_label, agnostic, suppression;
};

enum Suppression { SUPPRESS_NONE, SUPPRESS_GREEDY, SUPPRESS_DIOU };

// A head of a network: how its maps are to be read.
struct Head {
  int anchors, classes, first_candidate;  // how many candidates the heads before have
  int network_width, network_height;
  int activated;        // new_coords: the maps hold no logits but numbers in [0, 1]
  int region, softmax;  // a head of YOLOv2; its classes share a softmax
  float scale, shift;   // of a centre within its cell
  int watched;          // logits of a candidate among which overflows are looked for, from 4 on
};

// A box and one of its classes. The box is in fractions of the picture: x, y of the centre, then
// width (z) and height (w).
struct alignas(16) Row {
  float4 box;
  float objectness, confidence;
  int class_id, candidate;
};
