#include "tests/engine/promote_fixture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct rig promo_rig;
struct collection *promo_col;

void promo_use(void)
{
    collection_unref(promo_col);
    promo_col = registry_find(&promo_rig.g->registry, STR("default"));
    ck_assert_ptr_nonnull(promo_col);
}
void promo_setup(void)
{
    rig_init(&promo_rig);
    rig_open(&promo_rig);
    promo_use();
}
void promo_teardown(void)
{
    collection_unref(promo_col);
    promo_col = NULL;
    rig_done(&promo_rig);
}
void promo_reopen(void)
{
    collection_unref(promo_col);
    promo_col = NULL;
    rig_reopen(&promo_rig);
    promo_use();
}

void promo_sleep(int ms)
{
    usleep((useconds_t)ms * 1000);
}

struct promote_report promo_to(int64_t version)
{
    struct promote_report report;
    ck_assert_err(rig_promote(&promo_rig, "default", version, &report), ERR_OK);
    ck_assert_int_eq(rig_version(&promo_rig, "default"), version);
    return report;
}

/* ---- what a version says ---- */

void oracle_init(struct oracle *o, int64_t version)
{
    struct err e = ERR_INIT;
    char ref[64];
    snprintf(ref, sizeof ref, version == 1 ? "tiny@%d" : "default/tiny@%d", (int)version);
    o->model = models_take(&promo_rig.g->models, str_from(ref));
    ck_assert_ptr_nonnull(o->model);
    ck_assert_ok(encoder_workspace_new(o->model->encoder, &o->w, &e), &e);
}
void oracle_done(struct oracle *o)
{
    encoder_workspace_free(o->w);
    model_unref(o->model);
}
void oracle_vector(struct oracle *o, struct str text, enum encode_kind kind, float ret[RIG_DIM])
{
    struct err e = ERR_INIT;
    ck_assert_ok(encoder_encode_text(o->w, text, kind, ret, &e), &e);
}
double oracle_score(struct oracle *o, struct str query, struct str text)
{
    float a[RIG_DIM], b[RIG_DIM];
    double ab = 0, aa = 0, bb = 0;
    oracle_vector(o, query, ENCODE_QUERY, a);
    oracle_vector(o, text, ENCODE_DOCUMENT, b);
    for (size_t i = 0; i < RIG_DIM; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

/* A search by text, all of whose hits must say the version and score by it. */
static void check_search(struct oracle *o, int64_t version, const char *query, bool exact)
{
    CALL c;
    call_init(&c);
    struct search_op s = { .collection = STR("default"),
        .text = str_from(query),
        .k = 20,
        .exact = exact,
        .with = VIEW_TEXT };
    ck_assert_ok(rig_search(&promo_rig, &c, &s), &s.op.err);
    ck_assert_uint_gt(s.n_hits, 0);
    ck_assert_int_eq(s.model.version, version);
    for (size_t i = 0; i < s.n_hits; i++) {
        ck_assert_int_eq(s.hits[i].model_version, version);
        double want = oracle_score(o, str_from(query), s.hits[i].text);
        ck_assert_double_eq_tol((double)s.hits[i].score, want, 1e-5);
    }
}

void promo_check_version(int64_t version)
{
    struct oracle o;
    oracle_init(&o, version);
    for (size_t i = 0; i < 20; i++) {
        char query[64];
        rig_text(i * 13, query);
        check_search(&o, version, query, i % 2 == 0);
    }
    oracle_done(&o);
}

/* Every stored item has the vector that the version makes of its text, in the catalog and in the index. */
size_t promo_check_vectors(int64_t version)
{
    struct oracle o;
    struct err e = ERR_INIT;
    int64_t after = -1;
    size_t n = 0;
    AUTO_GENERATION struct generation *gen = collection_generation(promo_col);
    oracle_init(&o, version);
    do {
        CALL c;
        call_init(&c);
        struct catalog_item *rows;
        size_t got;
        ck_assert_ok(catalog_items_page(promo_rig.g->catalog, &promo_col->row, &gen->row, after,
                         100, ITEM_WITH_TEXT | ITEM_WITH_VECTOR, c.arena, &rows, &got, &e),
            &e);
        if (got == 0) break;
        for (size_t i = 0; i < got; i++, n++) {
            float want[RIG_DIM], stored[RIG_DIM];
            oracle_vector(&o, rows[i].text, ENCODE_DOCUMENT, want);
            ck_assert_ptr_nonnull(rows[i].vector);
            ck_assert_mem_eq(rows[i].vector, want, sizeof want);
            ck_assert_ok(index_get(gen->index, rows[i].slot, stored, &e), &e);
            for (size_t d = 0; d < RIG_DIM; d++)
                ck_assert_float_eq_tol(stored[d], want[d], 1e-5f);
        }
        after = rows[got - 1].slot;
    } while (true);
    oracle_done(&o);
    struct index_stats stats;
    index_stats(gen->index, &stats);
    ck_assert_uint_eq(stats.live, n);
    return n;
}

static void background_main(void *arg)
{
    struct promo *b = arg;
    b->code = promote_version(
        promo_rig.g, promo_col, b->version, 0, b->rate, &b->watch, &b->report, &b->err);
}
void promo_start(struct promo *b)
{
    struct err e = ERR_INIT;
    ck_assert_ok(thread_start(&b->thread, "promote", background_main, b, &e), &e);
}
