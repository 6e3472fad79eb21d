#include "linear.h"

#include "simd.h"

// Rows that a kernel works on at once: as many as the registers hold sums of.
#if VW == 16
enum { FLOAT_ROWS = 12, INT_ROWS = 12 };
#else
enum { FLOAT_ROWS = 6, INT_ROWS = 4 };
#endif

enum { LARGEST_NUMBER = 32767 };

static int64_t group_bytes(Format format) { return format == INT4 ? GROUP / 2 * TILE + 2 * TILE * 2 : GROUP * TILE + TILE * 2; }

static int64_t panel_bytes(Format format, int64_t inputs) {
  switch (format) {
    case FP32: return inputs * TILE * (int64_t)sizeof(float);
    case FP16: return inputs * TILE * (int64_t)sizeof(uint16_t);
    default: return num_groups(inputs) * group_bytes(format);
  }
}

int64_t packed_bytes(Format format, int64_t outputs, int64_t inputs) {
  return num_panels(outputs) * panel_bytes(format, inputs);
}

// --- packing

static uint16_t to_half(float x) {
  const _Float16 half = (_Float16)x;
  uint16_t bits;
  memcpy(&bits, &half, sizeof bits);
  return bits;
}

static float from_half(uint16_t bits) {
  _Float16 half;
  memcpy(&half, &bits, sizeof half);
  return (float)half;
}

static int clamp(float x, int low, int high) {
  const float rounded = __builtin_rintf(x);
  return rounded < (float)low ? low : rounded > (float)high ? high : (int)rounded;
}

// One column of a group of `count` weights.
static void pack_int8_column(float *weights, int64_t count, uint8_t *group, int column) {
  float most = 0;
  for (int64_t i = 0; i < count; i++) most = max_float(__builtin_fabsf(weights[i]), most);
  const uint16_t scale_bits = to_half(most / 127);
  const float scale = from_half(scale_bits), inverse = scale > 0 ? 1 / scale : 0;
  for (int64_t i = 0; i < count; i++) {
    const int number = clamp(weights[i] * inverse, -127, 127);
    group[i / 2 * TILE * 2 + column * 2 + i % 2] = (uint8_t)number;
    weights[i] = (float)number * scale;
  }
  memcpy(group + GROUP * TILE + column * 2, &scale_bits, 2);
}

static void pack_int4_column(float *weights, int64_t count, uint8_t *group, int column) {
  float least = weights[0], most = weights[0];
  for (int64_t i = 1; i < count; i++) {
    least = weights[i] < least ? weights[i] : least;
    most = max_float(weights[i], most);
  }
  const uint16_t bits[2] = {to_half((most - least) / 15), to_half(least)};
  const float scale = from_half(bits[0]), base = from_half(bits[1]), inverse = scale > 0 ? 1 / scale : 0;
  for (int64_t i = 0; i < count; i++) {
    const int number = clamp((weights[i] - base) * inverse, 0, 15);
    const int64_t place = column * 2 + i % 2;
    group[i / 2 * TILE + place % TILE] |= (uint8_t)(number << (place / TILE * 4));
    weights[i] = __builtin_fmaf((float)number, scale, base);
  }
  memcpy(group + GROUP / 2 * TILE + column * 2, &bits[0], 2);
  memcpy(group + GROUP / 2 * TILE + TILE * 2 + column * 2, &bits[1], 2);
}

static void pack_float_column(Format format, float *weights, int64_t count, uint8_t *panel, int column) {
  for (int64_t i = 0; i < count; i++) {
    if (format == FP32) {
      memcpy(panel + (i * TILE + column) * 4, &weights[i], 4);
    } else {
      const uint16_t bits = to_half(weights[i]);
      memcpy(panel + (i * TILE + column) * 2, &bits, 2);
      weights[i] = from_half(bits);
    }
  }
}

void pack_weights(Format format, int64_t outputs, int64_t inputs, float *weights, uint8_t *packed) {
  memset(packed, 0, (size_t)packed_bytes(format, outputs, inputs));
  for (int64_t output = 0; output < outputs; output++) {
    float *row = weights + output * inputs;
    uint8_t *panel = packed + output / TILE * panel_bytes(format, inputs);
    const int column = (int)(output % TILE);
    if (format == FP32 || format == FP16) {
      pack_float_column(format, row, inputs, panel, column);
      continue;
    }
    for (int64_t start = 0; start < inputs; start += GROUP, panel += group_bytes(format)) {
      const int64_t count = inputs - start < GROUP ? inputs - start : GROUP;
      if (format == INT8)
        pack_int8_column(row + start, count, panel, column);
      else
        pack_int4_column(row + start, count, panel, column);
    }
  }
}

// --- inputs

static void quantise_group(const float *x, int16_t *numbers, float *scale, float *sum) {
  vf most = vf_set(0), total = vf_set(0);
  for (int i = 0; i < GROUP; i += VW) {
    most = vf_max(most, vf_abs(vf_load(x + i)));
    total = vf_add(total, vf_load(x + i));
  }
  const float largest = vf_largest(most), added = vf_sum(total);
  // The difference is 0 where all is finite, and NaN otherwise.
  *scale = largest / LARGEST_NUMBER + (added - added);
  const vf inverse = vf_set(largest > 0 ? LARGEST_NUMBER / largest : 0);
  for (int i = 0; i < GROUP; i += VW) vf_store_int16(numbers + i, vf_mul(vf_load(x + i), inverse));
  int32_t number_sum = 0;
  for (int i = 0; i < GROUP; i++) number_sum += numbers[i];
  *sum = (float)number_sum * *scale;
}

void quantise(const float *x, int64_t count, int16_t *numbers, float *scales, float *sums) {
  const int64_t whole = count / GROUP;
  for (int64_t group = 0; group < whole; group++)
    quantise_group(x + group * GROUP, numbers + group * GROUP, scales + group, sums + group);
  if (count % GROUP != 0) {
    float rest[GROUP] = {0};
    memcpy(rest, x + whole * GROUP, (size_t)(count % GROUP) * sizeof(float));
    quantise_group(rest, numbers + whole * GROUP, scales + whole, sums + whole);
  }
}

// --- products: a tile of `count` rows and TILE columns. `count` is constant where these are inlined.

INLINE void load_floats(Format format, const uint8_t *panel, int64_t input, vf *w) {
  for (int v = 0; v < NV; v++) {
    const int64_t place = input * TILE + v * VW;
    w[v] = format == FP32 ? vf_load((const float *)panel + place) : vf_load_half((const uint16_t *)panel + place);
  }
}

INLINE void float_tile(const int count, Format format, const uint8_t *panel, int64_t inputs, const float *x,
                       float *tile) {
  vf sums[FLOAT_ROWS][NV];
  for (int r = 0; r < count; r++)
    for (int v = 0; v < NV; v++) sums[r][v] = vf_set(0);
  for (int64_t i = 0; i < inputs; i++) {
    vf w[NV];
    load_floats(format, panel, i, w);
    for (int r = 0; r < count; r++) {
      const vf value = vf_set(x[r * inputs + i]);
      for (int v = 0; v < NV; v++) sums[r][v] = vf_fma(value, w[v], sums[r][v]);
    }
  }
  for (int r = 0; r < count; r++)
    for (int v = 0; v < NV; v++) vf_store(tile + r * TILE + v * VW, sums[r][v]);
}

INLINE void int_tile(const int count, Format format, const uint8_t *panel, int64_t groups, const int16_t *numbers,
                     const float *scales, const float *sums, float *tile) {
  for (int r = 0; r < count; r++)
    for (int v = 0; v < NV; v++) vf_store(tile + r * TILE + v * VW, vf_set(0));
  for (int64_t g = 0; g < groups; g++) {
    vi dots[INT_ROWS][NV];
    for (int r = 0; r < count; r++)
      for (int v = 0; v < NV; v++) dots[r][v] = vi_zero();
    const int16_t *x = numbers + g * GROUP;
#pragma GCC unroll 2
    for (int pair = 0; pair < GROUP / 2; pair++) {
      vi w[NV];
      if (format == INT4)
        vi_load_u4(panel + pair * TILE, w);
      else
        vi_load_s8(panel + pair * TILE * 2, w);
      for (int r = 0; r < count; r++) {
        const vi values = vi_pair(x + r * groups * GROUP + pair * 2);
        for (int v = 0; v < NV; v++) dots[r][v] = vi_keep(vi_dot2(dots[r][v], w[v], values));
      }
    }
    panel += format == INT4 ? GROUP / 2 * TILE : GROUP * TILE;
    for (int v = 0; v < NV; v++) {
      const vf scale = vf_load_half((const uint16_t *)panel + v * VW);
      const vf base = format == INT4 ? vf_load_half((const uint16_t *)panel + TILE + v * VW) : vf_set(0);
      for (int r = 0; r < count; r++) {
        float *place = tile + r * TILE + v * VW;
        const vf factor = vf_mul(scale, vf_set(scales[r * groups + g]));
        vf sum = vf_fma(vi_to_float(dots[r][v]), factor, vf_load(place));
        if (format == INT4) sum = vf_fma(base, vf_set(sums[r * groups + g]), sum);
        vf_store(place, sum);
      }
    }
    panel += format == INT4 ? 2 * TILE * 2 : TILE * 2;
  }
}

INLINE void float_rows(const int count, Format format, const Linear *layer, const uint8_t *panel, const Rows *x,
                       int64_t row, float *tile) {
  float_tile(count, format, panel, layer->inputs, x->floats + row * layer->inputs, tile);
}

INLINE void int_rows(const int count, Format format, const Linear *layer, const uint8_t *panel, const Rows *x,
                     int64_t row, float *tile) {
  const int64_t groups = num_groups(layer->inputs);
  int_tile(count, format, panel, groups, x->numbers + row * groups * GROUP, x->scales + row * groups,
           x->sums + row * groups, tile);
}

// `count` becomes a constant in each case, so that the sums stay in registers.
#define CASE(COUNT)                                                                     \
  case COUNT:                                                                           \
    if (is_int && COUNT <= INT_ROWS) int_rows(COUNT, format, layer, panel, x, row, tile); \
    if (!is_int && COUNT <= FLOAT_ROWS) float_rows(COUNT, format, layer, panel, x, row, tile); \
    break;

INLINE void tile_of(Format format, const Linear *layer, const uint8_t *panel, const Rows *x, int64_t row, int count,
                    float *tile) {
  const int is_int = format == INT8 || format == INT4;
  switch (count) {
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
    CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
  }
}

static void store_tile(const Linear *layer, const float *tile, float *y, int64_t row, int count, int64_t panel, int add) {
  const int64_t first = panel * TILE;
  const int64_t columns = layer->outputs - first < TILE ? layer->outputs - first : TILE;
  for (int r = 0; r < count; r++) {
    float *out = y + (row + r) * layer->outputs + first;
    for (int64_t c = 0; c < columns; c++) {
      const float sum = layer->bias == NULL ? tile[r * TILE + c] : tile[r * TILE + c] + layer->bias[first + c];
      out[c] = add ? out[c] + sum : sum;
    }
  }
}

INLINE void panels_of(Format format, const Linear *layer, const Rows *x, float *y, int64_t begin, int64_t end,
                      int64_t first, int64_t last, int add) {
  const int most = format == FP32 || format == FP16 ? FLOAT_ROWS : INT_ROWS;
  const int64_t bytes = panel_bytes(format, layer->inputs);
  for (int64_t panel = first; panel < last; panel++) {
    for (int64_t row = begin; row < end; row += most) {
      const int count = end - row < most ? (int)(end - row) : most;
      float tile[FLOAT_ROWS * TILE];
      tile_of(format, layer, layer->packed + panel * bytes, x, row, count, tile);
      store_tile(layer, tile, y, row, count, panel, add);
    }
  }
}

void linear_panels(const Linear *layer, const Rows *x, float *y, int64_t begin, int64_t end, int64_t first,
                   int64_t last, int add) {
  switch (layer->format) {
    case FP32: panels_of(FP32, layer, x, y, begin, end, first, last, add); break;
    case FP16: panels_of(FP16, layer, x, y, begin, end, first, last, add); break;
    case INT8: panels_of(INT8, layer, x, y, begin, end, first, last, add); break;
    case INT4: panels_of(INT4, layer, x, y, begin, end, first, last, add); break;
  }
}
