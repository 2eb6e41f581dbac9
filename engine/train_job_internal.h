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
/** FOLDER/trained.txt. */
bool train_notes__read_training(const char *folder, struct trainer_report *ret);
MUST_USE enum err_code train_notes__write_training(
    const char *folder, const struct trainer_report *r, struct err *e);
