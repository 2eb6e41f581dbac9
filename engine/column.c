/* A column's entries are found by value through a hash map and never move within `entries`; the
 * orders hold entry numbers. A value that loses its last slot leaves a vacant entry behind (it often
 * comes back); column_tidy() rebuilds the column once vacant entries are the majority.
 *
 * A number that is a whole int64 is kept as an integer, so 5 and 5.0 are one value. Ranges compare as
 * double: integers beyond 2^53 compare rounded. */
#include "engine/column.h"

#include "base/mem.h"
#include "engine/hash.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_INLINE_BYTES = 256,
    UNSORTED_MAX = 1024, /* waiting order keys that a range looks through one by one */
    VACANT_MIN = 1024,
    SET_BYTES = 96,     /* an almost empty set of CRoaring's */
    SET_SLOT_BYTES = 2, /* each slot in it; less where they lie close */
};

/* ---- value keys ---- */

struct value_key {
    char small[KEY_INLINE_BYTES];
    char *large; /* NULL, or mem_alloc'ed */
    struct str s;
};

static void value_key_done(struct value_key *k)
{
    mem_free(k->large);
}

/* Whole numbers become integers. */
static struct field_value canonical(const struct field_value *v)
{
    struct field_value c = *v;
    if (c.type == VALUE_NUMBER && c.v.d >= -9.2e18 && c.v.d <= 9.2e18 && floor(c.v.d) == c.v.d) {
        int64_t i = (int64_t)c.v.d;
        c.type = VALUE_INTEGER;
        c.v.i = i;
    }
    return c;
}

static enum err_code value_key_init(struct value_key *k, const struct field_value *v, struct err *e)
{
    const void *bytes = &v->v;
    size_t n = v->type == VALUE_NUMBER ? sizeof v->v.d : sizeof v->v.i;
    char *p = k->small;

    k->large = NULL;
    if (v->type == VALUE_STRING) {
        bytes = v->v.s.p;
        n = v->v.s.n;
    }
    if (n + 1 > sizeof k->small) {
        p = k->large = mem_alloc(n + 1, 1);
        if (!p) return err_set(e, ERR_NOMEM, "no memory for a field value");
    }
    p[0] = (char)('0' + (int)v->type);
    if (n) memcpy(p + 1, bytes, n);
    k->s = (struct str){ p, n + 1 };
    return ERR_OK;
}

/* ---- orders ---- */

static enum err_code order_append(struct column_order *o, double at, uint32_t entry, struct err *e)
{
    if (o->n == o->cap) {
        size_t cap = o->cap ? o->cap * 2 : 64;
        void *keys = mem_realloc(o->keys, cap, sizeof *o->keys);
        if (!keys) return err_set(e, ERR_NOMEM, "no memory for a column of %zu values", cap);
        o->keys = keys;
        o->cap = cap;
    }
    o->keys[o->n].at = at;
    o->keys[o->n].entry = entry;
    o->n++;
    return ERR_OK;
}

static int order_compare(const void *a, const void *b)
{
    double x = ((const struct column_order_key *)a)->at,
           y = ((const struct column_order_key *)b)->at;
    return (x > y) - (x < y);
}

static void order_tidy(struct column_order *o)
{
    size_t unsorted = o->n - o->n_sorted;
    if (unsorted <= UNSORTED_MAX || unsorted <= o->n_sorted / 8) return;
    qsort(o->keys, o->n, sizeof *o->keys, order_compare);
    o->n_sorted = o->n;
}

/* First sorted position whose key is not below `at`. */
static size_t order_lower(const struct column_order *o, double at)
{
    size_t lo = 0, hi = o->n_sorted;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (o->keys[mid].at < at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* ---- building ---- */

enum err_code column_init(struct column *c, struct err *e)
{
    *c = (struct column){ 0 };
    c->by_value = str_map_new(16, hash_seed());
    c->present = slot_set_new();
    c->nulls = slot_set_new();
    if (c->by_value && c->present && c->nulls) return ERR_OK;
    column_done(c);
    return err_set(e, ERR_NOMEM, "no memory for a filter column");
}

void column_done(struct column *c)
{
    for (size_t i = 0; i < c->n; i++) {
        slot_set_free(c->entries[i].many);
        mem_free((char *)c->entries[i].text.p);
    }
    mem_free(c->entries);
    mem_free(c->numbers.keys);
    mem_free(c->times.keys);
    str_map_free(c->by_value);
    slot_set_free(c->present);
    slot_set_free(c->nulls);
    *c = (struct column){ 0 };
}

static enum err_code entry_order(struct column *c, uint32_t at, struct err *e)
{
    const struct column_entry *n = &c->entries[at];
    int64_t ms;

    if (n->type == VALUE_INTEGER) return order_append(&c->numbers, (double)n->v.i, at, e);
    if (n->type == VALUE_NUMBER) return order_append(&c->numbers, n->v.d, at, e);
    if (n->type == VALUE_STRING && filter_time_parse(n->text, &ms))
        return order_append(&c->times, (double)ms, at, e);
    return ERR_OK;
}

/* A new entry, already in the map and the orders. On failure the column is as before, apart from an
 * order key that points at no entry yet and is taken back. */
static enum err_code entry_new(struct column *c, const struct field_value *v,
    const struct value_key *key, uint32_t *ret_at, struct err *e)
{
    struct column_entry *n;
    enum err_code code;
    size_t numbers = c->numbers.n, times = c->times.n;

    if (c->n == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 16;
        void *entries = cap < UINT32_MAX ? mem_realloc(c->entries, cap, sizeof *c->entries) : NULL;
        if (!entries) return err_set(e, ERR_NOMEM, "no memory for a column of %zu values", cap);
        c->entries = entries;
        c->cap = cap;
    }
    n = &c->entries[c->n];
    *n = (struct column_entry){ .type = v->type };
    if (v->type == VALUE_STRING) {
        char *copy = mem_strndup(v->v.s.p ? v->v.s.p : "", v->v.s.n);
        if (!copy) return err_set(e, ERR_NOMEM, "no memory for a field value");
        n->text = (struct str){ copy, v->v.s.n };
    } else if (v->type == VALUE_NUMBER) {
        n->v.d = v->v.d;
    } else {
        n->v.i = v->v.i;
    }
    code = entry_order(c, (uint32_t)c->n, e);
    if (code == ERR_OK) {
        code = str_map_set(c->by_value, key->s, (uint32_t)c->n);
        if (code != ERR_OK) err_set(e, code, "no memory for a filter column");
    }
    if (code != ERR_OK) {
        c->numbers.n = numbers;
        c->times.n = times;
        mem_free((char *)n->text.p);
        return code;
    }
    *ret_at = (uint32_t)c->n++;
    c->n_vacant++;
    c->text_bytes += n->text.n;
    return ERR_OK;
}

static enum err_code entry_add(
    struct column *c, struct column_entry *n, uint32_t slot, struct err *e)
{
    if (n->n == 0) {
        c->n_vacant--;
        if (!n->many) {
            n->one = slot;
            n->n = 1;
            return ERR_OK;
        }
    } else if (!n->many) {
        if (n->one == slot) return ERR_OK;
        n->many = slot_set_new();
        if (!n->many) return err_set(e, ERR_NOMEM, "no memory for a filter column");
        slot_set_add(n->many, n->one);
        c->n_many++;
        c->slots_in_many++;
    } else if (slot_set_contains(n->many, slot)) {
        return ERR_OK;
    }
    slot_set_add(n->many, slot);
    c->slots_in_many++;
    n->n++;
    return ERR_OK;
}

static bool is_scalar(enum field_value_type t)
{
    return t == VALUE_INTEGER || t == VALUE_NUMBER || t == VALUE_STRING || t == VALUE_BOOLEAN;
}

enum err_code column_add(
    struct column *c, uint32_t slot, const struct field_value *v, struct err *e)
{
    __attribute__((cleanup(value_key_done))) struct value_key key = { .large = NULL };
    struct field_value value = canonical(v);
    uint32_t at;

    if (value.type == VALUE_NULL) {
        slot_set_add(c->nulls, slot);
        return ERR_OK;
    }
    slot_set_add(c->present, slot);
    if (!is_scalar(value.type)) return ERR_OK;
    TRY(value_key_init(&key, &value, e));
    if (!str_map_get(c->by_value, key.s, &at)) TRY(entry_new(c, &value, &key, &at, e));
    return entry_add(c, &c->entries[at], slot, e);
}

void column_remove(struct column *c, uint32_t slot, const struct field_value *v)
{
    __attribute__((cleanup(value_key_done))) struct value_key key = { .large = NULL };
    struct field_value value = canonical(v);
    struct column_entry *n;
    uint32_t at;

    slot_set_remove(c->nulls, slot);
    slot_set_remove(c->present, slot);
    if (!is_scalar(value.type)) return;
    if (value_key_init(&key, &value, NULL) != ERR_OK)
        return; /* a stale slot: hits are checked live */
    if (!str_map_get(c->by_value, key.s, &at)) return;
    n = &c->entries[at];
    if (n->n == 0) return;
    if (n->many) {
        if (!slot_set_contains(n->many, slot)) return;
        slot_set_remove(n->many, slot);
        c->slots_in_many--;
    } else if (n->one != slot) {
        return;
    }
    if (--n->n == 0) c->n_vacant++;
}

/* The same column without its vacant entries. */
static enum err_code column_rebuild(struct column *c, struct err *e)
{
    struct column now;
    enum err_code code;

    TRY(column_init(&now, e));
    code = ERR_OK;
    for (size_t i = 0; i < c->n && code == ERR_OK; i++) {
        struct column_entry *n = &c->entries[i];
        __attribute__((cleanup(value_key_done))) struct value_key key = { .large = NULL };
        struct field_value v = { .type = n->type };
        uint32_t at;

        if (n->n == 0) continue;
        if (n->type == VALUE_STRING)
            v.v.s = n->text;
        else if (n->type == VALUE_NUMBER)
            v.v.d = n->v.d;
        else
            v.v.i = n->v.i;
        code = value_key_init(&key, &v, e);
        if (code == ERR_OK) code = entry_new(&now, &v, &key, &at, e);
    }
    if (code != ERR_OK) {
        column_done(&now);
        return code;
    }
    for (size_t i = 0, j = 0; i < c->n; i++) {
        if (c->entries[i].n == 0) continue;
        now.entries[j].one = c->entries[i].one;
        now.entries[j].n = c->entries[i].n;
        now.n_many += c->entries[i].many != NULL;
        now.entries[j].many = steal_ptr(&c->entries[i].many);
        j++;
    }
    now.n_vacant = 0;
    now.slots_in_many = c->slots_in_many; /* vacant entries had none */
    slot_set_free(now.present);
    slot_set_free(now.nulls);
    now.present = steal_ptr(&c->present);
    now.nulls = steal_ptr(&c->nulls);
    column_done(c);
    *c = now;
    return ERR_OK;
}

enum err_code column_tidy(struct column *c, struct err *e)
{
    if (c->n_vacant > VACANT_MIN && c->n_vacant > c->n / 2) TRY(column_rebuild(c, e));
    order_tidy(&c->numbers);
    order_tidy(&c->times);
    return ERR_OK;
}

/* ---- selecting ---- */

static void entry_select(const struct column_entry *n, struct slot_set *out)
{
    if (n->n == 0) return;
    if (n->many)
        slot_set_or(out, n->many);
    else
        slot_set_add(out, n->one);
}

static bool in_range(const struct filter_range *r, double at)
{
    return !(r->has_gt && !(at > r->gt)) && !(r->has_gte && !(at >= r->gte)) &&
        !(r->has_lt && !(at < r->lt)) && !(r->has_lte && !(at <= r->lte));
}

static void select_range(const struct column *c, const struct filter_range *r, struct slot_set *out)
{
    const struct column_order *o = r->is_time ? &c->times : &c->numbers;
    double from = -INFINITY;

    if (r->has_gt && r->gt > from) from = r->gt;
    if (r->has_gte && r->gte > from) from = r->gte;
    for (size_t i = order_lower(o, from); i < o->n_sorted; i++) {
        double at = o->keys[i].at;
        if ((r->has_lt && at >= r->lt) || (r->has_lte && at > r->lte)) break;
        if (in_range(r, at)) entry_select(&c->entries[o->keys[i].entry], out);
    }
    for (size_t i = o->n_sorted; i < o->n; i++)
        if (in_range(r, o->keys[i].at)) entry_select(&c->entries[o->keys[i].entry], out);
}

static struct field_value from_filter(const struct filter_value *f)
{
    struct field_value v = { .type = f->type };
    if (f->type == VALUE_STRING)
        v.v.s = f->v.s;
    else if (f->type == VALUE_NUMBER)
        v.v.d = f->v.d;
    else
        v.v.i = f->v.i;
    return canonical(&v);
}

static enum err_code select_any(
    const struct column *c, const struct filter_condition *k, struct slot_set *out, struct err *e)
{
    for (size_t i = 0; i < k->n_values; i++) {
        __attribute__((cleanup(value_key_done))) struct value_key key = { .large = NULL };
        struct field_value v = from_filter(&k->values[i]);
        uint32_t at;

        TRY(value_key_init(&key, &v, e));
        if (str_map_get(c->by_value, key.s, &at)) entry_select(&c->entries[at], out);
    }
    return ERR_OK;
}

static enum err_code select_except(
    const struct column *c, const struct filter_condition *k, struct slot_set *out, struct err *e)
{
    AUTO_FREE bool *excluded = mem_zalloc(c->n ? c->n : 1, sizeof *excluded);

    if (!excluded) return err_set(e, ERR_NOMEM, "no memory for a filter");
    for (size_t i = 0; i < k->n_values; i++) {
        __attribute__((cleanup(value_key_done))) struct value_key key = { .large = NULL };
        struct field_value v = from_filter(&k->values[i]);
        uint32_t at;

        TRY(value_key_init(&key, &v, e));
        if (str_map_get(c->by_value, key.s, &at)) excluded[at] = true;
    }
    for (size_t i = 0; i < c->n; i++)
        if (!excluded[i]) entry_select(&c->entries[i], out);
    return ERR_OK;
}

static char lower(char ch)
{
    return ch >= 'A' && ch <= 'Z' ? (char)(ch + 32) : ch;
}

static bool contains_text(struct str hay, struct str needle)
{
    for (size_t i = 0; i + needle.n <= hay.n; i++) {
        size_t j = 0;
        while (j < needle.n && lower(hay.p[i + j]) == lower(needle.p[j]))
            j++;
        if (j == needle.n) return true;
    }
    return false;
}

static void select_text(const struct column *c, struct str needle, struct slot_set *out)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->entries[i].type == VALUE_STRING && contains_text(c->entries[i].text, needle))
            entry_select(&c->entries[i], out);
}

enum err_code column_select(
    const struct column *c, const struct filter_condition *k, struct slot_set *out, struct err *e)
{
    switch (k->kind) {
    case CONDITION_MATCH_ANY: return select_any(c, k, out, e);
    case CONDITION_MATCH_EXCEPT: return select_except(c, k, out, e);
    case CONDITION_MATCH_TEXT: select_text(c, k->values[0].v.s, out); return ERR_OK;
    case CONDITION_RANGE: select_range(c, &k->range, out); return ERR_OK;
    case CONDITION_IS_EMPTY: slot_set_or(out, c->present); return ERR_OK;
    case CONDITION_IS_NULL: slot_set_or(out, c->nulls); return ERR_OK;
    case CONDITION_HAS_ID:
    case CONDITION_NESTED: break;
    }
    return err_set(e, ERR_INTERNAL, "not a condition on a column");
}

size_t column_size_bytes(const struct column *c)
{
    return c->cap * sizeof *c->entries + (c->numbers.cap + c->times.cap) * sizeof *c->numbers.keys +
        slot_set_size_bytes(c->present) + slot_set_size_bytes(c->nulls) +
        2 * c->text_bytes + /* the copy, and the key in the map */
        c->n_many * SET_BYTES + c->slots_in_many * SET_SLOT_BYTES;
}
