/* Bounded queue with two lanes: two linked lists under one lock, one condition for the consumers.
 *
 * Fairness: `streak` counts pops from the interactive lane made while something waited in the bulk lane;
 * at `weight` the next pop goes to the bulk lane. A pop that finds the bulk lane empty sets it back, so a
 * lone bulk job that just arrived still lets `weight` queries pass first. A batch counts as one pop.
 *
 * A push wakes one consumer. That is enough, because a consumer never leaves work behind without having
 * been woken for something: every node was signalled once, and a woken consumer takes at least one node or
 * finds that others took them.
 */
#include "base/queue.h"

#include "base/mem.h"

struct lane {
    struct queue_node *head, **tail;
    size_t cost, length;
};

struct queue {
    struct mutex lock;
    struct cond ready;
    struct lane lanes[LANE_COUNT]; /* guarded by lock, like all below */
    size_t max_cost;               /* set once */
    unsigned weight;               /* set once */
    unsigned streak;
    bool closed;
};

struct queue *queue_new(size_t max_cost, unsigned weight)
{
    ASSERT_BUG(weight >= 1);
    struct queue *q = mem_zalloc(1, sizeof *q);
    if (!q) return NULL;
    mutex_init(&q->lock, RANK_QUEUE);
    cond_init(&q->ready);
    for (int i = 0; i < LANE_COUNT; i++)
        q->lanes[i].tail = &q->lanes[i].head;
    q->max_cost = max_cost;
    q->weight = weight;
    return q;
}

void queue_free(struct queue *q)
{
    if (!q) return;
    for (int i = 0; i < LANE_COUNT; i++)
        ASSERT_BUG(q->lanes[i].head == NULL);
    cond_done(&q->ready);
    mutex_done(&q->lock);
    mem_free(q);
}

enum err_code queue_push(struct queue *q, enum queue_lane lane, struct queue_node *n)
{
    AUTO_LOCK(&q->lock);
    struct lane *l = &q->lanes[lane];
    if (q->closed) return ERR_DRAINING;
    /* Written so that no sum can overflow: l->cost may exceed max_cost by one oversized node. */
    if (l->head && (l->cost > q->max_cost || n->cost > q->max_cost - l->cost)) return ERR_BUSY;
    n->next = NULL;
    *l->tail = n;
    l->tail = &n->next;
    l->cost += n->cost;
    l->length++;
    cond_signal(&q->ready);
    return ERR_OK;
}

/* Which lane is next; the queue is not empty. */
static enum queue_lane next_lane(struct queue *q)
{
    bool bulk_waits = q->lanes[LANE_BULK].head != NULL;
    if (!q->lanes[LANE_INTERACTIVE].head || (bulk_waits && q->streak >= q->weight)) {
        q->streak = 0;
        return LANE_BULK;
    }
    q->streak = bulk_waits ? q->streak + 1 : 0;
    return LANE_INTERACTIVE;
}

static struct queue_node *take(struct lane *l)
{
    struct queue_node *n = l->head;
    l->head = n->next;
    if (!l->head) l->tail = &l->head;
    l->cost -= n->cost;
    l->length--;
    n->next = NULL;
    return n;
}

static bool is_empty(const struct queue *q)
{
    return !q->lanes[LANE_INTERACTIVE].head && !q->lanes[LANE_BULK].head;
}

struct queue_node *queue_pop(struct queue *q, enum queue_lane *ret_lane)
{
    return queue_pop_batch(q, 0, 1, ret_lane);
}

struct queue_node *queue_pop_until(struct queue *q, int64_t deadline_ns, enum queue_lane *ret_lane)
{
    AUTO_LOCK(&q->lock);
    while (is_empty(q)) {
        if (q->closed) return NULL;
        if (!cond_wait_until(&q->ready, &q->lock, deadline_ns) && is_empty(q)) return NULL;
    }
    enum queue_lane lane = next_lane(q);
    if (ret_lane) *ret_lane = lane;
    return take(&q->lanes[lane]);
}

struct queue_node *queue_pop_batch(
    struct queue *q, size_t budget, size_t max_nodes, enum queue_lane *ret_lane)
{
    AUTO_LOCK(&q->lock);
    while (is_empty(q)) {
        if (q->closed) return NULL;
        cond_wait(&q->ready, &q->lock);
    }
    enum queue_lane lane = next_lane(q);
    if (ret_lane) *ret_lane = lane;
    struct lane *l = &q->lanes[lane];
    struct queue_node *first = take(l), *last = first;
    size_t left = first->cost < budget ? budget - first->cost : 0;
    for (size_t n = 1; n < max_nodes && l->head && l->head->cost <= left; n++) {
        left -= l->head->cost;
        last->next = take(l);
        last = last->next;
    }
    return first;
}

void queue_close(struct queue *q)
{
    AUTO_LOCK(&q->lock);
    q->closed = true;
    cond_broadcast(&q->ready);
}

size_t queue_cost(struct queue *q, enum queue_lane lane)
{
    AUTO_LOCK(&q->lock);
    return q->lanes[lane].cost;
}

size_t queue_length(struct queue *q, enum queue_lane lane)
{
    AUTO_LOCK(&q->lock);
    return q->lanes[lane].length;
}
