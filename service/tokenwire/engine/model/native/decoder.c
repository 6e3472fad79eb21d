#include "decoder.h"

#include <stdlib.h>

#include "attention.h"
#include "simd.h"
#include "team.h"

enum {
  MAX_PHASES = 4096,
  PHASES_A_LAYER = 10,
  ROW_BLOCK = 48,        // rows of a task of a product, few enough for the second-level cache
  TASKS_A_MEMBER = 4,    // of a product, so that nobody waits long for the last one
  ATTENTION_ROWS = 12,   // queries times heads of a task of a prompt's attention
};

typedef struct {
  int64_t span, kv_head, first_row, first, count;
} AttentionTask;

struct Pass {
  Team *team;
  int threads;
  // Of the pass that runs.
  const Decoder *decoder;
  const Batch *batch;
  float *logits;
  int64_t num_tasks, scratch_floats;
  // Activations of all rows, what the layers' inputs are as numbers, and the tasks of the attention.
  float *hidden, *normed, *qkv, *attended, *gate_up, *gated, *scales, *sums, *scratch;
  int16_t *numbers;
  int64_t *spans;  // [rows]: the span of each
  AttentionTask *tasks;
  void *memory;
  size_t memory_bytes;
};

typedef struct {
  Pass *pass;
  const Layer *layer;
} LayerPass;

typedef struct {
  const Linear *linear;
  Rows x;
  float *y;
  int64_t rows, row_blocks, panels;
  int add;
} Product;

// --- rows

static int is_int(const Linear *linear) { return linear->format == INT8 || linear->format == INT4; }

// Make row `row` of x [rows, inputs] ready for a layer.
static void prepare(const Pass *pass, const Linear *linear, const float *x, int64_t row) {
  if (!is_int(linear)) return;
  const int64_t groups = num_groups(linear->inputs);
  quantise(x + row * linear->inputs, linear->inputs, pass->numbers + row * groups * GROUP, pass->scales + row * groups,
           pass->sums + row * groups);
}

// Root-mean-square norm (Zhang and Sennrich 2019) of `count` floats.
static void norm(const float *x, const float *weight, int64_t count, float epsilon, float *out) {
  vf squares[NV];
  for (int v = 0; v < NV; v++) squares[v] = vf_set(0);
  int64_t i = 0;
  for (; i + TILE <= count; i += TILE)
    for (int v = 0; v < NV; v++)
      squares[v] = vf_fma(vf_load(x + i + v * VW), vf_load(x + i + v * VW), squares[v]);
  float sum = tile_sum(squares);
  for (; i < count; i++) sum = __builtin_fmaf(x[i], x[i], sum);
  const float factor = 1.0f / __builtin_sqrtf(sum / (float)count + epsilon);
  for (i = 0; i < count; i++) out[i] = x[i] * factor * weight[i];
}

static void embed_row(void *context, long row, int member) {
  (void)member;
  const Pass *pass = context;
  const int64_t hidden = pass->decoder->hidden;
  memcpy(pass->hidden + row * hidden, pass->decoder->embedding + pass->batch->token_ids[row] * hidden,
         (size_t)hidden * sizeof(float));
}

// The norm in front of a layer, of all rows or of those whose logits are wanted.
typedef struct {
  const Pass *pass;
  const float *weight;
  const Linear *next;
  const int64_t *wanted;  // NULL: all rows
} Norm;

static void norm_row(void *context, long row, int member) {
  (void)member;
  const Norm *at = context;
  const Pass *pass = at->pass;
  const int64_t hidden = pass->decoder->hidden, source = at->wanted == NULL ? row : at->wanted[row];
  norm(pass->hidden + source * hidden, at->weight, hidden, pass->decoder->epsilon, pass->normed + row * hidden);
  prepare(pass, at->next, pass->normed, row);
}

// Rotary position embedding (Su et al. 2021) of one head, in the half-split order of transformers.
static void rotate(float *x, const float *cosines, const float *sines, int64_t dim) {
  for (int64_t i = 0; i < dim / 2; i++) {
    const float first = x[i], second = x[i + dim / 2];
    x[i] = first * cosines[i] - second * sines[i];
    x[i + dim / 2] = second * cosines[i + dim / 2] + first * sines[i + dim / 2];
  }
}

static Cache cache_of(const Decoder *decoder, const Layer *layer) {
  return (Cache){layer->keys, layer->values, decoder->blocks, decoder->block_size, decoder->kv_heads, decoder->head_dim};
}

static void rotate_and_write_row(void *context, long row, int member) {
  (void)member;
  const LayerPass *at = context;
  const Pass *pass = at->pass;
  const Decoder *decoder = pass->decoder;
  const Cache cache = cache_of(decoder, at->layer);
  const int64_t dim = decoder->head_dim, rotated = decoder->heads + decoder->kv_heads, size = decoder->block_size;
  const int64_t position = pass->batch->positions[row];
  float *heads = pass->qkv + row * at->layer->qkv.outputs;
  for (int64_t head = 0; head < rotated; head++) {
    float *x = heads + head * dim;
    const float *weight = head < decoder->heads ? at->layer->query_norm : at->layer->key_norm;
    if (weight != NULL) norm(x, weight, dim, decoder->epsilon, x);
    rotate(x, decoder->cosines + position * dim, decoder->sines + position * dim, dim);
  }
  const int32_t block = pass->batch->tables[pass->spans[row] * pass->batch->table_width + position / size];
  for (int64_t head = 0; head < decoder->kv_heads; head++)
    cache_write(&cache, head, block, position % size, heads + (decoder->heads + head) * dim,
                heads + (rotated + head) * dim);
}

static void prepare_attended_row(void *context, long row, int member) {
  (void)member;
  const LayerPass *at = context;
  prepare(at->pass, &at->layer->output, at->pass->attended, row);
}

// silu(gate) * up
static void gate_row(void *context, long row, int member) {
  (void)member;
  const LayerPass *at = context;
  const Pass *pass = at->pass;
  const int64_t width = pass->decoder->intermediate;
  const float *gate = pass->gate_up + row * 2 * width, *up = gate + width;
  float *out = pass->gated + row * width;
  int64_t i = 0;
  for (; i + VW <= width; i += VW) {
    const vf x = vf_load(gate + i), e = vf_exp(vf_sub(vf_set(0), x));
    vf_store(out + i, vf_mul(vf_div(x, vf_add(vf_set(1), e)), vf_load(up + i)));
  }
  for (; i < width; i++) {
    float lane[VW] = {gate[i]};
    vf_store(lane, vf_exp(vf_sub(vf_set(0), vf_load(lane))));
    out[i] = gate[i] / (1 + lane[0]) * up[i];
  }
  prepare(pass, &at->layer->down, pass->gated, row);
}

// --- attention

static void attend_task(void *context, long index, int member) {
  const LayerPass *at = context;
  const Pass *pass = at->pass;
  const Decoder *decoder = pass->decoder;
  const AttentionTask *task = &pass->tasks[index];
  const int64_t dim = decoder->head_dim, group = decoder->heads / decoder->kv_heads;
  const int64_t stride = at->layer->qkv.outputs, out_stride = decoder->heads * dim, column = task->kv_head * group * dim;
  const Queries queries = {
      .queries = pass->qkv + task->first_row * stride + column,
      .out = pass->attended + task->first_row * out_stride + column,
      .stride = stride,
      .out_stride = out_stride,
      .count = task->count,
      .first = task->first,
      .group = group,
      .table = pass->batch->tables + task->span * pass->batch->table_width,
      .window = at->layer->window,
      .scale = at->layer->scale,
  };
  const Cache cache = cache_of(decoder, at->layer);
  attend(&cache, task->kv_head, &queries, pass->scratch + member * pass->scratch_floats);
}

static int64_t queries_a_task(const Decoder *decoder) {
  const int64_t count = ATTENTION_ROWS * decoder->kv_heads / decoder->heads;
  return count > 0 ? count : 1;
}

static int64_t count_tasks(const Decoder *decoder, const Batch *batch) {
  const int64_t queries = queries_a_task(decoder);
  int64_t tasks = 0;
  for (int64_t span = 0; span < batch->spans; span++) tasks += (batch->counts[span] + queries - 1) / queries;
  return tasks * decoder->kv_heads;
}

// Also finds the span of each row.
static void plan_attention(Pass *pass) {
  const Decoder *decoder = pass->decoder;
  const Batch *batch = pass->batch;
  const int64_t queries = queries_a_task(decoder);
  pass->num_tasks = 0;
  int64_t row = 0;
  for (int64_t span = 0; span < batch->spans; span++) {
    const int64_t count = batch->counts[span], before = batch->keys[span] - count;
    for (int64_t r = 0; r < count; r++) pass->spans[row + r] = span;
    for (int64_t start = 0; start < count; start += queries)
      for (int64_t head = 0; head < decoder->kv_heads; head++)
        pass->tasks[pass->num_tasks++] = (AttentionTask){
            span, head, row + start, before + start, count - start < queries ? count - start : queries};
    row += count;
  }
}

static int64_t most_scratch(const Decoder *decoder, const Batch *batch) {
  int64_t most = 0;
  for (int64_t span = 0; span < batch->spans; span++) {
    const Queries queries = {.count = queries_a_task(decoder),
                             .group = decoder->heads / decoder->kv_heads,
                             .first = batch->keys[span]};
    const int64_t floats = attention_scratch(&queries, decoder->head_dim);
    most = floats > most ? floats : most;
  }
  return most;
}

// --- products

static void product_task(void *context, long index, int member) {
  (void)member;
  const Product *product = context;
  const int64_t begin = index % product->row_blocks * ROW_BLOCK, first = index / product->row_blocks * product->panels;
  const int64_t end = begin + ROW_BLOCK < product->rows ? begin + ROW_BLOCK : product->rows;
  const int64_t all = num_panels(product->linear->outputs);
  const int64_t last = first + product->panels < all ? first + product->panels : all;
  linear_panels(product->linear, &product->x, product->y, begin, end, first, last, product->add);
}

static void multiply(Pass *pass, Team *team, int member, const Linear *linear, const float *x, float *y, int64_t rows,
                     int add) {
  const int64_t panels = num_panels(linear->outputs), tasks = (int64_t)pass->threads * TASKS_A_MEMBER;
  Product product = {.linear = linear,
                     .x = {x, pass->numbers, pass->scales, pass->sums},
                     .y = y,
                     .rows = rows,
                     .row_blocks = (rows + ROW_BLOCK - 1) / ROW_BLOCK,
                     .panels = (panels + tasks - 1) / tasks,
                     .add = add};
  const int64_t columns = (panels + product.panels - 1) / product.panels;
  team_phase(team, member, columns * product.row_blocks, product_task, &product);
}

// --- the pass

static void run_layer(Pass *pass, Team *team, int member, const Layer *layer) {
  LayerPass at = {pass, layer};
  Norm input = {pass, layer->input_norm, &layer->qkv, NULL}, output = {pass, layer->output_norm, &layer->gate_up, NULL};
  const int64_t rows = pass->batch->rows;
  team_phase(team, member, rows, norm_row, &input);
  multiply(pass, team, member, &layer->qkv, pass->normed, pass->qkv, rows, 0);
  team_phase(team, member, rows, rotate_and_write_row, &at);
  team_phase(team, member, pass->num_tasks, attend_task, &at);
  if (is_int(&layer->output)) team_phase(team, member, rows, prepare_attended_row, &at);
  multiply(pass, team, member, &layer->output, pass->attended, pass->hidden, rows, 1);
  team_phase(team, member, rows, norm_row, &output);
  multiply(pass, team, member, &layer->gate_up, pass->normed, pass->gate_up, rows, 0);
  team_phase(team, member, rows, gate_row, &at);
  multiply(pass, team, member, &layer->down, pass->gated, pass->hidden, rows, 1);
}

static void run_pass(void *context, Team *team, int member) {
  Pass *pass = context;
  const Decoder *decoder = pass->decoder;
  team_phase(team, member, pass->batch->rows, embed_row, pass);
  for (int64_t layer = 0; layer < decoder->num_layers; layer++) run_layer(pass, team, member, &decoder->layers[layer]);
  if (pass->batch->logit_rows == 0) return;
  Norm last = {pass, decoder->norm, &decoder->head, pass->batch->wanted};
  team_phase(team, member, pass->batch->logit_rows, norm_row, &last);
  multiply(pass, team, member, &decoder->head, pass->normed, pass->logits, pass->batch->logit_rows, 0);
}

static int64_t largest(int64_t a, int64_t b) { return a > b ? a : b; }

// Hands out a part of the memory, or counts what is needed where there is none yet.
static void *take(const Pass *pass, size_t *used, int64_t count, size_t size) {
  void *place = pass->memory == NULL ? NULL : (char *)pass->memory + *used;
  *used += ((size_t)count * size + 63) / 64 * 64;
  return place;
}

static size_t lay_out(Pass *pass) {
  const Decoder *decoder = pass->decoder;
  const Batch *batch = pass->batch;
  const int64_t rows = largest(batch->rows, batch->logit_rows), width = decoder->heads * decoder->head_dim;
  const int64_t widest = num_groups(largest(largest(decoder->hidden, width), decoder->intermediate));
  size_t used = 0;
  pass->scratch_floats = (most_scratch(decoder, batch) + 15) / 16 * 16;
  pass->hidden = take(pass, &used, rows * decoder->hidden, sizeof(float));
  pass->normed = take(pass, &used, rows * decoder->hidden, sizeof(float));
  pass->qkv = take(pass, &used, rows * (width + 2 * decoder->kv_heads * decoder->head_dim), sizeof(float));
  pass->attended = take(pass, &used, rows * width, sizeof(float));
  pass->gate_up = take(pass, &used, rows * 2 * decoder->intermediate, sizeof(float));
  pass->gated = take(pass, &used, rows * decoder->intermediate, sizeof(float));
  pass->scales = take(pass, &used, rows * widest, sizeof(float));
  pass->sums = take(pass, &used, rows * widest, sizeof(float));
  pass->numbers = take(pass, &used, rows * widest * GROUP, sizeof(int16_t));
  pass->spans = take(pass, &used, rows, sizeof(int64_t));
  pass->tasks = take(pass, &used, count_tasks(decoder, batch), sizeof(AttentionTask));
  pass->scratch = take(pass, &used, pass->scratch_floats * pass->threads, sizeof(float));
  return used;
}

static int reserve(Pass *pass) {
  void *memory = pass->memory;
  pass->memory = NULL;
  const size_t needed = lay_out(pass);
  if (needed > pass->memory_bytes) {
    free(memory);
    pass->memory_bytes = needed + needed / 4;
    memory = aligned_alloc(64, (pass->memory_bytes + 63) / 64 * 64);
    if (memory == NULL) pass->memory_bytes = 0;
  }
  pass->memory = memory;
  lay_out(pass);
  return memory != NULL;
}

Pass *pass_new(int threads) {
  Pass *pass = calloc(1, sizeof(Pass));
  if (pass == NULL) return NULL;
  pass->threads = threads;
  pass->team = team_new(threads, MAX_PHASES);
  if (pass->team != NULL) return pass;
  free(pass);
  return NULL;
}

void pass_free(Pass *pass) {
  team_free(pass->team);
  free(pass->memory);
  free(pass);
}

int pass_run(Pass *pass, const Decoder *decoder, const Batch *batch, float *logits) {
  if (decoder->num_layers * PHASES_A_LAYER + 3 > MAX_PHASES) return 1;
  pass->decoder = decoder;
  pass->batch = batch;
  pass->logits = logits;
  if (!reserve(pass)) return 1;
  plan_attention(pass);
  team_run(pass->team, run_pass, pass);
  return 0;
}
