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

// --- packing: a group of inputs of a whole panel at once, so that its columns are the lanes of vectors.

typedef float Block[GROUP][TILE];  // weights [input][column]; what there is not is 0

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

INLINE vf nearest(vf x, float low, float high) { return vf_min(vf_max(vf_round(x), vf_set(low)), vf_set(high)); }

static void pack_float(const Block block, int64_t count, uint8_t *panel) {
  memcpy(panel, block, (size_t)count * TILE * sizeof(float));
}

static void pack_half(Block block, int64_t count, uint8_t *panel) {
  uint16_t *halves = (uint16_t *)panel;
  for (int64_t i = 0; i < count; i++) {
    for (int c = 0; c < TILE; c++) {
      halves[i * TILE + c] = to_half(block[i][c]);
      block[i][c] = from_half(halves[i * TILE + c]);
    }
  }
}

// Halves of 16 numbers, and what those stand for.
static void store_halves(float *numbers, uint8_t *place) {
  for (int c = 0; c < TILE; c++) {
    const uint16_t bits = to_half(numbers[c]);
    memcpy(place + c * 2, &bits, 2);
    numbers[c] = from_half(bits);
  }
}

static void invert(const float *scale, float *inverse) {
  for (int c = 0; c < TILE; c++) inverse[c] = scale[c] > 0 ? 1 / scale[c] : 0;
}

static void pack_int8(Block block, int64_t count, uint8_t *group) {
  float scale[TILE], inverse[TILE], numbers[TILE];
  for (int v = 0; v < TILE; v += VW) {
    vf most = vf_set(0);
    for (int64_t i = 0; i < count; i++) most = vf_max(vf_abs(vf_load(block[i] + v)), most);
    vf_store(scale + v, vf_div(most, vf_set(127)));
  }
  store_halves(scale, group + GROUP * TILE);
  invert(scale, inverse);
  for (int64_t i = 0; i < count; i++) {
    for (int v = 0; v < TILE; v += VW) {
      const vf number = nearest(vf_mul(vf_load(block[i] + v), vf_load(inverse + v)), -127, 127);
      vf_store(numbers + v, number);
      vf_store(block[i] + v, vf_mul(number, vf_load(scale + v)));
    }
    for (int c = 0; c < TILE; c++) group[i / 2 * TILE * 2 + c * 2 + i % 2] = (uint8_t)(int)numbers[c];
  }
}

static void pack_int4(Block block, int64_t count, uint8_t *group) {
  float base[TILE], scale[TILE], inverse[TILE], numbers[TILE];
  for (int v = 0; v < TILE; v += VW) {
    vf least = vf_load(block[0] + v), most = least;
    for (int64_t i = 1; i < count; i++) {
      least = vf_min(vf_load(block[i] + v), least);
      most = vf_max(vf_load(block[i] + v), most);
    }
    vf_store(base + v, least);
    vf_store(scale + v, vf_div(vf_sub(most, least), vf_set(15)));
  }
  store_halves(scale, group + GROUP / 2 * TILE);
  store_halves(base, group + GROUP / 2 * TILE + TILE * 2);
  invert(scale, inverse);
  for (int64_t i = 0; i < count; i++) {
    for (int v = 0; v < TILE; v += VW) {
      const vf above = vf_sub(vf_load(block[i] + v), vf_load(base + v));
      const vf number = nearest(vf_mul(above, vf_load(inverse + v)), 0, 15);
      vf_store(numbers + v, number);
      vf_store(block[i] + v, vf_fma(number, vf_load(scale + v), vf_load(base + v)));
    }
    // Columns 0 … 7 have the low halves of the bytes, columns 8 … 15 the high ones.
    for (int c = 0; c < TILE / 2; c++)
      group[i / 2 * TILE + c * 2 + i % 2] = (uint8_t)((int)numbers[c] | (int)numbers[TILE / 2 + c] << 4);
  }
}

// Weights of a panel's columns that there are.
static void load_block(const float *weights, int64_t inputs, int64_t count, int64_t columns, Block block) {
  memset(block, 0, sizeof(Block));
  for (int64_t c = 0; c < columns; c++)
    for (int64_t i = 0; i < count; i++) block[i][c] = weights[c * inputs + i];
}

static void store_block(const Block block, float *weights, int64_t inputs, int64_t count, int64_t columns) {
  for (int64_t c = 0; c < columns; c++)
    for (int64_t i = 0; i < count; i++) weights[c * inputs + i] = block[i][c];
}

static void pack_block(Format format, Block block, int64_t count, uint8_t *place) {
  switch (format) {
    case FP32: pack_float(block, count, place); break;
    case FP16: pack_half(block, count, place); break;
    case INT8: pack_int8(block, count, place); break;
    case INT4: pack_int4(block, count, place); break;
  }
}

static float largest_of(const Block block) {
  vf most = vf_set(0);
  for (int i = 0; i < GROUP; i++)
    for (int v = 0; v < TILE; v += VW) most = vf_max(vf_abs(vf_load(block[i] + v)), most);
  return vf_largest(most);
}

static float largest_change(const Block before, const Block after) {
  Block change;
  for (int i = 0; i < GROUP; i++)
    for (int v = 0; v < TILE; v += VW) vf_store(change[i] + v, vf_sub(vf_load(after[i] + v), vf_load(before[i] + v)));
  return largest_of(change);
}

float pack_weights(Format format, int64_t outputs, int64_t inputs, float *weights, uint8_t *packed) {
  const int64_t block_bytes = panel_bytes(format, GROUP);
  float change = 0, largest = 0;
  memset(packed, 0, (size_t)packed_bytes(format, outputs, inputs));
  for (int64_t output = 0; output < outputs; output += TILE) {
    uint8_t *panel = packed + output / TILE * panel_bytes(format, inputs);
    const int64_t columns = outputs - output < TILE ? outputs - output : TILE;
    for (int64_t start = 0; start < inputs; start += GROUP) {
      const int64_t count = inputs - start < GROUP ? inputs - start : GROUP;
      float *place = weights + output * inputs + start;
      Block before, block;
      load_block(place, inputs, count, columns, before);
      memcpy(block, before, sizeof block);
      pack_block(format, block, count, panel + start / GROUP * block_bytes);
      store_block(block, place, inputs, count, columns);
      change = max_float(largest_change(before, block), change);
      largest = max_float(largest_of(before), largest);
    }
  }
  return largest > 0 ? change / largest : 0;
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
