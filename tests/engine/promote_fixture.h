/* Layer: tests. May include: libcheck, engine and below.
 *
 * One engine and its collection "default", promoted there and back; and what a
 * version would say, computed by its encoder alone.
 */
#pragma once

#include "engine/promote.h"
#include "tests/engine/rig.h"

enum { PROMO_SEED_2 = 99, PROMO_SEED_3 = 100 };

extern struct rig promo_rig;
extern struct collection *promo_col;

void promo_setup(void);
void promo_teardown(void);
void promo_reopen(void);
/** Take the collection anew: after rig_open. */
void promo_use(void);
void promo_sleep(int ms);
/** Must succeed. */
struct promote_report promo_to(int64_t version);

/* One version's encoder, for one thread. */
struct oracle {
    struct model *model;
    struct encoder_workspace *w;
};
void oracle_init(struct oracle *o, int64_t version);
void oracle_done(struct oracle *o);
void oracle_vector(struct oracle *o, struct str text, enum encode_kind kind, float ret[RIG_DIM]);
/** Cosine of a query and a document. */
double oracle_score(struct oracle *o, struct str query, struct str text);

/** Searches say the version, and every hit's score is its cosine. */
void promo_check_version(int64_t version);
/** Every stored item has the vector that the version makes of its text, in the catalog and in the index;
 * returns how many there are. */
size_t promo_check_vectors(int64_t version);

/* A promotion on a thread of its own. */
struct promo {
    struct thread thread;
    int64_t version;
    double rate;
    struct promote_watch watch;
    struct promote_report report;
    enum err_code code;
    struct err err;
};
void promo_start(struct promo *b);
