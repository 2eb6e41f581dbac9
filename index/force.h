/* Layer: index. May include: base.
 *
 * Searches that go another way than the one which index_search would choose: for tests and benches, which compare
 * the ways.
 */
#pragma once

#include "index/index.h"

enum index_forced {
    INDEX_FORCE_NONE,
    INDEX_FORCE_SCAN_ALL, /* through all nodes */
    INDEX_FORCE_SCAN_IDS, /* the allowed ids are looked up; only with `allow` */
    INDEX_FORCE_WALK,     /* it does not give up */
    INDEX_FORCE_TWO_HOP,  /* likewise; only with `allow` */
};

/** All searches with this scratch, until it is told otherwise. */
void index_force(struct index_scratch *s, enum index_forced way);
