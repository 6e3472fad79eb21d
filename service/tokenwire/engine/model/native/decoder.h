// The forward pass of a Llama-shaped decoder: token ids in, logits out, one call a step.

#pragma once

#include <stdint.h>

#include "linear.h"

typedef struct {
  const float *input_norm, *output_norm;  // [hidden]: before the attention, before the feed-forward
  const float *query_norm, *key_norm;     // [head_dim], or NULL
  Linear qkv, output, gate_up, down;
  int64_t window;  // of the attention; 0: none
  float scale;     // of the scores
  float *keys, *values;
} Layer;

typedef struct {
  int64_t num_layers, hidden, heads, kv_heads, head_dim, intermediate, blocks, block_size;
  float epsilon;           // of the norms
  const float *embedding;  // [vocabulary, hidden]
  const float *cosines, *sines;  // [positions, head_dim] of the rotation
  const float *norm;             // [hidden], the last one
  Linear head;
  const Layer *layers;
} Decoder;

// A packed batch: the tokens of spans, one after the other. A span is a part of one sequence, at its end.
typedef struct {
  int64_t rows, spans, logit_rows, table_width;
  const int64_t *token_ids, *positions;  // [rows]
  const int64_t *counts;                 // [spans]: rows
  const int64_t *keys;                   // [spans]: positions of the sequence so far, those rows included
  const int32_t *tables;                 // [spans, table_width]: blocks
  const int64_t *wanted;                 // [logit_rows]: rows whose logits are asked
} Batch;

typedef struct Pass Pass;

// Threads and memory for passes of a decoder; NULL where they cannot be had.
Pass *pass_new(int threads);

void pass_free(Pass *pass);

// Writes the batch's keys and values, and logits [logit_rows, vocabulary]. Returns 0, or 1 where memory ran out.
int pass_run(Pass *pass, const Decoder *decoder, const Batch *batch, float *logits);
