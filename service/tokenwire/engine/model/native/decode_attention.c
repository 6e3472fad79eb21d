// Attention of one query a sequence over the paged cache, in float32.
//
// Compiled on the machine that runs it, with GROUP (query heads that share a key head), KEY_DIM and VALUE_DIM as
// constants, so that the inner loops have fixed lengths and use the vectors of the processor.

#include <stdint.h>
#include <string.h>

// Below this many products of a key row and its group, waking a second thread takes longer than the work.
enum { MIN_PARALLEL_ROWS = 512 };

// e^x for x <= 0, to about 2e-7 relative (the polynomial of Cephes' expf); vectorises, unlike libm's. NaN stays NaN.
static inline float exp_not_positive(float x) {
  x = x < -87.0f ? -87.0f : x;
  const float n = __builtin_rintf(x * 1.44269504088896341f);
  const float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t bits = ((int32_t)n + 127) << 23;
  float power;
  memcpy(&power, &bits, sizeof power);
  return p * power;
}

// One sequence and one key head: query [GROUP, KEY_DIM] -> out [GROUP, VALUE_DIM]. Keys are [rows, KEY_DIM] and values
// [rows, VALUE_DIM] of that head; position i is in row blocks[i / block_size] * block_size + i % block_size.
// weights is scratch for [GROUP, end] floats.
static void attend(float *out, const float *query, const float *keys, const float *values, const int32_t *blocks,
                   int64_t begin, int64_t end, int64_t block_size, float scale, float *weights) {
  float most[GROUP], total[GROUP];
  for (int g = 0; g < GROUP; g++) most[g] = -__builtin_inff(), total[g] = 0.0f;
  for (int64_t i = begin; i < end; i++) {
    const float *key = keys + (blocks[i / block_size] * block_size + i % block_size) * KEY_DIM;
    for (int g = 0; g < GROUP; g++) {
      float product = 0.0f;
      for (int d = 0; d < KEY_DIM; d++) product += query[g * KEY_DIM + d] * key[d];
      product *= scale;
      weights[g * end + i] = product;
      most[g] = product <= most[g] ? most[g] : product;
    }
  }
  for (int g = 0; g < GROUP; g++) {
    float sum = 0.0f;
    for (int64_t i = begin; i < end; i++) {
      weights[g * end + i] = exp_not_positive(weights[g * end + i] - most[g]);
      sum += weights[g * end + i];
    }
    total[g] = sum;
  }
  memset(out, 0, sizeof(float) * GROUP * VALUE_DIM);
  for (int64_t start = begin; start < end;) {
    // A block's values stay in the first-level cache for all heads of the group.
    const int64_t block = start / block_size;
    const int64_t stop = (block + 1) * block_size < end ? (block + 1) * block_size : end;
    const float *rows = values + (blocks[block] - block) * block_size * VALUE_DIM;
    for (int g = 0; g < GROUP; g++) {
      float sums[VALUE_DIM];
      memcpy(sums, out + g * VALUE_DIM, sizeof sums);
      for (int64_t i = start; i < stop; i++)
        for (int d = 0; d < VALUE_DIM; d++) sums[d] += weights[g * end + i] * rows[i * VALUE_DIM + d];
      memcpy(out + g * VALUE_DIM, sums, sizeof sums);
    }
    start = stop;
  }
  for (int g = 0; g < GROUP; g++)
    for (int d = 0; d < VALUE_DIM; d++) out[g * VALUE_DIM + d] /= total[g];
}

// query [sequences, kv_heads, GROUP, KEY_DIM] -> out [sequences, kv_heads, GROUP, VALUE_DIM].
// keys [kv_heads, rows, KEY_DIM], values [kv_heads, rows, VALUE_DIM]; blocks [sequences, max_blocks]; lengths [sequences],
// the keys of each sequence; window, how many of the newest keys are seen (0: all);
// scratch [sequences * kv_heads, GROUP * max_length].
void decode_attention(float *out, const float *query, const float *keys, const float *values, const int32_t *blocks,
                      const int32_t *lengths, int64_t sequences, int64_t kv_heads, int64_t rows, int64_t max_blocks,
                      int64_t max_length, int64_t block_size, int64_t window, float scale, float *scratch,
                      int threads) {
  const int64_t tasks = sequences * kv_heads;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (tasks * max_length > MIN_PARALLEL_ROWS)
  for (int64_t task = 0; task < tasks; task++) {
    const int64_t sequence = task / kv_heads, head = task % kv_heads, end = lengths[sequence];
    const int64_t begin = window > 0 && end > window ? end - window : 0;
    attend(out + task * GROUP * VALUE_DIM, query + task * GROUP * KEY_DIM, keys + head * rows * KEY_DIM,
           values + head * rows * VALUE_DIM, blocks + sequence * max_blocks, begin, end, block_size, scale,
           scratch + task * GROUP * max_length);
  }
}
