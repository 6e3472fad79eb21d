// Threads that walk through the phases of a pass together. A phase is a number of tasks, taken by whoever is free: a
// thread that has lost its processor holds up the others by one task, and catches up on the phases that it has missed.

#pragma once

typedef struct Team Team;

// A team of `threads`, of which the caller of team_run is one, for passes of up to `phases` phases. NULL where threads
// or memory cannot be had.
Team *team_new(int threads, long phases);

void team_free(Team *team);

// Run `work(context, team, member)` on every member at once; members are numbered from 0. Returns when all have ended.
void team_run(Team *team, void (*work)(void *context, Team *team, int member), void *context);

// Inside `work`, all members alike: run `task(context, index, member)` for each index below `count`, and return when all
// of them have ended. What a phase has written, the next one sees.
void team_phase(Team *team, int member, long count, void (*task)(void *context, long index, int member), void *context);
