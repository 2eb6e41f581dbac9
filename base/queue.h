/* Layer: base. May include: libc, pthread.
 *
 * Bounded queue of pointers between threads: refuses when full, never grows.
 * Owners embed `struct queue_node` in what they send, so that a push allocates
 * nothing and cannot fail for lack of memory.
 *
 * A queue has LANES; each lane is first in, first out. A pop serves lane 0
 * (interactive) before lane 1 (bulk), except that after `weight` pops from
 * lane 0 in a row one goes to a waiting lane 1, so that neither starves.
 *
 * Threads: any number of producers and consumers.
 */
#pragma once

#include "base/err.h"
#include "base/thread.h"

#include <stddef.h>
#include <stdint.h>

enum queue_lane { LANE_INTERACTIVE, LANE_BULK, LANE_COUNT };

struct queue_node {
    struct queue_node *next;
    size_t cost; /* caller's unit: tokens, items; counted against max_cost and batch budgets */
};

struct queue;

/** max_cost: per lane, the sum of costs that may wait. A node is accepted whenever its lane is empty,
 * whatever its cost. weight ≥ 1. NULL: no memory. */
struct queue *queue_new(size_t max_cost, unsigned weight);
/** Must be empty and without waiters. Accepts NULL. */
void queue_free(struct queue *q);

/** ERR_BUSY when the lane is full, ERR_DRAINING after queue_close. */
MUST_USE enum err_code queue_push(struct queue *q, enum queue_lane lane, struct queue_node *n);

/** One node; waits until there is one. NULL: the queue is closed and empty. */
struct queue_node *queue_pop(struct queue *q, enum queue_lane *ret_lane);
/** As queue_pop with a deadline (time_mono_ns); NULL also when it passed. */
struct queue_node *queue_pop_until(struct queue *q, int64_t deadline_ns, enum queue_lane *ret_lane);
/** One node, then more of the same lane while their cost sum stays ≤ budget (the first one is taken
 * whatever its cost); never waits once it has one. Returns a `next`-linked list, oldest first. */
struct queue_node *queue_pop_batch(
    struct queue *q, size_t budget, size_t max_nodes, enum queue_lane *ret_lane);

/** No more pushes; the waiters drain what is there, then get NULL. */
void queue_close(struct queue *q);
/** Sum of costs waiting in a lane / nodes waiting: for metrics and back-pressure. */
size_t queue_cost(struct queue *q, enum queue_lane lane);
size_t queue_length(struct queue *q, enum queue_lane lane);
