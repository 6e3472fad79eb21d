#include "attention.h"

#include "simd.h"

enum { ROWS = VW == 16 ? 12 : 6 };  // that a product works on at once

static int64_t round_up(int64_t count) { return (count + TILE - 1) / TILE * TILE; }

int64_t attention_scratch(const Queries *queries, int64_t head_dim) {
  const int64_t rows = queries->count * queries->group;
  return rows * (round_up(queries->first + queries->count) + 2 * round_up(head_dim)) + 2 * round_up(head_dim) * TILE;
}

void cache_write(const Cache *cache, int64_t kv_head, int64_t block, int64_t offset, const float *key,
                 const float *value) {
  const int64_t dim = cache->head_dim, size = cache->block_size;
  const int64_t start = (kv_head * cache->blocks + block) * size * dim;
  for (int64_t d = 0; d < dim; d++) cache->keys[start + d * size + offset] = key[d];
  memcpy(cache->values + start + offset * dim, value, (size_t)dim * sizeof(float));
}

// Products of `count` rows [count][depth] with a tile [depth][TILE] whose lines are `stride` apart.
INLINE void tile_product(const int count, const float *rows, int64_t depth, const float *tile, int64_t stride,
                         float scale, float *out, int64_t out_stride) {
  vf sums[ROWS][NV];
  for (int r = 0; r < count; r++)
    for (int v = 0; v < NV; v++) sums[r][v] = vf_set(0);
  for (int64_t d = 0; d < depth; d++) {
    for (int v = 0; v < NV; v++) {
      const vf line = vf_load(tile + d * stride + v * VW);
      for (int r = 0; r < count; r++) sums[r][v] = vf_fma(vf_set(rows[r * depth + d]), line, sums[r][v]);
    }
  }
  for (int r = 0; r < count; r++)
    for (int v = 0; v < NV; v++) vf_store(out + r * out_stride + v * VW, vf_mul(sums[r][v], vf_set(scale)));
}

// The same for `count` rows of weights [count], `weight_stride` apart, and lines of values; added to `sums`.
INLINE void add_values(const int count, const float *weights, int64_t weight_stride, int64_t depth, const float *lines,
                       int64_t stride, float *out, int64_t out_stride) {
  vf sums[ROWS][NV];
  for (int r = 0; r < count; r++)
    for (int v = 0; v < NV; v++) sums[r][v] = vf_load(out + r * out_stride + v * VW);
  for (int64_t i = 0; i < depth; i++) {
    for (int v = 0; v < NV; v++) {
      const vf line = vf_load(lines + i * stride + v * VW);
      for (int r = 0; r < count; r++) sums[r][v] = vf_fma(vf_set(weights[r * weight_stride + i]), line, sums[r][v]);
    }
  }
  for (int r = 0; r < count; r++)
    for (int v = 0; v < NV; v++) vf_store(out + r * out_stride + v * VW, sums[r][v]);
}

#define CASE(COUNT, CALL) \
  case COUNT:             \
    if (COUNT <= ROWS) {  \
      enum { N = COUNT }; \
      CALL;               \
    }                     \
    break;
#define EACH_COUNT(count, CALL)                                                                        \
  switch (count) {                                                                                     \
    CASE(1, CALL) CASE(2, CALL) CASE(3, CALL) CASE(4, CALL) CASE(5, CALL) CASE(6, CALL) CASE(7, CALL) \
    CASE(8, CALL) CASE(9, CALL) CASE(10, CALL) CASE(11, CALL) CASE(12, CALL)                          \
  }

static void tile_products(int count, const float *rows, int64_t depth, const float *tile, int64_t stride, float scale,
                          float *out, int64_t out_stride) {
  EACH_COUNT(count, tile_product(N, rows, depth, tile, stride, scale, out, out_stride))
}

static void values_of(int count, const float *weights, int64_t weight_stride, int64_t depth, const float *lines,
                      int64_t stride, float *out, int64_t out_stride) {
  EACH_COUNT(count, add_values(N, weights, weight_stride, depth, lines, stride, out, out_stride))
}

// The keys from `first` on, a tile of them: where they stand, `stride` apart, or copied to `copy` [head_dim][TILE].
static const float *key_tile(const Cache *cache, int64_t kv_head, const int32_t *table, int64_t first, int64_t end,
                             float *copy, int64_t *stride) {
  const int64_t dim = cache->head_dim, size = cache->block_size;
  const float *keys = cache->keys + kv_head * cache->blocks * size * dim;
  if (size % TILE == 0) {
    *stride = size;
    return keys + table[first / size] * size * dim + first % size;
  }
  for (int64_t i = 0; i < TILE; i++) {
    const int64_t position = first + i < end ? first + i : end - 1;
    const float *key = keys + table[position / size] * size * dim + position % size;
    for (int64_t d = 0; d < dim; d++) copy[d * TILE + i] = key[d * size];
  }
  *stride = TILE;
  return copy;
}

// Up to TILE lines of values from position `first` on: where they stand, or copied with their ends filled up.
static const float *value_lines(const Cache *cache, int64_t kv_head, const int32_t *table, int64_t first, int64_t end,
                                float *copy, int64_t *count, int64_t *stride) {
  const int64_t dim = cache->head_dim, size = cache->block_size, left = size - first % size;
  const float *lines = cache->values + ((kv_head * cache->blocks + table[first / size]) * size + first % size) * dim;
  *count = left < end - first ? left : end - first;
  *stride = dim;
  if (dim % TILE == 0) return lines;
  *count = *count < TILE ? *count : TILE;
  *stride = round_up(dim);
  for (int64_t i = 0; i < *count; i++) {
    memcpy(copy + i * *stride, lines + i * dim, (size_t)dim * sizeof(float));
    memset(copy + i * *stride + dim, 0, (size_t)(*stride - dim) * sizeof(float));
  }
  return copy;
}

// Scores of positions [0, limit) with those below `least` left out → weights [keys], whose sum is returned. Positions
// behind get 0. The order of the sum is that of the positions.
static float softmax(float *scores, int64_t least, int64_t limit, int64_t begin, int64_t keys) {
  for (int64_t i = begin; i < least; i++) scores[i] = -__builtin_inff();
  for (int64_t i = limit; i < keys; i++) scores[i] = -__builtin_inff();
  vf most = vf_load(scores + begin);
  for (int64_t i = begin; i < keys; i += VW) most = vf_max(most, vf_load(scores + i));
  const vf largest = vf_set(vf_largest(most));
  vf sums[NV];
  for (int v = 0; v < NV; v++) sums[v] = vf_set(0);
  for (int64_t i = begin; i < keys; i += TILE) {
    for (int v = 0; v < NV; v++) {
      const vf weight = vf_exp(vf_sub(vf_load(scores + i + v * VW), largest));
      vf_store(scores + i + v * VW, weight);
      sums[v] = vf_add(sums[v], weight);
    }
  }
  return tile_sum(sums);
}

void attend(const Cache *cache, int64_t kv_head, const Queries *queries, float *scratch) {
  const int64_t dim = cache->head_dim, padded = round_up(dim);
  const int64_t rows = queries->count * queries->group, end = queries->first + queries->count;
  const int64_t keys = round_up(end), seen = queries->window > 0 ? queries->first + 1 - queries->window : 0;
  const int64_t begin = seen > 0 ? seen / TILE * TILE : 0;
  float *scores = scratch, *packed = scores + rows * keys, *out = packed + rows * padded, *copy = out + rows * padded;
  for (int64_t t = 0; t < queries->count; t++)
    memcpy(packed + t * queries->group * dim, queries->queries + t * queries->stride,
           (size_t)(queries->group * dim) * sizeof(float));
  for (int64_t first = begin; first < end; first += TILE) {
    int64_t stride;
    const float *tile = key_tile(cache, kv_head, queries->table, first, end, copy, &stride);
    for (int64_t r = 0; r < rows; r += ROWS)
      tile_products((int)(rows - r < ROWS ? rows - r : ROWS), packed + r * dim, dim, tile, stride, queries->scale,
                    scores + r * keys + first, keys);
  }
  float totals[rows];
  for (int64_t r = 0; r < rows; r++) {
    const int64_t limit = queries->first + r / queries->group + 1;
    const int64_t least = queries->window > 0 && limit > queries->window ? limit - queries->window : 0;
    totals[r] = softmax(scores + r * keys, least, limit, begin, keys);
  }
  memset(out, 0, (size_t)(rows * padded) * sizeof(float));
  for (int64_t first = begin, count; first < end; first += count) {
    int64_t stride;
    const float *lines = value_lines(cache, kv_head, queries->table, first, end, copy, &count, &stride);
    for (int64_t d = 0; d < dim; d += TILE)
      for (int64_t r = 0; r < rows; r += ROWS)
        values_of((int)(rows - r < ROWS ? rows - r : ROWS), scores + r * keys + first, keys, count, lines + d, stride,
                  out + r * padded + d, padded);
  }
  for (int64_t r = 0; r < rows; r++) {
    float *place = queries->out + r / queries->group * queries->out_stride + r % queries->group * dim;
    for (int64_t d = 0; d < dim; d++) place[d] = out[r * padded + d] / totals[r];
  }
}
