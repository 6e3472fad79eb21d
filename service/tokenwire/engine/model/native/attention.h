// Attention over the paged cache, for decodes and prompts alike, in float32.
//
// What a query gives depends on its own keys alone, bit by bit: on no other query, and not on how a prompt was cut.

#pragma once

#include <stdint.h>

// One layer's cache. Block b of a head has keys [head_dim][block_size] and values [block_size][head_dim], so that keys
// of a tile stand side by side in one vector.
typedef struct {
  float *keys, *values;  // [kv_heads][blocks][block_size * head_dim]
  int64_t blocks, block_size, kv_heads, head_dim;
} Cache;

// Queries of one sequence at positions [first, first + count), heads of one key head, and where the keys are.
typedef struct {
  const float *queries;  // [count] rows, `stride` floats apart; a row is [group][head_dim]
  float *out;            // as queries
  int64_t stride, out_stride, count, first, group;
  const int32_t *table;  // blocks of the sequence
  int64_t window;        // how many of the newest keys are seen; 0: all
  float scale;
} Queries;

// Floats of scratch that attend needs for queries whose last one is at `position`.
int64_t attention_scratch(const Queries *queries, int64_t head_dim);

void attend(const Cache *cache, int64_t kv_head, const Queries *queries, float *scratch);

// Put a key and a value [head_dim] of a head into the cache.
void cache_write(const Cache *cache, int64_t kv_head, int64_t block, int64_t offset, const float *key,
                 const float *value);
