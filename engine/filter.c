/* A filter becomes a set by set algebra, from the leaves up:
 *   must        intersection          should      union, then intersection
 *   must_not    difference            min_should  sets of "at least j conditions hold", j = 1…m,
 *                                                 built condition by condition
 * The deadline is checked before each condition; a scan of an undeclared field checks it as it goes. */
#include "engine/filter.h"

#include "base/mem.h"
#include "base/thread.h"
#include "engine/fields_internal.h"

#include <string.h>

struct evaluation {
    const struct filter_target *t;
    int64_t deadline_ns;
    size_t conditions; /* seen so far */
    unsigned depth;
};

static enum err_code filter_set(
    struct evaluation *ev, const struct filter *f, struct slot_set **ret, struct err *e);

static enum err_code no_memory(struct err *e)
{
    return err_set(e, ERR_NOMEM, "no memory for a filter");
}

static enum err_code ids_set(
    struct evaluation *ev, const struct filter_condition *k, struct slot_set *out, struct err *e)
{
    AUTO_FREE uint32_t *slots = mem_alloc(k->n_ids ? k->n_ids : 1, sizeof *slots);

    if (!slots) return no_memory(e);
    TRY(catalog_slots_by_key(ev->t->catalog, ev->t->col, k->ids, k->n_ids, slots, e));
    for (size_t i = 0; i < k->n_ids; i++)
        if (slots[i] != UINT32_MAX) slot_set_add(out, slots[i]);
    return ERR_OK;
}

static enum err_code condition_set(
    struct evaluation *ev, const struct filter_condition *k, struct slot_set **ret, struct err *e)
{
    AUTO_SLOT_SET struct slot_set *out = NULL;

    if (++ev->conditions > FILTER_CONDITIONS_MAX)
        return err_set(
            e, ERR_INVALID, "a filter has at most %d conditions", (int)FILTER_CONDITIONS_MAX);
    if (ev->deadline_ns && time_mono_ns() > ev->deadline_ns)
        return err_set(e, ERR_TIMEOUT, "the deadline passed while the filter was evaluated");
    if (k->kind == CONDITION_NESTED) return filter_set(ev, k->nested, ret, e);
    out = slot_set_new();
    if (!out) return no_memory(e);
    if (k->kind == CONDITION_HAS_ID)
        TRY(ids_set(ev, k, out, e));
    else
        TRY(fields__select(ev->t, k, ev->deadline_ns, out, e));
    if (k->kind == CONDITION_IS_EMPTY) {
        struct slot_set *live = fields_live(ev->t->fields);
        if (!live) return no_memory(e);
        slot_set_and_not(live, out);
        slot_set_free(out);
        out = live;
    }
    *ret = steal_ptr(&out);
    return ERR_OK;
}

/* Slots for which at least `m` of the conditions hold, m ≥ 1. */
static enum err_code at_least(struct evaluation *ev, const struct filter_conditions *cs, size_t m,
    struct slot_set **ret, struct err *e)
{
    struct slot_set **level = mem_zalloc(m, sizeof *level); /* level[j]: at least j+1 hold so far */
    enum err_code code = ERR_OK;

    if (!level) return no_memory(e);
    for (size_t j = 0; j < m && code == ERR_OK; j++)
        if (!(level[j] = slot_set_new())) code = no_memory(e);
    for (size_t i = 0; i < cs->n && code == ERR_OK; i++) {
        AUTO_SLOT_SET struct slot_set *set = NULL;

        code = condition_set(ev, &cs->c[i], &set, e);
        for (size_t j = m; j-- > 1 && code == ERR_OK;) {
            AUTO_SLOT_SET struct slot_set *both = slot_set_copy(level[j - 1]);
            if (!both) {
                code = no_memory(e);
                break;
            }
            slot_set_and(both, set);
            slot_set_or(level[j], both);
        }
        if (code == ERR_OK) slot_set_or(level[0], set);
    }
    if (code == ERR_OK) *ret = steal_ptr(&level[m - 1]);
    for (size_t j = 0; j < m; j++)
        slot_set_free(level[j]);
    mem_free(level);
    return code;
}

static enum err_code filter_set(
    struct evaluation *ev, const struct filter *f, struct slot_set **ret, struct err *e)
{
    AUTO_SLOT_SET struct slot_set *out = NULL;

    if (++ev->depth > FILTER_DEPTH_MAX)
        return err_set(e, ERR_INVALID, "filters nest at most %d deep", (int)FILTER_DEPTH_MAX);
    out = fields_live(ev->t->fields);
    if (!out) return no_memory(e);
    for (size_t i = 0; i < f->must.n; i++) {
        AUTO_SLOT_SET struct slot_set *set = NULL;
        TRY(condition_set(ev, &f->must.c[i], &set, e));
        slot_set_and(out, set);
    }
    if (f->should.n) {
        AUTO_SLOT_SET struct slot_set *set = NULL;
        TRY(at_least(ev, &f->should, 1, &set, e));
        slot_set_and(out, set);
    }
    if (f->min_count > f->min_should.n) {
        AUTO_SLOT_SET struct slot_set *none = slot_set_new();
        if (!none) return no_memory(e);
        slot_set_and(out, none);
    } else if (f->min_count) {
        AUTO_SLOT_SET struct slot_set *set = NULL;
        TRY(at_least(ev, &f->min_should, f->min_count, &set, e));
        slot_set_and(out, set);
    }
    for (size_t i = 0; i < f->must_not.n; i++) {
        AUTO_SLOT_SET struct slot_set *set = NULL;
        TRY(condition_set(ev, &f->must_not.c[i], &set, e));
        slot_set_and_not(out, set);
    }
    ev->depth--;
    *ret = steal_ptr(&out);
    return ERR_OK;
}

enum err_code filter_evaluate(const struct filter_target *t, const struct filter *f,
    int64_t deadline_ns, struct slot_set **ret_set, struct err *e)
{
    struct evaluation ev = { .t = t, .deadline_ns = deadline_ns };

    return filter_set(&ev, f, ret_set, e);
}

/* ---- RFC 3339 ---- */

static bool digits(struct str s, size_t at, size_t n, int *ret)
{
    int v = 0;

    if (at + n > s.n) return false;
    for (size_t i = at; i < at + n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        v = v * 10 + (s.p[i] - '0');
    }
    *ret = v;
    return true;
}

static bool is_at(struct str s, size_t at, char c)
{
    return at < s.n && s.p[at] == c;
}

/* Days from 1970-01-01 in the proleptic Gregorian calendar: whole 400-year eras of 146,097 days,
 * years counted from March so that the leap day is the last. */
static int64_t days_from_civil(int y, int m, int d)
{
    int64_t year = m <= 2 ? y - 1 : y;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int month_days(int y, int m)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return m == 2 && leap ? 29 : days[m - 1];
}

/* ".123" after the seconds, then "Z" or "+hh:mm". */
static bool parse_fraction_and_zone(struct str s, size_t at, int64_t *ret_ms, int64_t *ret_offset_s)
{
    int64_t ms = 0;
    int h, m;

    if (is_at(s, at, '.')) {
        size_t first = ++at;
        for (int64_t unit = 100; at < s.n && s.p[at] >= '0' && s.p[at] <= '9'; at++, unit /= 10)
            ms += (s.p[at] - '0') * unit;
        if (at == first) return false;
    }
    *ret_ms = ms;
    *ret_offset_s = 0;
    if (at + 1 == s.n && (s.p[at] == 'Z' || s.p[at] == 'z')) return true;
    if (at + 6 != s.n || (s.p[at] != '+' && s.p[at] != '-') || s.p[at + 3] != ':') return false;
    if (!digits(s, at + 1, 2, &h) || !digits(s, at + 4, 2, &m) || h > 23 || m > 59) return false;
    *ret_offset_s = (s.p[at] == '-' ? -1 : 1) * (h * 3600 + m * 60);
    return true;
}

bool filter_time_parse(struct str s, int64_t *ret_unix_ms)
{
    int year, month, day, hour, minute, second;
    int64_t ms, offset_s, days;

    if (!digits(s, 0, 4, &year) || !is_at(s, 4, '-') || !digits(s, 5, 2, &month) ||
        !is_at(s, 7, '-') || !digits(s, 8, 2, &day))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > month_days(year, month)) return false;
    days = days_from_civil(year, month, day);
    if (s.n == 10) {
        *ret_unix_ms = days * 86400000;
        return true;
    }
    if (s.p[10] != 'T' && s.p[10] != 't' && s.p[10] != ' ') return false;
    if (!digits(s, 11, 2, &hour) || !is_at(s, 13, ':') || !digits(s, 14, 2, &minute) ||
        !is_at(s, 16, ':') || !digits(s, 17, 2, &second))
        return false;
    if (hour > 23 || minute > 59 || second > 60) return false; /* 60: a leap second */
    if (!parse_fraction_and_zone(s, 19, &ms, &offset_s)) return false;
    *ret_unix_ms = (days * 86400 + hour * 3600 + minute * 60 + second - offset_s) * 1000 + ms;
    return true;
}
