#include "team.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

// Rounds of waiting before the processor is offered to others: who is waited for may have lost its own.
enum { SPINS = 2000, LINE = 64 };

typedef struct {
  _Alignas(LINE) atomic_long next;
  atomic_long done;
} Phase;

typedef struct {
  _Alignas(LINE) long phase;  // the next one
} Member;

struct Team {
  int size;
  long num_phases;
  Phase *phases;
  Member *members;
  pthread_t *threads;
  pthread_mutex_t mutex;
  pthread_cond_t called, ended;
  long calls;
  int busy;
  bool closing;
  void (*work)(void *, Team *, int);
  void *context;
};

typedef struct {
  Team *team;
  int member;
} Seat;

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void *serve(void *argument) {
  const Seat seat = *(Seat *)argument;
  Team *team = seat.team;
  free(argument);
  for (long served = 0;;) {
    pthread_mutex_lock(&team->mutex);
    while (team->calls == served && !team->closing) pthread_cond_wait(&team->called, &team->mutex);
    const bool closing = team->closing;
    served = team->calls;
    pthread_mutex_unlock(&team->mutex);
    if (closing) return NULL;
    team->work(team->context, team, seat.member);
    pthread_mutex_lock(&team->mutex);
    if (--team->busy == 0) pthread_cond_signal(&team->ended);
    pthread_mutex_unlock(&team->mutex);
  }
}

static bool start_thread(Team *team) {
  Seat *seat = malloc(sizeof(Seat));
  if (seat == NULL) return false;
  *seat = (Seat){team, team->size};
  if (pthread_create(&team->threads[team->size], NULL, serve, seat) != 0) {
    free(seat);
    return false;
  }
  team->size++;
  return true;
}

Team *team_new(int threads, long phases) {
  Team *team = calloc(1, sizeof(Team));
  if (team == NULL) return NULL;
  team->size = 1;
  team->num_phases = phases;
  pthread_mutex_init(&team->mutex, NULL);
  pthread_cond_init(&team->called, NULL);
  pthread_cond_init(&team->ended, NULL);
  team->phases = aligned_alloc(LINE, sizeof(Phase) * (size_t)phases);
  team->members = aligned_alloc(LINE, sizeof(Member) * (size_t)threads);
  team->threads = calloc((size_t)threads, sizeof(pthread_t));
  bool good = team->phases != NULL && team->members != NULL && team->threads != NULL;
  while (good && team->size < threads) good = start_thread(team);
  if (good) return team;
  team_free(team);
  return NULL;
}

void team_free(Team *team) {
  pthread_mutex_lock(&team->mutex);
  team->closing = true;
  pthread_cond_broadcast(&team->called);
  pthread_mutex_unlock(&team->mutex);
  for (int member = 1; member < team->size; member++) pthread_join(team->threads[member], NULL);
  free(team->phases);
  free(team->members);
  free(team->threads);
  free(team);
}

void team_run(Team *team, void (*work)(void *, Team *, int), void *context) {
  for (int member = 0; member < team->size; member++) team->members[member].phase = 0;
  for (long phase = 0; phase < team->num_phases; phase++) {
    atomic_init(&team->phases[phase].next, 0);
    atomic_init(&team->phases[phase].done, 0);
  }
  pthread_mutex_lock(&team->mutex);
  team->work = work;
  team->context = context;
  team->busy = team->size - 1;
  team->calls++;
  pthread_cond_broadcast(&team->called);
  pthread_mutex_unlock(&team->mutex);
  work(context, team, 0);
  pthread_mutex_lock(&team->mutex);
  while (team->busy > 0) pthread_cond_wait(&team->ended, &team->mutex);
  pthread_mutex_unlock(&team->mutex);
}

void team_phase(Team *team, int member, long count, void (*task)(void *, long, int), void *context) {
  Phase *phase = &team->phases[team->members[member].phase++];
  long ended = 0, index;
  while ((index = atomic_fetch_add_explicit(&phase->next, 1, memory_order_relaxed)) < count) {
    task(context, index, member);
    ended++;
  }
  if (ended > 0) atomic_fetch_add_explicit(&phase->done, ended, memory_order_acq_rel);
  for (long spins = 0; atomic_load_explicit(&phase->done, memory_order_acquire) < count; spins++) {
    if (spins < SPINS)
      relax();
    else
      sched_yield();
  }
}
