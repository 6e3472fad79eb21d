// Prints a hash of the bits of each thing that the native pass computes, over shapes of every kind: equal lines on two
// processors are equal bits. Compiled with a sanitizer, it is what that watches.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "decoder.h"
#include "linear.h"

static uint32_t state = 1;

// Even in [-1, 1), the same on every processor (Marsaglia's xorshift).
static float draw(void) {
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return (float)(int32_t)(state >> 8) / 8388608.0f - 1.0f;
}

static float *drawn(int64_t count, float size) {
  float *x = malloc((size_t)count * sizeof(float));
  for (int64_t i = 0; i < count; i++) x[i] = draw() * size;
  return x;
}

// FNV-1a
static uint64_t hash(const void *bytes, int64_t count) {
  uint64_t h = 14695981039346656037u;
  for (int64_t i = 0; i < count; i++) h = (h ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
  return h;
}

static Linear packed(Format format, int64_t outputs, int64_t inputs) {
  float *weights = drawn(outputs * inputs, 0.2f);
  uint8_t *bytes = malloc((size_t)packed_bytes(format, outputs, inputs));
  pack_weights(format, outputs, inputs, weights, bytes);
  free(weights);
  return (Linear){format, outputs, inputs, bytes, NULL};
}

static void sweep_products(Format format, int64_t outputs, int64_t inputs) {
  const Linear linear = packed(format, outputs, inputs);
  const int64_t rows = 13, groups = num_groups(inputs);
  float *x = drawn(rows * inputs, 3), *y = calloc((size_t)(rows * outputs), sizeof(float));
  float *scales = drawn(rows * groups, 0), *sums = drawn(rows * groups, 0);
  int16_t *numbers = malloc((size_t)(rows * groups * GROUP) * sizeof(int16_t));
  for (int64_t r = 0; r < rows; r++)
    quantise(x + r * inputs, inputs, numbers + r * groups * GROUP, scales + r * groups, sums + r * groups);
  const Rows ready = {x, numbers, scales, sums};
  for (int64_t last = 1; last <= rows; last++) linear_panels(&linear, &ready, y, 0, last, 0, num_panels(outputs), 1);
  printf("product format %d, %d x %d: packed %016llx, inputs %016llx, sums %016llx\n", format, (int)outputs, (int)inputs,
         (unsigned long long)hash(linear.packed, packed_bytes(format, outputs, inputs)),
         (unsigned long long)hash(numbers, rows * groups * GROUP * 2),
         (unsigned long long)hash(y, rows * outputs * 4));
  free((void *)linear.packed), free(x), free(y), free(scales), free(sums), free(numbers);
}

static void sweep_attention(int64_t size, int64_t dim, int64_t group, int64_t window) {
  enum { LENGTH = 53 };
  const int64_t blocks = (LENGTH + size - 1) / size, row = group * dim;
  float *keys = drawn(blocks * size * dim, 2), *values = drawn(blocks * size * dim, 2);
  float *queries = drawn(LENGTH * row, 2), *out = drawn(LENGTH * row, 0);
  int32_t table[LENGTH];
  for (int b = 0; b < blocks; b++) table[b] = (int32_t)blocks - 1 - b;
  const Cache cache = {keys, values, blocks, size, 1, dim};
  for (int64_t first = 0; first < LENGTH; first += 5) {
    const int64_t count = LENGTH - first < 5 ? LENGTH - first : 5;
    const Queries asked = {queries + first * row, out + first * row, row, row, count, first, group, table, window, 0.3f};
    float *scratch = malloc((size_t)attention_scratch(&asked, dim) * sizeof(float));
    attend(&cache, 0, &asked, scratch);
    free(scratch);
  }
  printf("attention block %d dim %d group %d window %d: %016llx\n", (int)size, (int)dim, (int)group, (int)window,
         (unsigned long long)hash(out, LENGTH * row * 4));
  free(keys), free(values), free(queries), free(out);
}

enum { HIDDEN = 60, HEADS = 6, KV = 2, DIM = 20, WIDE = 100, WORDS = 40, SIZE = 4, BLOCKS = 32, LAYERS = 3 };

// Two texts of 19 and 9 tokens, side by side in steps of 5 and 2, on so many threads.
static void sweep_pass(Format format, int threads) {
  state = 7;
  const int64_t positions = BLOCKS * SIZE, cached = (int64_t)KV * BLOCKS * SIZE * DIM;
  float *embedding = drawn(WORDS * HIDDEN, 1), *turns = drawn(positions * DIM, 1), *norm = drawn(HIDDEN, 1);
  float *caches = drawn(LAYERS * 2 * cached, 0), *logits = drawn(7 * WORDS, 0);
  Layer layers[LAYERS];
  for (int i = 0; i < LAYERS; i++)
    layers[i] = (Layer){norm, norm, NULL, NULL, packed(format, (HEADS + 2 * KV) * DIM, HIDDEN),
                        packed(format, HIDDEN, HEADS * DIM), packed(format, 2 * WIDE, HIDDEN),
                        packed(format, HIDDEN, WIDE), 16, 0.2f, caches + i * 2 * cached, caches + (i * 2 + 1) * cached};
  const Decoder decoder = {LAYERS, HIDDEN, HEADS, KV, DIM, WIDE, BLOCKS, SIZE, 1e-5f, embedding, turns, turns, norm,
                           packed(format, WORDS, HIDDEN), layers};
  int32_t tables[2 * 5];
  for (int i = 0; i < 10; i++) tables[i] = 1 + i % 5 * 2 + i / 5;
  Pass *pass = pass_new(threads);
  uint64_t all = 0;
  for (int64_t done[2] = {0, 0}; done[0] < 19; done[0] += 5, done[1] += 2) {
    const int64_t counts[2] = {19 - done[0] < 5 ? 19 - done[0] : 5, 2}, rows = counts[0] + counts[1];
    const int64_t keys[2] = {done[0] + counts[0], done[1] + counts[1]};
    int64_t ids[7], places[7], wanted[7];
    for (int64_t r = 0; r < rows; r++) {
      const int span = r >= counts[0];
      places[r] = done[span] + r - (span ? counts[0] : 0), wanted[r] = r, ids[r] = (places[r] * 7 + span * 3) % WORDS;
    }
    const Batch batch = {rows, 2, rows, 5, ids, places, counts, keys, tables, wanted};
    if (pass_run(pass, &decoder, &batch, logits) != 0) abort();
    all = all * 31 + hash(logits, rows * WORDS * 4);
  }
  pass_free(pass);
  printf("pass format %d: %016llx\n", format, (unsigned long long)all);
  for (int i = 0; i < LAYERS; i++)
    free((void *)layers[i].qkv.packed), free((void *)layers[i].output.packed), free((void *)layers[i].gate_up.packed),
        free((void *)layers[i].down.packed);
  free((void *)decoder.head.packed), free(embedding), free(turns), free(norm), free(caches), free(logits);
}

int main(void) {
  static const int64_t shapes[][2] = {{1, 1}, {7, 5}, {16, 32}, {17, 33}, {40, 100}, {33, 64}, {5, 31}};
  static const int64_t sizes[] = {1, 3, 16, 32}, dims[] = {8, 16, 20, 64, 80}, windows[] = {0, 1, 5, 40};
  for (Format format = FP32; format <= INT4; format++) {
    for (int i = 0; i < 7; i++) sweep_products(format, shapes[i][0], shapes[i][1]);
    for (int threads = 1; threads <= 4; threads++) sweep_pass(format, threads);
  }
  for (int s = 0; s < 4; s++)
    for (int d = 0; d < 5; d++) sweep_attention(sizes[s], dims[d], 1 + (s * 5 + d) % 8, windows[(s + d) % 4]);
}
