// Linear layers whose weights are packed once: y = x Wᵀ + b.
//
// Weights stand in panels of TILE columns (outputs). A panel of floats or halves is [k][TILE]. A panel of integers is a
// row of groups of GROUP inputs: the numbers of GROUP / 2 pairs of inputs, [GROUP / 2][TILE][2], then the scale of each
// column, as halves; INT4 numbers are 0 … 15 and have the least value of each column behind that. In INT4, byte j of a
// pair has number j of [TILE][2] in its low half and number 16 + j in its high half.
//
// Every output is one sum in the order of the inputs, whatever the number of rows: its bits do not depend on the batch.

#pragma once

#include <stdint.h>

enum { GROUP = 32 };

typedef enum { FP32, FP16, INT8, INT4 } Format;

typedef struct {
  Format format;
  int64_t outputs, inputs;
  const uint8_t *packed;
  const float *bias;  // [outputs], or NULL
} Linear;

// Rows of inputs as a layer of that format reads them: floats, or int16 numbers with a scale for each group.
typedef struct {
  const float *floats;     // [rows, inputs]
  const int16_t *numbers;  // [rows, groups * GROUP]
  const float *scales;     // [rows, groups]
  const float *sums;       // [rows, groups]: of the group's inputs
} Rows;

static inline int64_t num_groups(int64_t inputs) { return (inputs + GROUP - 1) / GROUP; }
static inline int64_t num_panels(int64_t outputs) { return (outputs + 15) / 16; }

// Bytes of packed weights.
int64_t packed_bytes(Format format, int64_t outputs, int64_t inputs);

// Pack weights [outputs, inputs], and replace them by what the packed ones stand for. Returns the largest change of one,
// as a share of the largest weight.
float pack_weights(Format format, int64_t outputs, int64_t inputs, float *weights, uint8_t *packed);

// A group's worth and more of floats [count] → numbers, scales and sums of num_groups(count) groups. Where one is not
// finite, so is its group's scale.
void quantise(const float *x, int64_t count, int16_t *numbers, float *scales, float *sums);

// Outputs of the panels [first, last) for rows [begin, end): y[row * outputs + column], added to what is there or in its
// place.
void linear_panels(const Linear *layer, const Rows *x, float *y, int64_t begin, int64_t end, int64_t first,
                   int64_t last, int add);
