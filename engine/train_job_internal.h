/* Layer: engine. May include: core, index, catalog, base. Internal to train_job*.c.
 *
 * What a run notes down between its steps: a file of lines "name value".
 */
#pragma once

#include "engine/train_job.h"

/** FOLDER/pairs.txt. false: it is not there, or not whole. */
bool train_notes__read_pairs(const char *folder, struct pairs_report *ret);
MUST_USE enum err_code train_notes__write_pairs(
    const char *folder, const struct pairs_report *r, struct err *e);
/** Attempts at training before the one under way. */
struct train_earlier {
    size_t halvings; /* of the rate: how many there were */
    int64_t steps;
    double seconds;
};
/** FOLDER/earlier.txt; left as it is where there is none. */
void train_notes__read_earlier(const char *folder, struct train_earlier *ret);
MUST_USE enum err_code train_notes__write_earlier(
    const char *folder, const struct train_earlier *t, struct err *e);
/** FOLDER/trained.txt. */
bool train_notes__read_training(const char *folder, struct trainer_report *ret);
MUST_USE enum err_code train_notes__write_training(
    const char *folder, const struct trainer_report *r, struct err *e);
/** Remove earlier.txt and trained.txt, if they are there. */
MUST_USE enum err_code train_notes__forget_training(const char *folder, struct err *e);
