// Heads to rows: the boxes that score above a threshold, a row for each of their classes.
//
// For a cell (col, row) and an anchor (a_w, a_h), with t the logits of the anchor,
//
//   b_x = (col + s·σ(t_x) - (s - 1)/2) / grid_w         b_w = a_w · exp(t_w)
//   b_y = (row + s·σ(t_y) - (s - 1)/2) / grid_h         b_h = a_h · exp(t_h)
//
// in fractions of the network's input (b_w = a_w · (2 t_w)² under new_coords), then turned back to
// the picture as it lies in the input. A row needs objectness > threshold and objectness · class >
// threshold, and only finite numbers. Logits of a network of halves that are not finite come of an
// overflow, and are counted. Where a convolution has made them of all channels of a pixel, a
// candidate's have all overflowed if one has: then it is the objectness that is looked at.
//
// Arrays: x is the head's raw Map (channels last), where an anchor's 5 + classes numbers lie side by
// side; rows is (images, capacity), counts (images,): what exceeds the capacity is counted and
// dropped; overflows (images,) is more than 0 where there were any.
// A warp takes 32 candidates. Each thread looks at the objectness logit of one, which few pass; of
// those that do, one after another, the whole warp reads the classes, 32 at a time. Rows get places
// by one atomic a warp and come in any order; their candidate and class restore one (nms.cu).
// Launch: block 256, grid (ceil(height * width * anchors / 256), images). Shared memory: none.
// Arithmetic intensity: one number read of every candidate, a comparison each: bound by latency.
// References: tinyyolo3/boxes/decode.py, decode_reference, then tinyyolo3/image/geometry.py,
// boxes_image_from_network_unit. Exponentials are double and rounded once (logits.cuh).
#include "boxes.cuh"
#include "logits.cuh"

extern "C" __global__ void __launch_bounds__(256) clear_counts(
    int* counts, int* overflows, int images) {
  const int image = blockIdx.x * blockDim.x + threadIdx.x;
  if (image < images) counts[image] = overflows[image] = 0;
}

DEVICE_INLINE bool is_finite(float value) { return fabsf(value) <= FLT_MAX; }

// Counts this warp if one of its candidates has overflowed; all threads call it together.
DEVICE_INLINE void watch(const Head& head, const float* logits, bool inside, int* overflows,
                         int lane) {
  bool overflowed = false;
  const int entries = 5 + head.classes;
  for (int i = 0; inside && i < head.watched; i++)
    overflowed |= !is_finite(logits[(4 + i) % entries]);
  if (__any_sync(WHOLE_WARP, overflowed) && lane == 0) atomicAdd(overflows, 1);
}

// A number in [0, 1] of an objectness or class logit; of one that cannot pass the threshold, 0.
DEVICE_INLINE float score_of_logit(float logit, const Head& head, const Selection& selection) {
  if (head.activated) return logit;
  return logit >= selection.logit_bound ? static_cast<float>(logistic(logit)) : 0.f;
}

// x, y, width or height (axis 0 to 3) of a candidate in fractions of the network's input.
DEVICE_INLINE float network_coordinate(float logit, int axis, int cell, int cells,
                                       double anchor_unit, const Head& head) {
  if (axis < 2) {
    const float centre = head.activated ? logit : static_cast<float>(logistic(logit));
    const float moved = __fmul_rn(centre, head.scale) + head.shift;
    return (static_cast<float>(cell) + moved) / static_cast<float>(cells);
  }
  const double size = logit;
  return static_cast<float>((head.activated ? size * size * 4 : exp(size)) * anchor_unit);
}

// The same in fractions of the picture. DARKNET: centres in double, sizes in float; the border is
// halved as a fraction here, although the picture was placed at the integer half.
DEVICE_INLINE float picture_coordinate(float value, int axis, int new_cells, int network_cells) {
  const float ratio = static_cast<float>(new_cells) / static_cast<float>(network_cells);
  if (axis >= 2) return __fmul_rn(value, 1.f / ratio);
  const double offset = static_cast<double>(network_cells - new_cells) / 2 / network_cells;
  return static_cast<float>((static_cast<double>(value) - offset) / static_cast<double>(ratio));
}

// Where the rows of an image go.
struct Sink {
  Row* rows;
  int* count;
  int capacity;
};

// Appends the rows of those threads of the warp that have one; all threads call it together.
DEVICE_INLINE void append_rows(const Sink& sink, const Row& row, bool wanted, int lane) {
  const unsigned chosen = __ballot_sync(WHOLE_WARP, wanted);
  if (chosen == 0) return;
  const int leader = __ffs(chosen) - 1;
  int first = 0;
  if (lane == leader) first = atomicAdd(sink.count, __popc(chosen));
  first = __shfl_sync(WHOLE_WARP, first, leader);
  const int place = first + __popc(chosen & ((1u << lane) - 1));
  if (wanted && place < sink.capacity) sink.rows[place] = row;
}

// Leaves every thread of the warp with the highest of their scores and its class, the first of
// equals.
DEVICE_INLINE void best_of_warp(float& score, int& class_id) {
  for (int lanes = LANES / 2; lanes > 0; lanes /= 2) {
    const float other = __shfl_xor_sync(WHOLE_WARP, score, lanes);
    const int other_class = __shfl_xor_sync(WHOLE_WARP, class_id, lanes);
    if (other > score || (other == score && other_class < class_id)) {
      score = other;
      class_id = other_class;
    }
  }
}

// Appends the rows of one candidate whose box and objectness are in `row`; `score` is what the
// classes are multiplied by.
DEVICE_INLINE void append_classes(const float* scores, const Head& head,
                                  const Selection& selection,
                                  const unsigned char* __restrict__ wanted, float score, Row row,
                                  const Sink& sink, int lane) {
  Softmax softmax{0.f, 1.0};
  if (head.softmax) softmax = softmax_of_warp(scores, head.classes, lane);
  float best = 0.f;
  int best_class = head.classes;
  for (int first = 0; first < head.classes; first += LANES) {
    const int class_id = first + lane;
    float confidence = 0.f;
    if (class_id < head.classes) {
      const float logit = scores[class_id];
      confidence = __fmul_rn(score, head.softmax ? softmax.probability(logit)
                                                 : score_of_logit(logit, head, selection));
    }
    const bool passes = confidence > selection.threshold && is_finite(confidence);
    if (selection.multi_label) {
      row.confidence = confidence;
      row.class_id = class_id;
      append_rows(sink, row, passes && wanted[class_id], lane);
    } else if (passes && confidence > best) {
      best = confidence;
      best_class = class_id;
    }
  }
  if (selection.multi_label) return;
  best_of_warp(best, best_class);
  row.confidence = best;
  row.class_id = best_class;
  append_rows(sink, row, lane == 0 && best > 0.f && wanted[best_class], lane);
}

extern "C" __global__ void __launch_bounds__(256, 2) decode_head(
    const float* __restrict__ x, Map x_map, Head head, const double* __restrict__ anchors_unit,
    const Selection* __restrict__ selection_of_call, const unsigned char* __restrict__ wanted,
    const Frame* __restrict__ frames, Row* rows, int* counts, int* overflows, int capacity) {
  const Frame frame = frames[blockIdx.y];
  if (frame.new_width == 0) return;  // no picture here
  const Selection selection = *selection_of_call;
  const int lane = threadIdx.x % LANES, entries = 5 + head.classes;
  const int candidates = x_map.height * x_map.width * head.anchors;
  const long long first_cell = static_cast<long long>(blockIdx.y) * x_map.height * x_map.width;
  const Sink sink{rows + static_cast<long long>(blockIdx.y) * capacity, counts + blockIdx.y,
                  capacity};

  const int mine = blockIdx.x * blockDim.x + threadIdx.x;
  float my_score = 0.f;
  const float* my_logits =
      x + (first_cell + mine / head.anchors) * x_map.pitch + mine % head.anchors * entries;
  if (mine < candidates) my_score = score_of_logit(my_logits[4], head, selection);
  if (head.watched > 0)
    watch(head, my_logits, mine < candidates, overflows + blockIdx.y, lane);
  const bool passes = my_score > selection.threshold && is_finite(my_score);

  for (unsigned left = __ballot_sync(WHOLE_WARP, passes); left != 0; left &= left - 1) {
    const int source = __ffs(left) - 1;
    const float score = __shfl_sync(WHOLE_WARP, my_score, source);
    const int candidate = mine - lane + source;
    const int cell = candidate / head.anchors, anchor = candidate % head.anchors;
    const float* logits = x + (first_cell + cell) * x_map.pitch + anchor * entries;

    // The first four threads work out x, y, width and height; the others do the same for company.
    const int axis = lane % 4;
    const bool across = axis % 2 == 0;
    const float coordinate = network_coordinate(
        logits[axis], axis, across ? cell % x_map.width : cell / x_map.width,
        across ? x_map.width : x_map.height, anchors_unit[2 * anchor + axis % 2], head);
    if (!__all_sync(WHOLE_WARP, is_finite(coordinate))) continue;
    const float side =
        picture_coordinate(fminf(coordinate, selection.largest_side), axis,
                           across ? frame.new_width : frame.new_height,
                           across ? head.network_width : head.network_height);
    Row row;
    row.box.x = __shfl_sync(WHOLE_WARP, side, 0);
    row.box.y = __shfl_sync(WHOLE_WARP, side, 1);
    row.box.z = __shfl_sync(WHOLE_WARP, side, 2);
    row.box.w = __shfl_sync(WHOLE_WARP, side, 3);
    // DARKNET: every box of a region head is said to have objectness 1.
    row.objectness = head.region ? 1.f : score;
    row.candidate = head.first_candidate + candidate;
    append_classes(logits + 5, head, selection, wanted, score, row, sink, lane);
  }
}
