// What tests call that the library keeps to itself.

#include <stdint.h>

#include "simd.h"
#include "team.h"

// e^x of a multiple of 16 numbers, in place.
void probe_exp(float *x, int64_t count) {
  for (int64_t i = 0; i < count; i += VW) vf_store(x + i, vf_exp(vf_load(x + i)));
}

typedef struct {
  int64_t *cells;
  long count;
} Walk;

// Each cell becomes the sum of its neighbours of the phase before: whoever reads too early reads something else.
static void add_neighbours(void *context, long index, int member) {
  (void)member;
  const Walk *walk = context;
  const int64_t *from = walk->cells, left = from[(index + walk->count - 1) % walk->count];
  walk->cells[walk->count + index] = (left + from[(index + 1) % walk->count]) % 1000003;
}

static void copy_back(void *context, long index, int member) {
  (void)member;
  const Walk *walk = context;
  walk->cells[index] = walk->cells[walk->count + index];
}

static long num_steps;

static void walk(void *context, Team *team, int member) {
  const Walk *at = context;
  Walk own = *at;  // as the passes do: each member has the same context on its own stack
  for (long step = 0; step < num_steps; step++) {
    team_phase(team, member, own.count, add_neighbours, &own);
    team_phase(team, member, own.count, copy_back, &own);
  }
}

// Several runs of `steps` steps of two phases over cells [2][count]; 1 where there is no team.
int probe_team(int threads, long runs, long steps, int64_t *cells, long count) {
  Team *team = team_new(threads, 2 * steps);
  if (team == NULL) return 1;
  num_steps = steps;
  Walk at = {cells, count};
  for (long run = 0; run < runs; run++) team_run(team, walk, &at);
  team_free(team);
  return 0;
}
